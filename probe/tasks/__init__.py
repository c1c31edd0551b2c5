"""What is asked of an encoder: tables, folders, published sets, annotations, the synthetic chorus."""
