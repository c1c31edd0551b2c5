"""Commands that judge an encoder, and label for it: probe, compare, chorus, label."""
