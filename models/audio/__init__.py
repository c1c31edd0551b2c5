"""Turn files into waveforms: decode, find true lengths, read archives and channels, augment."""
