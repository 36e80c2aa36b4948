"""The server answers as the policy does, and every wrong request with its own status."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra 'deploy'")
pytest.importorskip("httpx", reason="needs httpx, of the extra 'test'")
pytest.importorskip("onnxruntime", reason="needs the extra 'deploy'")
pytest.importorskip("prometheus_client", reason="needs the extra 'deploy'")

from fastapi.testclient import TestClient

from drive_rl.deployment.inference import Model, Outputs, load_model
from drive_rl.deployment.server import RAW, Limits, make_app
from drive_rl.deployment.traffic import Members, as_observations, record
from tests.deployment.policies import untrained_run


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A policy of meta-actions on a table of vehicles."""
    return untrained_run(tmp_path_factory.mktemp("serve") / "run").load_policy()


@pytest.fixture(scope="module")
def model(policy: Any) -> Model:
    """The same, ready to serve."""
    return load_model(policy)


@pytest.fixture(scope="module")
def seen(policy: Any) -> Members:
    """Real observations."""
    return record(policy, 40, seed=7).flat(40)


@pytest.fixture
def client(model: Model) -> Iterator[TestClient]:
    """A client of a server with small limits."""
    with TestClient(make_app(model, limits=Limits(observations=64, body=200_000))) as client:
        yield client


def test_a_batch_and_its_rows_are_answered_as_the_policy_does(
    client: TestClient, policy: Any, seen: Members
) -> None:
    observations = seen["observation"]
    expected = policy.predict(observations).tolist()
    assert len(set(expected)) > 1
    answer = client.post("/act", json={"observation": observations.tolist()})
    assert answer.status_code == 200
    assert answer.json()["action"] == expected
    for k in range(5):
        one = client.post("/act", json={"observation": observations[k].tolist()})
        assert one.json()["action"] == expected[k]
        assert one.json()["name"] == ["left", "idle", "right", "faster", "slower"][expected[k]]


def test_raw_arrays_are_answered_by_raw_actions(
    client: TestClient, policy: Any, seen: Members
) -> None:
    observations = seen["observation"]
    answer = client.post(
        "/act", content=observations.astype("<f4").tobytes(), headers={"content-type": RAW}
    )
    assert answer.headers["content-type"] == RAW
    expected = policy.predict(observations)
    np.testing.assert_array_equal(np.frombuffer(answer.content, "<i8"), expected)


@pytest.mark.parametrize("senses", ["goals", "camera", "continuous"])
def test_other_senses_are_served_too(tmp_path: Path, senses: str) -> None:
    policy = untrained_run(tmp_path / "run", senses).load_policy()
    seen = record(policy, 4, seed=1).flat(4)
    given: Any = {name: array.tolist() for name, array in seen.items()}
    if len(given) == 1:
        given = given["observation"]
    raw = b"".join(np.ascontiguousarray(array).tobytes() for array in seen.values())
    expected = policy.predict(as_observations(policy.observation_space, seen))
    with TestClient(make_app(load_model(policy))) as client:
        answer = client.post("/act", json={"observation": given})
        assert answer.status_code == 200, answer.text
        np.testing.assert_allclose(answer.json()["action"], expected, atol=1e-5)
        answer = client.post("/act", content=raw, headers={"content-type": RAW})
        actions = np.frombuffer(answer.content, expected.dtype).reshape(expected.shape)
        np.testing.assert_allclose(actions, expected, atol=1e-5)


def _with(rows: list[Any], place: tuple[int, ...], value: Any) -> list[Any]:
    copied = json.loads(json.dumps(rows))
    node = copied
    for index in place[:-1]:
        node = node[index]
    node[place[-1]] = value
    return copied


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        (lambda o: {}, ["observation"], "missing"),
        (lambda o: {"observation": o, "x": 1}, ["x"], "unknown"),
        (lambda o: [o], [], "not an object"),
        (lambda o: {"observation": None}, ["observation"], "NoneType is not a number"),
        (lambda o: {"observation": []}, ["observation"], "shape"),
        (lambda o: {"observation": o[:3]}, ["observation"], "shape (3, 7) is neither (15, 7)"),
        (lambda o: {"observation": [o] * 65}, ["observation"], "from 1 to 64"),
        (lambda o: {"observation": _with(o, (2, 1), "1")}, ["observation", 2, 1], "str is not a"),
        (lambda o: {"observation": _with(o, (2, 1), 1e39)}, ["observation", 2, 1], "finite"),
        (lambda o: {"observation": _with(o, (2, 1), 10**30)}, ["observation", 2, 1], "too large"),
        (lambda o: {"observation": _with(o, (4,), [1.0])}, ["observation"], "different lengths"),
    ],
)
def test_what_is_wrong_is_422_with_the_field_named(
    client: TestClient, seen: Members, change: Any, place: list[Any], words: str
) -> None:
    body = change(seen["observation"][0].tolist())
    answer = client.post("/act", json=body)
    assert answer.status_code == 422, answer.text
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["body", *place]
    assert words in problem["msg"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused_by_their_place(
    client: TestClient, seen: Members, value: str
) -> None:
    rows = _with(seen["observation"][0].tolist(), (3, 2), "HERE")
    body = json.dumps({"observation": rows}).replace('"HERE"', value)
    answer = client.post("/act", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "observation", 3, 2]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"", "application/json", 422),
        (b"\xff\xfe\x00", "application/json", 422),
        (b"[" * 20_000, "application/json", 422),
        (b'{"observation": ' + b"[" * 500 + b"]" * 500 + b"}", "application/json", 422),
        (b"12345", RAW, 422),
        (b"", RAW, 422),
        (b"a,b", "text/csv", 415),
        (b" " * 200_001, "application/json", 413),
    ],
)
def test_malformed_and_oversized_bodies_have_their_status(
    client: TestClient, content: bytes, kind: str, status: int
) -> None:
    answer = client.post("/act", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert "detail" in answer.json()


def test_nan_in_raw_arrays_is_refused(client: TestClient, seen: Members) -> None:
    observations = seen["observation"][:2].copy()
    observations[1, 0, 3] = np.nan
    answer = client.post("/act", content=observations.tobytes(), headers={"content-type": RAW})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "observation", 1, 0, 3]


def test_a_body_without_a_length_is_limited_too(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 10_000

    answer = client.post("/act", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_the_token_guards_all_but_health(model: Model, seen: Members) -> None:
    body = {"observation": seen["observation"][0].tolist()}
    with TestClient(make_app(model, token="secret")) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "secret"}):
            assert client.post("/act", json=body, headers=headers).status_code == 401
            assert client.get("/model", headers=headers).status_code == 401
            assert client.get("/metrics", headers=headers).status_code == 401
        right = {"authorization": "Bearer secret"}
        assert client.post("/act", json=body, headers=right).status_code == 200
        assert client.get("/model", headers=right).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_metrics_count_and_the_card_is_shown(client: TestClient, seen: Members) -> None:
    client.post("/act", json={"observation": seen["observation"][:3].tolist()})
    client.post("/act", content=b"{")
    metrics = client.get("/metrics").text
    assert 'drive_rl_requests_total{status="200"} 1.0' in metrics
    assert 'drive_rl_requests_total{status="422"} 1.0' in metrics
    assert "drive_rl_observations_total 3.0" in metrics
    card = client.get("/model").json()
    assert card["output"]["actions"] == 5
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/nothing").status_code == 404
    assert client.get("/act").status_code == 405


def test_overload_answers_503_and_recovers(model: Model, seen: Members) -> None:
    begun, gate = threading.Event(), threading.Event()

    def slow(members: Members) -> Outputs:
        begun.set()
        gate.wait(30)
        return model.run(members)

    body = {"observation": seen["observation"][0].tolist()}
    app = make_app(model, limits=Limits(waiting=3, seconds=30), compute=slow)
    statuses: list[int] = []
    with TestClient(app) as client:

        def ask() -> None:
            statuses.append(client.post("/act", json=body).status_code)

        threads = [threading.Thread(target=ask) for _ in range(12)]
        threads[0].start()
        assert begun.wait(30)  # otherwise it may still hold one of the three places
        for thread in threads[1:]:
            thread.start()
        while statuses.count(503) < 8:  # one is computed, three wait, eight find no place
            threading.Event().wait(0.01)
        gate.set()
        for thread in threads:
            thread.join()
        assert statuses.count(503) == 8
        assert statuses.count(200) == 4
        assert client.post("/act", json=body).status_code == 200


def test_an_answer_that_takes_too_long_is_503(model: Model, seen: Members) -> None:
    gate = threading.Event()

    def stuck(members: Members) -> Outputs:
        gate.wait(30)
        return model.run(members)

    body = {"observation": seen["observation"][0].tolist()}
    with TestClient(make_app(model, limits=Limits(seconds=0.2), compute=stuck)) as client:
        answer = client.post("/act", json=body)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        gate.set()
        assert client.post("/act", json=body).status_code == 200


def test_what_waits_is_computed_together_and_each_gets_its_own(
    model: Model, policy: Any, seen: Members
) -> None:
    from drive_rl.deployment.batching import Batcher

    sizes: list[int] = []
    gate = threading.Event()

    def held(members: Members) -> Outputs:
        gate.wait(30)
        return model.run(members)

    async def ask_all() -> list[int]:
        batcher = Batcher(held, most_rows=16, noticed=sizes.append)
        batcher.start()
        rows = seen["observation"]
        asked = [
            asyncio.ensure_future(batcher.submit({"observation": rows[k : k + 1]}))
            for k in range(30)
        ]
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, gate.set)
        answers = await asyncio.gather(*asked)
        await batcher.close()
        return [int(answer["action"][0]) for answer in answers]

    assert asyncio.run(ask_all()) == policy.predict(seen["observation"][:30]).tolist()
    assert sum(sizes) == 30
    assert max(sizes) == 16
