"""Tasks on a Ray cluster: the same tasks, the same files, the same results.

The cluster's nodes share the folder of results, as they share the network's disk. A node that
goes takes only its workers with it: Ray begins their tasks again elsewhere, and a run goes on
from its last checkpoint, which lies in that folder.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from drive_rl.cluster.pool import ATTEMPTS, Event, Told
from drive_rl.cluster.tasks import RunTask, ShardTask
from drive_rl.deployment.extras import needs
from drive_rl.errors import DriveRLError, Interrupted

LOCAL = "local"
"""Instead of an address: a cluster that is started here, for as long as it is needed."""

_REACH = 5.0  # s to wait for an answer of the address
_LOOK = 0.5  # s


class RayPool:
    """Does tasks on the cluster that this process is connected to; see `pool.Pool`.

    Args:
        threads: cores of each task.
    """

    def __init__(self, ray: Any, threads: int = 1) -> None:
        self._ray = ray
        self._threads = threads
        # A fresh process per task, as on one machine; a task that dies is begun again.
        self._remote = ray.remote(
            num_cpus=threads, max_calls=1, max_retries=ATTEMPTS, scheduling_strategy="SPREAD"
        )(_perform)

    def run(self, tasks: Sequence[RunTask | ShardTask], root: Path, told: Told) -> list[Event]:
        """See `pool.Pool`."""
        from drive_rl.runs.interrupts import StopRequest

        place, expected = str(root.resolve()), _versions()
        waiting = {}
        failed: list[Event] = []
        with StopRequest() as stop:
            for task in tasks:
                reference = self._remote.remote(
                    task.model_dump_json(), place, expected, self._threads
                )
                waiting[reference] = task
                told(Event(task, "running"))
            while waiting and stop.signal_number is None:
                # All that ended meanwhile, in one look: a look costs by the tasks that wait.
                ready, _ = self._ray.wait(
                    list(waiting), num_returns=len(waiting), timeout=_LOOK, fetch_local=False
                )
                told(None)
                for reference in ready:
                    event = self._event(reference, waiting.pop(reference), root)
                    if event.state == "failed":
                        failed.append(event)
                    told(event)
            if waiting:
                # As Ctrl-C in each worker: it saves and stops.
                for reference in waiting:
                    self._ray.cancel(reference, force=False)
                self._ray.wait(list(waiting), num_returns=len(waiting), timeout=60)
        if stop.signal_number is not None:
            raise Interrupted(
                f"stopped; {len(waiting)} tasks are left; the same command goes on",
                stop.signal_number,
            )
        return failed

    def _event(self, reference: Any, task: RunTask | ShardTask, root: Path) -> Event:
        try:
            problem = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            problem = _reason(error)
        if problem is None and not task.done(root):
            problem = f"its results are not in {root}; do all nodes share that folder?"
        return Event(task, "done") if problem is None else Event(task, "failed", problem)


def _perform(text: str, root: str, expected: dict[str, str], threads: int) -> str | None:
    """A task on some node: None where it is done, else why not, in one line."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    problem = _difference(expected)
    if problem is not None:
        return problem
    from drive_rl.cluster import tasks

    try:
        tasks.perform(text, root)
    except DriveRLError as error:
        return " ".join(str(error).split())
    return None


def _difference(expected: dict[str, str]) -> str | None:
    """What this node has otherwise than the driver, in one line, or None."""
    own = _versions()
    for name, version in expected.items():
        if own.get(name) != version:
            return f"{_node()} has {name} {own.get(name)}, not {version}; install the same"
    return None


def _node() -> str:
    return f"node {platform.node()}" if platform.node() else "a node"


def _reason(error: Exception) -> str:
    """One line for what Ray raises with a traceback as its text."""
    text = str(error)
    # Ray sends a function by its name: where there is no drive-rl, none of this file is run.
    if "No module named 'drive_rl'" in text:
        return "a node cannot import drive-rl; install the same version on all nodes"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else error}"


def _versions() -> dict[str, str]:
    """What must be the same on all nodes for results to be the same."""
    from drive_rl.runs.provenance import versions

    kept = ("drive_rl", "torch", "numpy", "numba", "gymnasium", "highway_env", "stable_baselines3")
    return {"python": platform.python_version(), **{k: versions()[k] for k in kept}}


@contextlib.contextmanager
def ray_pool(address: str, *, workers: int | None = None, threads: int = 1) -> Iterator[RayPool]:
    """A pool on a cluster: `connected` to it, for as long as this is entered; raises as that."""
    with connected(address, workers=workers, threads=threads) as ray:
        yield RayPool(ray, threads)


@contextlib.contextmanager
def connected(
    address: str, *, workers: int | None = None, threads: int = 1, extra: str = "ray"
) -> Iterator[Any]:
    """Connect to a cluster, or start one here; leave it or stop it again. Yields `ray`.

    A cluster that is started here listens on loopback, has no dashboard, and asks for a token.

    Args:
        address: `LOCAL`, "auto", or host:port.
        workers: cores of a local cluster in units of `threads`; None takes this machine's.
        extra: of drive-rl, that brings Ray for what is to be done.

    Raises:
        DriveRLError: Ray is missing, the cluster does not answer, or has another version.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        keep_to_this_machine()
    ray = needs("ray", extra)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        from drive_rl.cluster.pool import default_workers

        options |= {
            "address": "local",
            "num_cpus": (workers or default_workers(threads)) * threads,
            "include_dashboard": False,
        }
    else:
        _reach(address)
        options["address"] = address
    before = ray.is_initialized()
    try:
        if not before:
            ray.init(**options)
    except Exception as error:  # Ray raises many kinds: RuntimeError, ConnectionError, its own
        reason = " ".join(str(error).split())[:300]
        raise DriveRLError(f"Ray at {address!r}: {reason}") from None
    try:
        yield ray
    finally:
        if not before:
            ray.shutdown()


def check_nodes(ray: Any) -> None:
    """Ask every node for its versions, before work that needs them all.

    Raises:
        DriveRLError: a node has no drive-rl, or another version of what decides results.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(_difference)
    asked = [
        ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(_versions())
        for node in ray.nodes()
        if node["Alive"]
    ]
    for reference in asked:
        try:
            problem = ray.get(reference)
        except ray.exceptions.TaskUnschedulableError:
            continue  # a node that has just gone
        except ray.exceptions.RayError as error:
            problem = _reason(error)
        if problem is not None:
            raise DriveRLError(problem)


def keep_to_this_machine() -> None:
    """Have a cluster that is started by this process listen on loopback, and ask for a token.

    Ray reads these variables when it is imported. The one with Windows in its name decides, on
    every system, whether Ray takes the machine's outward address or loopback for its node.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _reach(address: str) -> None:
    """Find out quickly that nobody is there; Ray itself tries for a minute.

    Raises:
        DriveRLError: nobody answers at host:port.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal() or not host:
        if address == "auto":
            return
        raise DriveRLError(f"Ray address {address!r} is not host:port, as 10.0.0.5:6379")
    try:
        with socket.create_connection((host, int(port)), timeout=_REACH):
            pass
    except (OSError, OverflowError) as error:
        raise DriveRLError(
            f"no Ray cluster answers at {address} ({error}); start one with "
            f"`ray start --head --port {port}`, or give --ray alone for one on this machine"
        ) from None
