"""The door for other people's code: modules that may be imported, and the classes in them beside oscine's own."""
