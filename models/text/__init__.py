"""Texts: numbers in words, characters that steer no terminal, YAML."""
