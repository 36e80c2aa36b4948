"""On a Ray cluster the same tasks give the same results, and a node that goes loses nothing."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drive_rl.cluster import pool_for
from drive_rl.cluster.grid import make_tasks, write_results
from drive_rl.cluster.pool import Event, LocalPool
from drive_rl.cluster.ray_pool import RayPool, check_nodes, keep_to_this_machine, ray_pool
from drive_rl.errors import DriveRLError, UsageError
from tests.cluster.test_grid import ENV, SETTINGS

keep_to_this_machine()
ray = pytest.importorskip("ray", reason="needs the extra 'ray'")


TOO_BUSY = "Ray gives a node 30 s to start, which this machine did not keep"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with one core; nodes are added, and go."""
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 80 * 2**20}
    try:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **memory})
    except Exception as error:
        pytest.skip(TOO_BUSY) if "timed out" in str(error) else None
        raise
    cluster.memory = memory
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def added_node(cluster: Any, attempts: int = 3, **settings: Any) -> Any:
    """Another node; Ray gives each 30 s to start, which a busy machine may not keep."""
    for _ in range(attempts):
        try:
            return cluster.add_node(num_cpus=1, **settings, **cluster.memory)
        except Exception as error:
            if "timed out" not in str(error):
                raise
    pytest.skip(TOO_BUSY)


def test_a_node_removed_in_the_middle_loses_nothing_and_results_are_the_local_ones(
    cluster: Any, tmp_path: Path
) -> None:
    env = tmp_path / "small.yaml"
    env.write_text(ENV)
    tasks = make_tasks([str(env)], ["ppo"], [0, 1], steps=512, num_envs=2, overrides=SETTINGS)
    here, there = tmp_path / "local", tmp_path / "ray"
    assert LocalPool(1).run(tasks, here, lambda event: None) == []

    doomed = added_node(cluster)
    removed = threading.Event()
    events: list[Event] = []

    def told(event: Event | None) -> None:
        if event is not None:
            events.append(event)
        if not removed.is_set() and list(there.glob("runs/*/*/*/checkpoints/*/manifest.json")):
            cluster.remove_node(doomed, allow_graceful=False)
            removed.set()

    assert RayPool(ray).run(tasks, there, told) == []
    assert removed.is_set()
    assert sorted(event.state for event in events) == ["done", "done", "running", "running"]
    rows = [write_results(place, tasks) for place in (here, there)]
    for row in (*rows[0], *rows[1]):
        del row["run"]
    assert rows[0] == rows[1]
    for task in tasks:
        weights = [
            (place / task.folder / "checkpoints/512/policy.safetensors").read_bytes()
            for place in (here, there)
        ]
        assert weights[0] == weights[1]


def test_a_node_with_another_version_says_so(cluster: Any, tmp_path: Path) -> None:
    from drive_rl.cluster import ray_pool as module

    expected = {**module._versions(), "torch": "1.0"}
    said = module._perform("{}", str(tmp_path), expected, 1)
    assert said is not None
    assert "torch" in said
    assert "not 1.0; install the same" in said


def test_a_node_without_the_package_is_one_clear_line(cluster: Any, tmp_path: Path) -> None:
    check_nodes(ray)
    # Ray puts the driver's own paths first in its workers', so on one machine a path is not enough.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'drive_rl':\n"
        "            raise ModuleNotFoundError(\"No module named 'drive_rl'\", name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
    )
    node = added_node(cluster, env_vars={"PYTHONPATH": str(tmp_path)})
    try:
        with pytest.raises(DriveRLError, match="a node cannot import drive-rl; install the same"):
            check_nodes(ray)
    finally:
        cluster.remove_node(node)


def test_nobody_at_the_address_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        pytest.raises(DriveRLError, match=rf"no Ray cluster answers at 127.0.0.1:{port}"),
        ray_pool(f"127.0.0.1:{port}"),
    ):
        pass
    with pytest.raises(DriveRLError, match="is not host:port"), ray_pool("nonsense"):
        pass


def test_a_cluster_of_ours_is_kept_to_this_machine() -> None:
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) >= 32
    from ray._private import services

    if not ray.is_initialized():
        assert services.get_node_ip_address() == "127.0.0.1"
    else:
        assert all(node["NodeManagerAddress"] == "127.0.0.1" for node in ray.nodes())


def test_workers_and_clusters_are_checked() -> None:
    with pytest.raises(UsageError, match="workers 0"):
        pool_for(None, workers=0)
    with pytest.raises(UsageError, match="has its own number"):
        pool_for("10.0.0.5:6379", workers=3)
