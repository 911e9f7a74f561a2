"""Architectures by name. A file of this package that defines ``Options`` and ``build`` is one."""
