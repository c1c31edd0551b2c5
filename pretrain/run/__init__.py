"""One pretraining run in one folder: checkpoints, health, pictures, record."""
