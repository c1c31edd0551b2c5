"""How good logits are: scores, calibration, bootstrap intervals, sound events."""
