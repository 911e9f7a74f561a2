"""Optimisers by name. Each name is a file with a class ``Optimiser``, imported on first use."""

NAMES = ("sgd", "adamw", "sam")
# Versions of optimisers whose results have changed. The version is part of a model's id, so models of another
# version are trained again.
VERSIONS: dict[str, int] = {}
