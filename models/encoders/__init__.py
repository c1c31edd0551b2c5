"""One file an architecture, each a subclass of `Encoder`, the contract in `base/encoder.py`."""
