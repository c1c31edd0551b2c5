"""Define the encoders, one file an architecture; the contract is `Encoder` in `base/encoder.py`."""
