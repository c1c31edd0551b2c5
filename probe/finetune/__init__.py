"""The encoder learns together with the probe."""
