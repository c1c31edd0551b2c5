"""From files to waveforms: decoding, true lengths, archives, channels, workers and augmentations."""
