"""Undocumented switches of Ray, each for a bug without a documented workaround."""

from __future__ import annotations

# If a worker that Ray starts in advance dies before it registers, ray.init() never returns and cannot be
# interrupted: Ray answers the first driver only when all these workers exist. With this switch, Ray starts
# workers when they are needed.
# To reproduce: run `python -c "import ray; ray.init()"` and `kill -9` one of its workers as soon as it
# exists. Seen with Ray 2.60.0; all Ray versions that we allow have the same wait in their source. The switch
# is defined in src/ray/common/ray_config_def.h; tests/test_ray.py fails if it has no effect.
SERVERS = {"RAY_prestart_worker_first_driver": "0"}
