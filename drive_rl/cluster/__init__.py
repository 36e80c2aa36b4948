"""Many runs at once: grids, sweeps and shards, on this machine's cores or on a Ray cluster."""
