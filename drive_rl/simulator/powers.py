"""Logarithm and exponential without calls: the speed term of the IDM for every vehicle and frame.

`(speed / target) ** delta` was a quarter of a highway decision. Split in two, the logarithm is
taken once per vehicle and frame, for all vehicles in one loop that the processor overlaps. Both
are accurate to about one unit in the last place; what depends on them is `1 - exp(delta * log)`,
which is then within 1e-15 of the C library's power (for ratios up to 2).

Methods: argument reduction, and the series of atanh and exp (Muller, Elementary Functions, 2006).
"""

from __future__ import annotations

import numpy as np

from drive_rl.simulator.jit import bare, inlined

_SQRT_HALF = np.int64(0x3FE6A09E667F3BCD)  # the bits of sqrt(1/2)
_MANTISSA_BITS = np.int64(52)
_BIAS = np.int64(1023)
_LN2_HIGH = 6.93147180369123816490e-01  # 33 bits, so that small multiples are exact
_LN2_LOW = 1.90821492927058770002e-10
_LOG2_E = 1.4426950408889634

LOG_OF_ZERO = -1e4  # stands for minus infinity: any power of it is zero


@inlined
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm of x >= 0 (0 and subnormal numbers give LOG_OF_ZERO)."""
    bits = np.float64(x).view(np.int64)
    exponent = (bits - _SQRT_HALF) >> _MANTISSA_BITS
    mantissa = np.int64(bits - (exponent << _MANTISSA_BITS)).view(
        np.float64
    )  # [sqrt(1/2), sqrt(2))
    f = mantissa - 1.0
    s = f / (2.0 + f)  # log(1 + f) = 2 atanh(s)
    z = s * s
    w = z * z
    even = 1 / 5 + w * (1 / 9 + w * (1 / 13 + w * (1 / 17 + w * (1 / 21))))
    odd = 1 / 3 + w * (1 / 7 + w * (1 / 11 + w * (1 / 15 + w * (1 / 19))))
    twice = s + s
    tail = twice * (z * (odd + z * even))
    k = float(exponent)
    value = k * _LN2_HIGH + (twice + (tail + k * _LN2_LOW))
    return value if x > 1e-300 else LOG_OF_ZERO


@inlined
def exp(x):  # type: ignore[no-untyped-def]
    """Exponential function of x <= 700; 0 below -700."""
    k = np.floor(x * _LOG2_E + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW  # within ln(2) / 2 of zero
    w = r * r
    a = 1 / 2 + r * (1 / 6) + w * (1 / 24 + r * (1 / 120))
    b = 1 / 720 + r * (1 / 5040) + w * (1 / 40320 + r * (1 / 362880))
    c = 1 / 3628800 + r * (1 / 39916800) + w * (1 / 479001600 + r * (1 / 6227020800))
    series = 1.0 + (r + w * (a + (w * w) * (b + (w * w) * c)))
    k = min(max(k, -1000.0), 1020.0)
    scale = np.int64((np.int64(k) + _BIAS) << _MANTISSA_BITS).view(np.float64)
    return series * scale if x > -700.0 else 0.0


@bare
def logarithms(values, n):  # type: ignore[no-untyped-def]
    """Take the logarithm of the first n values, in place."""
    for i in range(n):
        values[i] = log(values[i])


@bare
def exponentials(exponents, values, n):  # type: ignore[no-untyped-def]
    """values = exp(exponents * values), the first n."""
    for i in range(n):
        values[i] = exp(exponents[i] * values[i])
