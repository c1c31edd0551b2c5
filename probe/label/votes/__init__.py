"""Combine what several people said of the same clips."""
