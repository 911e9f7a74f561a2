"""Checkpoints of models that were trained elsewhere: where they are, their space, and their weights."""
