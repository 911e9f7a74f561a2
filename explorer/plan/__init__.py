"""Work of a run, found from its space and its records. No torch, no Ray."""
