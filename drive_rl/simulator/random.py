"""numpy's random streams, draw for draw: PCG64 and what highway-env draws from a Generator.

Each environment keeps its generator's state in its record, as uint64 words, and goes on with the
same stream through resets. Functions equal the Generator methods of numpy that they name; the
tests compare them with numpy itself. Permuted congruential generators: O'Neill (2014). Bounded
integers: Lemire (2019). Normals: the ziggurat method of Marsaglia and Tsang (2000), 256 layers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from drive_rl.simulator.jit import bare

_MULTIPLIER_HIGH = np.uint64(0x2360ED051FC65DA4)
_MULTIPLIER_LOW = np.uint64(0x4385DF649FCCF645)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_N0, _N1, _N2, _N4, _N8, _N9, _N11, _N16, _N32, _N58, _N63, _N64 = (
    np.uint64(n) for n in (0, 1, 2, 4, 8, 9, 11, 16, 32, 58, 63, 64)
)
_BYTE = np.uint64(0xFF)
_MANTISSA = np.uint64(0x000FFFFFFFFFFFFF)

_TAIL = 3.6541528853610087963519472518  # where the lowest layer of the ziggurat ends
_INVERSE_TAIL = 0.27366123732975827203338247596


def _ziggurat() -> tuple[Any, Any, Any]:
    """(acceptance bounds as uint64, widths, densities) of the 256 layers of the normal ziggurat.

    numpy's tables carry the rounding of the program that made them, so they are read out of numpy:
    a generator is put into the state from which it draws a chosen word.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    state: Any = generator.bit_generator.state
    increment = state["state"]["inc"]
    size = 1 << 128
    back = pow(int(_MULTIPLIER_HIGH) << 64 | int(_MULTIPLIER_LOW), -1, size)

    def draw(layer: int, magnitude: int) -> tuple[float, bool]:
        """The normal drawn from a word, and whether it was accepted at once."""
        word = layer | magnitude << 9
        state["state"]["state"] = (word - increment) * back % size
        generator.bit_generator.state = state
        x = generator.standard_normal()
        now: Any = generator.bit_generator.state
        return x, now["state"]["state"] == word

    widths = np.array([draw(layer, 1)[0] for layer in range(256)])
    ends = widths * 2.0**52
    ends[0] = _TAIL
    bounds = np.zeros(256, np.uint64)
    for layer in range(256):
        inner = _TAIL if layer == 0 else 0.0 if layer == 1 else ends[layer - 1]
        guess = int(inner / widths[layer])
        low, high = max(guess - 64, 0), guess + 64
        while low < high:  # the first magnitude that is not accepted at once
            middle = (low + high) // 2
            if draw(layer, middle)[1]:
                low = middle + 1
            else:
                high = middle
        bounds[layer] = low
    densities = np.exp(-0.5 * ends * ends)
    densities[0] = 1.0
    return bounds, widths, densities


_BOUNDS, _WIDTHS, _DENSITIES = _ziggurat()


def seed(environments: Any, env: int, value: int) -> None:
    """Seed one environment's stream, as `np.random.default_rng(value)`."""
    set_generator(environments, env, np.random.PCG64(value).state)


def set_generator(environments: Any, env: int, state: Any) -> None:
    """Take over the state of a numpy PCG64 bit generator."""
    words = state["state"]
    mask = (1 << 64) - 1
    record = environments[env]
    record.rng_high, record.rng_low = words["state"] >> 64, words["state"] & mask
    record.rng_increment_high, record.rng_increment_low = words["inc"] >> 64, words["inc"] & mask
    record.rng_has_word, record.rng_word = bool(state["has_uint32"]), state["uinteger"]


def get_generator(environments: Any, env: int) -> dict[str, Any]:
    """The state of one environment's stream, as numpy's PCG64 takes it."""
    record = environments[env]
    return {
        "bit_generator": "PCG64",
        "state": {
            "state": int(record.rng_high) << 64 | int(record.rng_low),
            "inc": int(record.rng_increment_high) << 64 | int(record.rng_increment_low),
        },
        "has_uint32": int(record.rng_has_word),
        "uinteger": int(record.rng_word),
    }


@bare
def _multiply_high(a, b):  # type: ignore[no-untyped-def]
    """Upper 64 bits of the product of two 64-bit words."""
    a0, a1 = a & _LOW_HALF, a >> _N32
    b0, b1 = b & _LOW_HALF, b >> _N32
    middle = a1 * b0 + ((a0 * b0) >> _N32)
    other = a0 * b1 + (middle & _LOW_HALF)
    return a1 * b1 + (middle >> _N32) + (other >> _N32)


@bare
def next_uint64(env):  # type: ignore[no-untyped-def]
    """PCG64 (XSL-RR): 64 random bits."""
    high, low = env.rng_high, env.rng_low
    new_high = (
        _multiply_high(low, _MULTIPLIER_LOW) + high * _MULTIPLIER_LOW + low * _MULTIPLIER_HIGH
    )
    new_low = low * _MULTIPLIER_LOW
    low = new_low + env.rng_increment_low
    carry = _N1 if low < new_low else _N0
    high = new_high + env.rng_increment_high + carry
    env.rng_high, env.rng_low = high, low
    word, turn = high ^ low, high >> _N58
    return (word >> turn) | (word << ((_N64 - turn) & _N63))


@bare
def next_uint32(env):  # type: ignore[no-untyped-def]
    """32 random bits (as uint64); the second half of a draw waits for the next call."""
    if env.rng_has_word:
        env.rng_has_word = False
        return np.uint64(env.rng_word)
    word = next_uint64(env)
    env.rng_has_word = True
    env.rng_word = np.uint32(word >> _N32)
    return word & _LOW_HALF


@bare
def uniform01(env):  # type: ignore[no-untyped-def]
    """Generator.random()."""
    return float(next_uint64(env) >> _N11) * (1.0 / 9007199254740992.0)


@bare
def uniform(env, low, high):  # type: ignore[no-untyped-def]
    """Generator.uniform(low, high)."""
    return low + (high - low) * uniform01(env)


@bare
def integers(env, count):  # type: ignore[no-untyped-def]
    """Generator.integers(count), count < 2**32: draws nothing if there is no choice."""
    if count <= 1:
        return np.int64(0)
    bound = np.uint64(count)
    product = next_uint32(env) * bound
    if (product & _LOW_HALF) < bound:
        threshold = (_LOW_HALF - (bound - _N1)) % bound
        while (product & _LOW_HALF) < threshold:
            product = next_uint32(env) * bound
    return np.int64(product >> _N32)


@bare
def choice(env, count):  # type: ignore[no-untyped-def]
    """Generator.choice of one of `count` items, as its index."""
    return integers(env, count)


@bare
def choice_weighted(env, cumulated):  # type: ignore[no-untyped-def]
    """Generator.choice(..., p=p), as an index, given `cdf = p.cumsum(); cdf /= cdf[-1]`."""
    draw = uniform01(env)
    k = 0
    while k < cumulated.shape[0] - 1 and cumulated[k] <= draw:
        k += 1
    return k


@bare
def choice_pair(env, count):  # type: ignore[no-untyped-def]
    """Generator.choice(count, size=2, replace=False), count < 10,000."""
    first = integers(env, count - 1)
    second = integers(env, count)
    if second == first:
        second = count - 1
    if integers(env, 2) == 0:
        first, second = second, first
    return first, second


@bare
def standard_normal(env):  # type: ignore[no-untyped-def]
    """Generator.standard_normal()."""
    while True:
        word = next_uint64(env)
        layer = np.int64(word & _BYTE)
        magnitude = (word >> _N9) & _MANTISSA
        x = float(magnitude) * _WIDTHS[layer]
        if (word >> _N8) & _N1:
            x = -x
        if magnitude < _BOUNDS[layer]:
            return x
        if layer == 0:
            while True:
                step = -_INVERSE_TAIL * math.log1p(-uniform01(env))
                height = -math.log1p(-uniform01(env))
                if height + height > step * step:
                    negative = (magnitude >> _N8) & _N1
                    return -(_TAIL + step) if negative else _TAIL + step
        else:
            top, bottom = _DENSITIES[layer - 1], _DENSITIES[layer]
            if (top - bottom) * uniform01(env) + bottom < math.exp(-0.5 * x * x):
                return x


@bare
def normal(env, mean, deviation):  # type: ignore[no-untyped-def]
    """Generator.normal(mean, deviation)."""
    return mean + deviation * standard_normal(env)


@bare
def shuffle_rows(env, rows):  # type: ignore[no-untyped-def]
    """Generator.shuffle of the rows of a two-dimensional array, in place."""
    for i in range(rows.shape[0] - 1, 0, -1):
        last = np.uint64(i)
        mask = last
        for step in (_N1, _N2, _N4, _N8, _N16):
            mask |= mask >> step
        pick = next_uint32(env) & mask
        while pick > last:
            pick = next_uint32(env) & mask
        j = np.int64(pick)
        for k in range(rows.shape[1]):
            kept = rows[i, k]
            rows[i, k] = rows[j, k]
            rows[j, k] = kept
