"""Weights to the Hub: checks, contents, card, upload; official checkpoints converted."""
