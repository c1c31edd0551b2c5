"""Fit a probe on features and judge it: steps, losses, baselines, few clips, search for settings."""
