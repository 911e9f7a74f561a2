"""What a worker imports while it waits for work."""

import explorer.engine.pool
import explorer.engine.sweep
import explorer.engine.worker  # noqa: F401
