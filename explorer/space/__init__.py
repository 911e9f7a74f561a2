"""Spaces: their settings, and the reader and the checks of space files. Imports no torch."""
