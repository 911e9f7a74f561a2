"""Training: the loop, its steps, optimisers and early stopping. Needs only torch and numpy."""
