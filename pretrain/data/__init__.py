"""Recordings to batches: sources, spans, clips, shards."""
