"""Training: the loop, its steps, optimisers, and what ends it early. Needs torch and numpy alone."""
