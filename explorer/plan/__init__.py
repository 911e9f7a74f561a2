"""What a run has to do, found from its space and its records. No torch, no Ray."""
