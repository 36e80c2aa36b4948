"""Requests and answers as bytes: JSON and raw arrays, checked where they enter.

JSON   {"observation": [[...]]}           one observation, or a batch of them
       {"observation": {"achieved_goal": [...], ...}}  where the scene has goals
raw    the members' arrays one after the other, each batch first, C order, little-endian; the
       number of observations follows from the length; the answer is the actions likewise
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from drive_rl.deployment.inference import Model
from drive_rl.deployment.network import OBSERVATION, members_of
from drive_rl.deployment.traffic import Members

Place = tuple[str | int, ...]


class Invalid(Exception):
    """A request that cannot be answered.

    Attributes:
        place: the field, as ("body", "observation", 3, 0).
        reason: what is wrong there.
    """

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason

    def to_json(self) -> dict[str, Any]:
        """In the form of FastAPI's own validation errors."""
        return {"detail": [{"loc": list(self.place), "msg": self.reason, "type": "value_error"}]}


class Format:
    """The observations and actions of one model.

    Args:
        most: observations in one request.
    """

    def __init__(self, model: Model, most: int) -> None:
        self.most = most
        self._names = model.inputs
        self._members = dict(zip(self._names, members_of(model.observation_space), strict=True))
        self._keyed = isinstance(model.observation_space, spaces.Dict)
        self._action_names = model.action_names

    @property
    def row_bytes(self) -> int:
        """Bytes of one observation as raw arrays."""
        return sum(_little(member).itemsize * _size(member) for member in self._members.values())

    # --- requests -----------------------------------------------------------------------------

    def from_json(self, body: bytes) -> tuple[Members, bool]:
        """The batch, and whether it was a single observation.

        Raises:
            Invalid: names the field.
        """
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise Invalid(("body",), f"not JSON: {reason}") from None
        place: Place = ("body", OBSERVATION)
        if not isinstance(document, dict):
            raise Invalid(("body",), f"not an object with the key {OBSERVATION!r}")
        if OBSERVATION not in document:
            raise Invalid(place, "missing")
        for key in document:
            if key != OBSERVATION:
                raise Invalid(("body", key), f"unknown; the only key is {OBSERVATION!r}")
        given = document[OBSERVATION]
        if not self._keyed:
            given = {OBSERVATION: given}
        elif not isinstance(given, dict):
            raise Invalid(place, f"not an object with the keys {', '.join(self._names)}")
        for key in given:
            if key not in self._members:
                raise Invalid((*place, key), f"unknown; known are {', '.join(self._names)}")
        batch: Members = {}
        counts: dict[str, int | None] = {}
        for name, member in self._members.items():
            where = (*place, name) if self._keyed else place
            if name not in given:
                raise Invalid(where, "missing")
            batch[name], counts[name] = _array(given[name], member, where, self.most)
        if len(set(counts.values())) > 1:
            words = ", ".join(f"{name}: {_count_words(n)}" for name, n in counts.items())
            raise Invalid(place, f"members have different numbers of observations ({words})")
        return batch, counts[self._names[0]] is None

    def from_raw(self, body: bytes) -> Members:
        """The batch; raises Invalid."""
        rows, rest = divmod(len(body), self.row_bytes)
        if rest or not rows:
            raise Invalid(
                ("body",), f"{len(body)} bytes are no multiple of the {self.row_bytes} of one"
            )
        if rows > self.most:
            raise Invalid(("body",), f"{rows} observations; at most {self.most} in a request")
        batch: Members = {}
        start = 0
        for name, member in self._members.items():
            kind = _little(member)
            count = rows * _size(member)
            flat = np.frombuffer(body, kind, count, start)
            start += flat.nbytes
            array = flat.reshape(rows, *member.shape).astype(member.dtype)
            _check_finite(array, ("body", name))
            batch[name] = array
        return batch

    # --- answers ------------------------------------------------------------------------------

    def to_json(self, actions: NDArray[Any], single: bool) -> bytes:
        """`{"action": ...}`, with the `name` of actions that have one."""
        answer: dict[str, Any] = {"action": actions[0].tolist() if single else actions.tolist()}
        if self._action_names:
            named = [self._action_names[k] for k in actions.tolist()]
            answer["name"] = named[0] if single else named
        return json.dumps(answer).encode()

    def to_raw(self, actions: NDArray[Any]) -> bytes:
        """Actions in C order, little-endian."""
        return np.ascontiguousarray(actions, actions.dtype.newbyteorder("<")).tobytes()

    # --- for machines -------------------------------------------------------------------------

    def schema(self) -> dict[str, Any]:
        """JSON schema of a request."""
        one = {name: _schema(member, member.shape) for name, member in self._members.items()}
        many = {
            name: {"type": "array", "minItems": 1, "maxItems": self.most, "items": each}
            for name, each in one.items()
        }
        options = [self._observation(one), self._observation(many)]
        return {
            "type": "object",
            "required": [OBSERVATION],
            "additionalProperties": False,
            "properties": {OBSERVATION: {"anyOf": options}},
        }

    def _observation(self, members: dict[str, Any]) -> dict[str, Any]:
        if not self._keyed:
            only: dict[str, Any] = members[OBSERVATION]
            return only
        return {
            "type": "object",
            "required": list(members),
            "additionalProperties": False,
            "properties": members,
        }


def _array(
    value: Any, member: spaces.Box, place: Place, most: int
) -> tuple[NDArray[Any], int | None]:
    """A batch of one member, and how many; None for a single one.

    Raises:
        Invalid: names the first entry that is wrong.
    """
    try:
        given = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        given = np.empty(0, object)  # of no one shape
    single = given.shape == member.shape
    if given.dtype.kind not in "iuf" or not (single or given.shape[1:] == member.shape):
        _explain(value, member, place)
    if not single and not 1 <= len(given) <= most:
        raise Invalid(place, f"{len(given)} observations; from 1 to {most} in a request")
    if member.dtype.kind in "iu":
        limits = np.iinfo(member.dtype)  # type: ignore[type-var]
        wrong = (given < limits.min) | (given > limits.max) | (given != np.floor(given))
        if wrong.any():
            at = tuple(int(k) for k in np.argwhere(wrong)[0])
            reason = f"{given[at]} is no whole number from {limits.min} to {limits.max}"
            raise Invalid((*place, *at), reason)
    with np.errstate(over="ignore"):
        array = given.astype(member.dtype)
    _check_finite(array, place)
    return array.reshape(-1, *member.shape), None if single else len(given)


def _check_finite(array: NDArray[Any], place: Place) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        at = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise Invalid((*place, *at), f"{array[at]} is not a finite number of {array.dtype}")


def _explain(value: Any, member: spaces.Box, place: Place) -> None:
    """Find the entry that makes an array impossible; always raises Invalid."""
    bad = _no_number(value, place)
    if bad is not None:
        raise bad
    shape = ", ".join(str(size) for size in member.shape)
    found = _shape_of(value)
    raise Invalid(
        place,
        f"shape {found} is neither ({shape}) of one observation nor (batch, {shape}) of several",
    )


def _no_number(value: Any, place: Place, depth: int = 0) -> Invalid | None:
    if isinstance(value, list):
        if depth > 32:
            return Invalid(place, "nested too deeply")
        for index, each in enumerate(value):
            if (bad := _no_number(each, (*place, index), depth + 1)) is not None:
                return bad
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Invalid(place, f"{type(value).__name__} is not a number")
    if isinstance(value, int) and abs(value) >= 2**63:
        return Invalid(place, "a number too large")
    return None


def _shape_of(value: Any) -> str:
    """The shape of nested lists, as far as all agree."""
    sizes = []
    while isinstance(value, list):
        sizes.append(str(len(value)))
        if not value:
            break
        if any(isinstance(e, list) != isinstance(value[0], list) for e in value) or (
            isinstance(value[0], list) and len({len(e) for e in value}) > 1
        ):
            return "(" + ", ".join([*sizes, "rows of different lengths"]) + ")"
        value = value[0]
    return "(" + ", ".join(sizes) + ")"


def _schema(member: spaces.Box, shape: Sequence[int]) -> dict[str, Any]:
    if shape:
        return {
            "type": "array",
            "minItems": shape[0],
            "maxItems": shape[0],
            "items": _schema(member, shape[1:]),
        }
    if member.dtype.kind in "iu":
        limits = np.iinfo(member.dtype)  # type: ignore[type-var]
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    return {"type": "number", "minimum": -1e30, "maximum": 1e30}


def _little(member: spaces.Box) -> np.dtype[Any]:
    return np.dtype(member.dtype).newbyteorder("<")


def _size(member: spaces.Box) -> int:
    return int(np.prod(member.shape, dtype=np.int64))


def _count_words(count: int | None) -> str:
    return "one" if count is None else f"{count} of a batch"
