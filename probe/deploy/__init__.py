"""A fitted probe in use: save, load, predict, detect, publish."""
