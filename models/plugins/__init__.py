"""Import other people's modules where that is allowed, and find their classes beside oscine's own."""
