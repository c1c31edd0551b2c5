"""A probe on features to a judgement: steps, losses, baselines, few clips, search for settings."""
