"""What commands are made of: arguments, YAML, progress, tables."""
