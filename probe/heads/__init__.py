"""The probes: linear ones, by attention, by prototypes; their names and settings."""
