"""Spaces: the settings a user may give, and how a space file is read and checked. Imports no torch."""
