"""Many runs at once: grids, sweeps and shards, on this machine's cores or on a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def pool_for(
    ray: str | None, workers: int | None = None, threads: int = 1
) -> contextlib.AbstractContextManager[Any]:
    """Where tasks are done: this machine's cores, or a Ray cluster for as long as it is entered.

    Args:
        ray: None for this machine; "local" for a cluster that is started here; or the address of
            one that runs, as `ray start` prints it.
        workers: tasks at a time, on this machine only; None takes as many as the cores hold.
        threads: of each task.

    Raises:
        UsageError: no workers, or workers of a Ray cluster, which has its own.
        DriveRLError: on entering, where the cluster cannot be reached.
    """
    from drive_rl.errors import UsageError

    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers} is not a number of at least 1")
    if ray is not None:
        from drive_rl.cluster.ray_pool import ray_pool

        if workers is not None and ray != "local":
            raise UsageError(f"--workers {workers}: the cluster at {ray} has its own number")
        return ray_pool(ray, workers=workers, threads=threads)
    from drive_rl.cluster.pool import LocalPool, default_workers

    return contextlib.nullcontext(LocalPool(workers or default_workers(threads)))


def evaluate_on_ray(
    ray: str,
    policies: Sequence[str],
    env: str | None,
    episodes: int,
    seed: int,
    baselines: Sequence[str],
    engine: str,
    out: Path | None,
) -> Any:
    """`shards.evaluate_sharded` on a Ray cluster; raises as that and `pool_for` do."""
    from drive_rl.cluster.shards import evaluate_sharded

    with pool_for(ray) as pool:
        return evaluate_sharded(
            policies,
            env,
            episodes=episodes,
            seed=seed,
            baselines=baselines,
            engine=engine,
            out=out,
            pool=pool,
        )


def train_on_ray(
    env: str, algo: str, ray: str, workers: int | None, run: Path | None, **settings: Any
) -> Any:
    """`rllib.train_rllib` with what `resolve_run` makes of the rest; raises as both do."""
    from drive_rl.cluster.rllib import train_rllib
    from drive_rl.presets import resolve_run

    if workers is not None and workers < 1:
        from drive_rl.errors import UsageError

        raise UsageError(f"workers {workers} is not a number of at least 1")
    return train_rllib(resolve_run(env, algo, **settings), run, ray=ray, workers=workers)
