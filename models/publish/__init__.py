"""Publish weights on the Hub (terms, facts, card, contents, upload), and convert official checkpoints."""
