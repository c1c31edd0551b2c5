"""Turn waveforms into spectrograms."""
