"""Switches of Ray that its documentation does not name, each for a fault that has no documented remedy."""

from __future__ import annotations

# ray.init() never returns, and cannot be interrupted, if a worker that Ray starts in advance dies before it
# has registered: Ray answers the first driver only when all of them are there. With this switch Ray starts
# workers when they are needed.
# To reproduce: start `python -c "import ray; ray.init()"` and `kill -9` a worker below it as soon as there is
# one. Seen with Ray 2.60.0; Ray's source has the same wait in all versions that we allow. The switch is
# defined in its src/ray/common/ray_config_def.h; tests/test_ray.py fails if it has no effect.
SERVERS = {"RAY_prestart_worker_first_driver": "0"}
