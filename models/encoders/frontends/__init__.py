"""From waveforms to spectrograms."""
