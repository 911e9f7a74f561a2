"""What a worker imports while it waits for work."""

from explorer.importing import importing

with importing():
    import explorer.engine.pool
    import explorer.engine.sweep
    import explorer.engine.worker  # noqa: F401
