"""Read tasks: tables, folders, published sets, annotations, the synthetic chorus."""
