"""What a run leaves: intervals, predictions, its scores beside published ones."""
