"""All code that imports Ray: the cluster, the sweep (Ray Tune) and the pool (Ray actors)."""
