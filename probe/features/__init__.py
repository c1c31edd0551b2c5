"""Encode once: features in memory, on disk, or from a table of embeddings."""
