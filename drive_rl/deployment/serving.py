"""`drive-rl serve`: the process around the server. It listens, answers, drains and ends."""

from __future__ import annotations

import contextlib
import errno
import gc
import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drive_rl.deployment.extras import needs
from drive_rl.deployment.inference import example, load_model
from drive_rl.deployment.server import Limits, make_app
from drive_rl.errors import UsageError, warn

LOOPBACK = "127.0.0.1"
TOKEN_VARIABLE = "DRIVE_RL_TOKEN"

_DRAIN = 10  # s for requests that are being answered when a signal comes
_CONNECTIONS = 2000
_BACKLOG = 2048


def serve(
    source: Any,
    *,
    host: str = LOOPBACK,
    port: int = 8000,
    token: str | None = None,
    monitor: bool = True,
    profile: str | Path | None = None,
    limits: Limits | None = None,
    threads: int = 1,
) -> str:
    """Serve a policy until SIGTERM or SIGINT; what is being answered then is answered.

    Args:
        source: whatever names a trained policy, or an exported `.onnx` file.
        host: where to listen; other machines reach it only where this says so.
        port: 0 takes a free one.
        token: a bearer token to ask for; None takes the variable DRIVE_RL_TOKEN, where it is set.
        monitor: compare what arrives with the reference profile.
        profile: that profile's file; None takes the one beside the file or in the run, or makes
            it from a policy's own environment.
        threads: of ONNX Runtime.

    Returns:
        One line that says how many requests were answered.

    Raises:
        UsageError: no such policy, a port that is taken, a host that is not here.
        DriveRLError: a package of the extra `deploy` is missing.
    """
    uvicorn = needs("uvicorn", "deploy")
    needs("fastapi", "deploy")
    needs("prometheus_client", "deploy")
    token = token if token is not None else os.environ.get(TOKEN_VARIABLE) or None
    if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
        raise UsageError("the token has other characters than printable ASCII, or none")
    with listening(host, port) as sockets:
        model = load_model(source, threads=threads)
        model.run(example(model))  # what is slow once is slow now
        watcher = None
        if monitor:
            from drive_rl.deployment.watcher import make_watcher

            watcher = make_watcher(source, model, profile)
        app = make_app(model, token=token, limits=limits, watcher=watcher)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            limit_concurrency=_CONNECTIONS,
            backlog=_BACKLOG,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_DRAIN,
            server_header=False,
        )
        # What has been loaded stays: a full collection of all that would stop everybody for 0.2 s.
        gc.collect()
        gc.freeze()
        address = sockets[0].getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        if token is None and not ipaddress.ip_address(address[0]).is_loopback:
            warn(f"{shown} is reachable from other machines, and no --token is asked for")
        _server(uvicorn, config, f"{model.card['name']} at http://{shown}:{address[1]}").run(
            sockets=sockets
        )
    return "stopped; every request that had arrived was answered"


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """A socket that listens, before anything slow is done.

    Raises:
        UsageError: the port is taken or not allowed, or the host is not of this machine.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"port {port} is not from 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except socket.gaierror:
        raise UsageError(f"host {host!r} is not known; {LOOPBACK} is this machine") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} of {host} is in use; try --port {port + 1}") from None
        if error.errno == errno.EACCES:
            raise UsageError(f"port {port} is not allowed; try --port 8000") from None
        raise UsageError(f"cannot listen at {host}:{port} ({error.strerror})") from None
    with listener:
        yield [listener]


def _server(uvicorn: Any, config: Any, words: str) -> Any:
    class Server(uvicorn.Server):  # type: ignore[misc]
        """uvicorn's, but a signal that was obeyed is not raised once more at the end."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                warn(f"serving {words} (POST /act, GET /healthz /metrics /model)")

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            numbers = (signal.SIGINT, signal.SIGTERM)
            before = {number: signal.signal(number, self.handle_exit) for number in numbers}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    return Server(config)
