"""`drive-rl evaluate --ray`: many episodes, cut into shards by their seeds and put together again.

Episode k is the same whoever drives it, so the figures are those of `drive_rl.evaluate`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drive_rl.cluster.board import Board
from drive_rl.cluster.grid import TasksFailed, folder_lock
from drive_rl.cluster.pool import LocalPool, Pool, check_folder, default_workers
from drive_rl.cluster.tasks import ShardTask
from drive_rl.errors import UsageError
from drive_rl.evaluation import Evaluation, PolicyResult, baseline_names, read_evaluation
from drive_rl.evaluation.comparison import against_others
from drive_rl.evaluation.metrics import estimates
from drive_rl.presets import EnvironmentSpec, load_environment

SHARD = 1000
"""Episodes in a shard: minutes of the compiled engine's work are not lost with a node."""


def evaluate_sharded(
    policies: Sequence[str],
    env: str | None = None,
    *,
    episodes: int,
    seed: int = 0,
    engine: str = "auto",
    baselines: Sequence[str] = (),
    out: str | Path | None = None,
    shard: int = SHARD,
    pool: Pool | None = None,
) -> Evaluation:
    """Score policies on very many episodes; the same figures as `drive_rl.evaluate`.

    Args:
        policies: names of policies, runs or baselines, the same on all nodes.
        env: where; None takes the first trained policy's environment.
        out: the folder that keeps the shards, shared by all nodes; what is there is not driven
            again. None takes a temporary one.
        shard: episodes in a task.
        episodes, seed, engine, baselines: as for `drive_rl.evaluate`.
        pool: where the shards are driven; None takes this machine.

    Raises:
        UsageError: as `drive_rl.evaluate`.
        TasksFailed, Interrupted: the same command goes on, where `out` is given.
    """
    if episodes < 1:
        raise UsageError(f"episodes {episodes} is not a number of at least 1")
    if out is None:
        with tempfile.TemporaryDirectory(prefix="drive-rl-") as folder:
            return evaluate_sharded(
                policies,
                env,
                episodes=episodes,
                seed=seed,
                engine=engine,
                baselines=baselines,
                out=folder,
                shard=shard,
                pool=pool,
            )
    root = Path(out)
    names = [*policies, *(name for name in baselines if name not in policies)]
    scene, digests, shown = _resolved(names, env)
    tasks = {
        name: [
            ShardTask(
                policy=_located(name),
                digest=digests[name],
                env=scene,
                seed=seed + start,
                episodes=min(shard, episodes - start),
                engine=engine,
            )
            for start in range(0, episodes, shard)
        ]
        for name in names
    }
    check_folder(root)
    everything = [task for each in tasks.values() for task in each]
    with folder_lock(root), Board(everything, root) as board:
        pool = pool or LocalPool(default_workers())
        failed = pool.run([task for task in everything if not task.done(root)], root, board)
    if failed:
        raise TasksFailed(
            f"{len(failed)} of {len(everything)} shards failed, the first "
            f"({failed[0].task.label}) because: {failed[0].reason}"
        )
    results = [
        _joined(shown[name], "policy" if name in policies else "baseline", tasks[name], root, seed)
        for name in names
    ]
    first = read_evaluation(root / everything[0].folder)
    settings = {**first.settings, "comparisons": against_others(results, seed)}
    return Evaluation(scene.id, episodes, seed, tuple(results), settings)


def _joined(
    name: str, kind: str, shards: Sequence[ShardTask], root: Path, seed: int
) -> PolicyResult:
    parts = [read_evaluation(root / task.folder).policies[0] for task in shards]
    columns = {
        column: np.concatenate([part.episodes[column] for part in parts])
        for column in parts[0].episodes
    }
    return PolicyResult(
        name=name,
        kind=kind,
        metrics=estimates(columns, seed=seed),
        episodes=columns,
        engine=parts[0].engine,
        about=parts[0].about,
    )


def _resolved(
    names: Sequence[str], env: str | None
) -> tuple[EnvironmentSpec, dict[str, str], dict[str, str]]:
    """The scene, a digest of each policy's weights, and what to call each."""
    from drive_rl.training import Policy, load_policy

    scene = None if env is None else load_environment(env)
    digests, shown = {}, {}
    for name in names:
        if name in baseline_names():
            digests[name], shown[name] = "", name
            continue
        policy = load_policy(name)
        assert isinstance(policy, Policy)
        digest = hashlib.sha256()
        for key, value in sorted(policy.network.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.cpu().numpy().tobytes())
        digests[name], shown[name] = digest.hexdigest()[:16], policy.name
        scene = scene or policy.spec.env
    if scene is None:
        raise UsageError("no environment to evaluate in: name one (--env)")
    if len(set(shown.values())) < len(shown):
        shown = {name: name for name in names}
    return scene, digests, shown


def _located(name: str) -> str:
    """A folder by its whole path: a worker may start elsewhere."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name
