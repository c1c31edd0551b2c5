"""Replay strategies on labels that exist: what each would have saved."""
