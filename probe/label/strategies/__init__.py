"""Choose the clips to label next: pure functions of a state, one file a family."""
