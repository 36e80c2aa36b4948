"""Scalar mathematics shared by all kernels: angles, maps, and rectangles that may overlap."""

from __future__ import annotations

import math

from drive_rl.simulator import elementary
from drive_rl.simulator.jit import inlined

# Below this, sin(x), tan(x), asin(x) and atan(x) round to x and cos(x) to 1 in double precision
# (x**2 / 2 < 2**-54), so the call can be left out without changing a bit. Vehicles that keep
# their lane are here almost always.
TINY = 2.0**-28


@inlined
def wrap_to_pi(angle: float) -> float:
    """The angle in [-pi, pi). Equals utils.wrap_to_pi."""
    shifted = angle + math.pi
    if not 0.0 <= shifted < 2 * math.pi:
        shifted %= 2 * math.pi
    return shifted - math.pi


@inlined
def not_zero(x: float) -> float:
    """x, kept at least 0.01 away from zero. Equals utils.not_zero."""
    if abs(x) > 1e-2:
        return x
    return 1e-2 if x >= 0 else -1e-2


@inlined
def lmap(v: float, x0: float, x1: float, y0: float, y1: float) -> float:
    """Linear map of v from [x0, x1] to [y0, y1]. Equals utils.lmap, in its order of operations."""
    return y0 + (v - x0) * (y1 - y0) / (x1 - x0)


@inlined
def clip(x: float, low: float, high: float) -> float:
    """np.clip of a scalar (a NaN stays one)."""
    if x < low:
        return low
    if x > high:
        return high
    return x


@inlined
def sin(x: float) -> float:
    return x if -TINY < x < TINY else math.sin(x)


@inlined
def cos(x: float) -> float:
    return 1.0 if -TINY < x < TINY else math.cos(x)


@inlined
def tan(x: float, exact: bool) -> float:
    """`exact`: as numpy has it, see `Network.shape`; so are the next two."""
    if -TINY < x < TINY:
        return x
    return float(elementary.tan(x) if exact else math.tan(x))


@inlined
def asin(x: float, exact: bool) -> float:
    if -TINY < x < TINY:
        return x
    return float(elementary.asin(x) if exact else math.asin(x))


@inlined
def atan(x: float, exact: bool) -> float:
    if -TINY < x < TINY:
        return x
    return float(elementary.atan(x) if exact else math.atan(x))


@inlined
def set_heading(body, heading: float) -> None:  # type: ignore[no-untyped-def]
    """Turn a vehicle or object, keeping the stored direction in step with its heading [rad]."""
    body.heading = heading
    body.cos = cos(heading)
    body.sin = sin(heading)
