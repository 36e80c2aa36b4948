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
        from drive_rl.training.interrupts import StopRequest

        place = str(root.resolve())
        waiting = {}
        failed: list[Event] = []
        with StopRequest() as stop:
            for task in tasks:
                reference = self._remote.remote(
                    task.model_dump_json(), place, _versions(), self._threads
                )
                waiting[reference] = task
                told(Event(task, "running"))
            while waiting and stop.signal_number is None:
                ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=_LOOK)
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
            # Its text is a traceback; the last line says what it was.
            lines = [line for line in str(error).splitlines() if line.strip()]
            problem = f"{type(error).__name__}: {lines[-1].strip() if lines else error}"
        if problem is None and not task.done(root):
            problem = f"its results are not in {root}; do all nodes share that folder?"
        return Event(task, "done") if problem is None else Event(task, "failed", problem)


def _perform(text: str, root: str, expected: dict[str, str], threads: int) -> str | None:
    """A task on some node: None where it is done, else why not, in one line."""
    import os
    import sys

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    where = f"node {os.uname().nodename}" if hasattr(os, "uname") else "a node"
    try:
        from drive_rl.cluster import ray_pool, tasks
    except ImportError as error:
        return f"{where} cannot import drive-rl ({error}); install it there ({sys.executable})"
    own = ray_pool._versions()
    different = [name for name in expected if own.get(name) != expected[name]]
    if different:
        name = different[0]
        return f"{where} has {name} {own.get(name)}, not {expected[name]}; install the same"
    try:
        tasks.perform(text, root)
    except DriveRLError as error:
        return " ".join(str(error).split())
    return None


def _versions() -> dict[str, str]:
    """What must be the same on all nodes for results to be the same."""
    from drive_rl.training.run import versions

    kept = ("drive_rl", "torch", "numpy", "numba", "highway_env", "stable_baselines3")
    return {"python": platform.python_version(), **{k: versions()[k] for k in kept}}


@contextlib.contextmanager
def ray_pool(address: str, *, workers: int | None = None, threads: int = 1) -> Iterator[RayPool]:
    """Connect to a cluster, or start one here, and leave it or stop it again.

    A cluster that is started here listens on loopback, has no dashboard, and asks for a token.

    Args:
        address: `LOCAL`, "auto", or host:port.
        workers: cores of a local cluster in units of `threads`; None takes this machine's.

    Raises:
        DriveRLError: Ray is missing, the cluster does not answer, or has another version.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        keep_to_this_machine()
    ray = needs("ray", "ray")
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
    connected = ray.is_initialized()
    try:
        if not connected:
            ray.init(**options)
    except Exception as error:  # Ray raises many kinds: RuntimeError, ConnectionError, its own
        reason = " ".join(str(error).split())[:300]
        raise DriveRLError(f"Ray at {address!r}: {reason}") from None
    try:
        yield RayPool(ray, threads)
    finally:
        if not connected:
            ray.shutdown()


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
