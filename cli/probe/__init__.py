"""Commands that judge an encoder: probe, compare, chorus."""
