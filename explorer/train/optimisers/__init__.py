"""Optimisers by name. Each name is a file with a class ``Optimiser``, imported on use."""

NAMES = ("sgd", "adamw", "sam")
# Of optimisers whose numbers have changed since they were first here. A version is a part of a model's id, so
# that models of another version are trained again.
VERSIONS: dict[str, int] = {}
