"""Everything that imports Ray: the cluster, the sweep (Ray Tune), the pool (Ray actors)."""
