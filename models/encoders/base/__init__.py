"""What architectures share: the contract, features, layers, precision, and where weights came from."""
