"""A folder of recordings to one table of embeddings, with its journal."""
