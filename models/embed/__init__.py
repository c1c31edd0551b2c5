"""Turn recordings into one table of embeddings, with its journal."""
