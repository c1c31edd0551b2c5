"""Read recordings as people have them: folders, lists, labelled tables, published collections."""
