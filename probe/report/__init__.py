"""The pages of a run: scores, pictures, examples with their sound."""
