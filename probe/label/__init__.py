"""Label less: which clips to label next, by whom, and what is known after that."""
