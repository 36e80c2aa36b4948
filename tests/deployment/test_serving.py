"""The serving process: where it listens, how it ends; and what chance throws at the server."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'deploy'")
pytest.importorskip("uvicorn", reason="needs the extra 'deploy'")
pytest.importorskip("onnxruntime", reason="needs the extra 'deploy'")
pytest.importorskip("prometheus_client", reason="needs the extra 'deploy'")

from drive_rl.deployment.export import export
from drive_rl.deployment.inference import load_model
from drive_rl.deployment.serving import listening, serve
from drive_rl.deployment.traffic import record
from drive_rl.errors import DriveRLError, UsageError
from tests.deployment.policies import untrained_run


class Served:
    """`drive-rl serve` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "drive_rl.cli", "serve", *arguments, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.said = ""
        for line in self.process.stderr:
            self.said += line
            if (found := re.search(r"http://127\.0\.0\.1:(\d+)", line)) is not None:
                self.port = int(found[1])
                return
        raise AssertionError(self.said)

    def ask(self, path: str, body: Any = None) -> tuple[int, str]:
        """Status and text of a request."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A policy to serve."""
    return untrained_run(tmp_path_factory.mktemp("served") / "run")


@pytest.fixture(scope="module")
def served(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An exported policy behind a server."""
    path = tmp_path_factory.mktemp("exported") / "policy.onnx"
    export(run.path, "onnx", path, observations=16, profile_decisions=8000)
    server = Served(str(path))
    yield server
    server.process.kill()
    server.process.communicate()


def test_an_exported_file_is_served_as_the_policy_it_was(run: Any, served: Served) -> None:
    policy = run.load_policy()
    seen = record(policy, 8, seed=3).flat(8)["observation"]
    status, text = served.ask("/act", {"observation": seen.tolist()})
    assert status == 200
    assert json.loads(text)["action"] == policy.predict(seen).tolist()
    status, page = served.ask("/monitor")
    assert status == 200
    assert "windows of 200 decisions" in page


def test_alarms_of_the_server_reach_its_metrics(run: Any, served: Served) -> None:
    policy = run.load_policy()
    seen = record(policy, 400, seed=3).flat(400)["observation"]
    broken = seen.copy()
    broken[:, 0, 1:] = 0.0  # the ego's own state is lost
    served.ask("/act", {"observation": broken[:200].tolist()})
    served.ask("/act", {"observation": broken[200:].tolist()})
    end = time.monotonic() + 30
    while time.monotonic() < end:
        _, metrics = served.ask("/metrics")
        if 'drive_rl_alarm{name="observation_ks"} 1.0' in metrics:
            break
        time.sleep(0.05)
    assert 'drive_rl_alarm{name="observation_ks"} 1.0' in metrics
    assert 'class="alarm"' in served.ask("/monitor")[1]


def test_sigterm_answers_what_has_arrived_and_ends_well(run: Any) -> None:
    server = Served(str(run.path), "--no-monitor")
    policy = run.load_policy()
    seen = record(policy, 1, seed=3).flat(1)["observation"]
    body = json.dumps({"observation": seen[0].tolist()}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = (
            "POST /act HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        connection.sendall(head.encode() + body[:-5])
        # The server has the head and waits for the rest: this request has arrived.
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(body[-5:])
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    out, _ = server.process.communicate(timeout=60)
    assert server.process.returncode == 0
    assert "answered" in out


def test_a_port_in_use_is_one_clear_line(run: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {port} of 127.0.0.1 is in use; try --port"):
            serve(run.path, port=port)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"port": 70000}, "port 70000 is not from 0 to 65535"),
        ({"host": "no.such.host.invalid", "port": 0}, "is not known"),
        ({"token": "ä"}, "token"),
    ],
)
def test_wrong_places_and_tokens_are_named(run: Any, arguments: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        serve(run.path, **arguments)


def test_it_listens_on_loopback_unless_asked() -> None:
    from drive_rl.deployment.serving import LOOPBACK

    with listening(LOOPBACK, 0) as sockets:
        assert sockets[0].getsockname()[0] == "127.0.0.1"


def test_what_is_no_exported_policy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(DriveRLError, match="not a model"):
        load_model(tmp_path / "bad.onnx")
    with pytest.raises(UsageError, match="no such file"):
        load_model(tmp_path / "missing.onnx")
    with pytest.raises(UsageError, match="is a baseline"):
        load_model("idle")


def test_no_request_that_fits_or_breaks_the_schema_breaks_the_server(run: Any) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis, of extra 'test'")
    from hypothesis import HealthCheck, Phase, given, settings

    from drive_rl.deployment.server import make_app

    app = make_app(load_model(run.path))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    statuses: set[int] = set()
    quick = settings(
        max_examples=20,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    modes = schemathesis.GenerationMode
    server_errors = [schemathesis.checks.not_a_server_error]

    def try_all(operation: Any, mode: Any) -> None:
        @quick
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            answer = case.call()
            statuses.add(answer.status_code)
            assert answer.status_code < 500
            if mode is modes.POSITIVE:
                case.validate_response(answer)
            else:
                case.validate_response(answer, checks=server_errors)

        ask()

    for result in schema.get_all_operations():
        operation = result.ok()
        try_all(operation, modes.POSITIVE)
        if operation.path == "/act":  # the others have nothing to get wrong
            try_all(operation, modes.NEGATIVE)
    assert {200, 422} <= statuses


def test_many_clients_at_once_each_get_their_own_answer(run: Any, served: Served) -> None:
    policy = run.load_policy()
    seen = record(policy, 64, seed=11).flat(64)["observation"]
    expected = policy.predict(seen).tolist()
    got: dict[int, int] = {}

    def ask(k: int) -> None:
        got[k] = json.loads(served.ask("/act", {"observation": seen[k].tolist()})[1])["action"]

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[k] for k in range(64)] == expected
