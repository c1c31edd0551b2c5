"""One file an architecture, each a subclass of `base/encoder.py`'s `Encoder`."""
