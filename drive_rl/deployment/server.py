"""The HTTP face of a policy: POST /act, and what those who run it need to see.

POST /act      one observation or a batch, JSON or raw arrays (see `wire`)
GET  /healthz  200 while it answers
GET  /metrics  Prometheus
GET  /model    the card
GET  /monitor  what the monitor has seen, as a page
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from drive_rl.deployment.batching import Batcher, Overloaded
from drive_rl.deployment.extras import needs
from drive_rl.deployment.inference import Model, Outputs
from drive_rl.deployment.network import ACTION
from drive_rl.deployment.traffic import Members
from drive_rl.deployment.wire import Format, Invalid

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

    from drive_rl.deployment.watcher import Watcher

RAW = "application/octet-stream"
_JSON = "application/json"

log = logging.getLogger("drive_rl.serve")


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        observations: in a request.
        body: bytes.
        seconds: for sending the body, and again for the answer.
        batch: observations computed together.
        waiting: observations that may wait; beyond, 503.
    """

    observations: int = 1024
    body: int = 16 * 2**20
    seconds: float = 5.0
    batch: int = 64
    waiting: int = 1024


class _Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


def make_app(
    model: Model,
    *,
    token: str | None = None,
    limits: Limits | None = None,
    watcher: Watcher | None = None,
    compute: Callable[[Members], Outputs] | None = None,
) -> FastAPI:
    """The application that serves a model.

    Args:
        token: asked for as `Authorization: Bearer <token>` everywhere but at /healthz.
        watcher: compares what arrives with the reference profile.
        compute: instead of the model itself, for tests.

    Raises:
        DriveRLError: a package of the extra `deploy` is missing.
    """
    fastapi = needs("fastapi", "deploy")
    prometheus = needs("prometheus_client", "deploy")
    limits = limits or Limits()
    numbers = _Numbers(prometheus)
    if watcher is not None:
        watcher.publish(prometheus, numbers.registry)
    format = Format(model, limits.observations)
    batcher = Batcher(
        compute or model.run,
        most_rows=limits.batch,
        most_waiting=limits.waiting,
        noticed=numbers.batch_rows.observe,
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        batcher.start()
        try:
            yield
        finally:
            await batcher.close()
            if watcher is not None:
                watcher.close()

    app: FastAPI = fastapi.FastAPI(
        title=f"drive-rl: {model.card['name']}",
        version=str(model.card["schema"]),
        lifespan=lifespan,
        # Their pages load scripts from elsewhere; /openapi.json remains.
        docs_url=None,
        redoc_url=None,
    )
    respond: type[Response] = fastapi.Response

    def check_token(request: Request) -> None:
        if token is None:
            return
        given = request.headers.get("authorization", "")
        expected = f"Bearer {token}"
        # latin-1 is what headers are read as; compare_digest takes no other text than ASCII.
        if not hmac.compare_digest(given.encode("latin-1", "replace"), expected.encode()):
            raise _Refused(401, "a bearer token is needed", {"www-authenticate": "Bearer"})

    async def act(request: Request) -> Response:
        began = time.perf_counter()
        status = 500
        try:
            check_token(request)
            answer: Response = await _act(request)
            status = 200
            return answer
        except Invalid as error:
            status = 422
            return respond(_dumps(error.to_json()), 422, media_type=_JSON)
        except _Refused as error:
            status = error.status
            return respond(_dumps({"detail": str(error)}), status, error.headers, media_type=_JSON)
        finally:
            numbers.requests.labels(str(status)).inc()
            numbers.seconds.observe(time.perf_counter() - began)
            numbers.waiting.set(batcher.waiting)

    async def _act(request: Request) -> Response:
        kind = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
        if kind not in (_JSON, RAW):
            raise _Refused(415, f"content type {kind!r} is neither {_JSON} nor {RAW}")
        body = await _body(request, limits)
        if kind == RAW:
            members, single = format.from_raw(body), False
        else:
            members, single = format.from_json(body)
        try:
            async with asyncio.timeout(limits.seconds):
                outputs = await batcher.submit(members)
        except Overloaded:
            raise _Refused(503, "overloaded; try again", {"retry-after": "1"}) from None
        except TimeoutError:
            raise _Refused(
                503, f"no answer within {limits.seconds:g} s; try again", {"retry-after": "1"}
            ) from None
        actions = np.asarray(outputs[ACTION])
        numbers.observations.inc(len(actions))
        if watcher is not None:
            watcher.add(members, outputs)
        if kind == RAW:
            return respond(format.to_raw(actions), media_type=RAW)
        return respond(format.to_json(actions, single), media_type=_JSON)

    # FastAPI reads annotations to decide what a parameter is; these are only known in here.
    act.__annotations__ = {"request": fastapi.Request}
    app.post(
        "/act",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {_JSON: {"schema": format.schema()}},
            }
        },
        responses=_responses(),
        response_class=respond,
    )(act)

    def page(path: str, media: str, content: Callable[[], str | bytes]) -> None:
        async def show(request: Request) -> Response:
            try:
                check_token(request)
            except _Refused as error:
                return respond(
                    _dumps({"detail": str(error)}), error.status, error.headers, media_type=_JSON
                )
            return respond(content(), media_type=media)

        show.__annotations__ = {"request": fastapi.Request}
        show.__name__ = path.strip("/")
        answer = {"description": "as it says", "content": {media.partition(";")[0]: {}}}
        app.get(
            path,
            response_class=respond,
            responses={200: answer, 401: {"description": "A bearer token is needed"}},
        )(show)

    page("/metrics", prometheus.CONTENT_TYPE_LATEST, numbers.page)
    page("/model", _JSON, lambda: _dumps(model.card))
    if watcher is not None:
        page("/monitor", "text/html; charset=utf-8", watcher.page)

    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    app.get("/healthz")(healthz)
    return app


async def _body(request: Request, limits: Limits) -> bytes:
    """The body, as long as it is within its limits.

    Raises:
        _Refused: too long, too slow, or broken off.
    """
    too_long = _Refused(413, f"a body of more than {limits.body:,} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.body:
        raise too_long
    parts, size = [], 0
    from starlette.requests import ClientDisconnect

    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.body:
                    raise too_long
                parts.append(part)
    except TimeoutError:
        raise _Refused(408, f"the body did not come within {limits.seconds:g} s") from None
    except ClientDisconnect:
        raise _Refused(400, "the client has gone") from None
    return b"".join(parts)


class _Numbers:
    """What Prometheus reads."""

    def __init__(self, prometheus: Any) -> None:
        self.registry = prometheus.CollectorRegistry()
        self._latest = prometheus.generate_latest
        self.requests = prometheus.Counter(
            "drive_rl_requests", "Requests of /act", ["status"], registry=self.registry
        )
        self.seconds = prometheus.Histogram(
            "drive_rl_request_seconds",
            "From the request to its answer [s]",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
            registry=self.registry,
        )
        self.batch_rows = prometheus.Histogram(
            "drive_rl_batch_observations",
            "Observations computed together",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 1024),
            registry=self.registry,
        )
        self.observations = prometheus.Counter(
            "drive_rl_observations", "Observations answered", registry=self.registry
        )
        self.waiting = prometheus.Gauge(
            "drive_rl_waiting_observations", "Observations that wait", registry=self.registry
        )

    def page(self) -> bytes:
        content: bytes = self._latest(self.registry)
        return content


def _responses() -> dict[int | str, dict[str, Any]]:
    answer = {
        "type": "object",
        "required": ["action"],
        "properties": {"action": {}, "name": {}},
    }
    said = {
        400: "The client has gone",
        401: "A bearer token is needed",
        408: "The body came too slowly",
        413: "The body is too long",
        415: "Neither JSON nor raw arrays",
        422: "The field that is wrong, and why",
        503: "Overloaded; try again",
    }
    return {
        200: {"description": "Actions", "content": {_JSON: {"schema": answer}, RAW: {}}},
        **{status: {"description": words} for status, words in said.items()},
    }


def _dumps(document: Any) -> str:
    import json

    return json.dumps(document, allow_nan=False)
