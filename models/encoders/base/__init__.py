"""Define what architectures share: contract, features, layers, devices, precision, provenance."""
