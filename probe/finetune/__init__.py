"""Fine-tune the encoder together with the probe."""
