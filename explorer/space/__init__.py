"""Spaces: what a user may ask for, how a space file is read and checked. Imports no torch."""
