"""Random numbers of a camera's streams are the same in kernels and in Python."""

import numpy as np

from drive_rl.camera.bodies import mixed_bits
from drive_rl.camera.factors import mixed_number, stream_of, uniform, uniform_number
from drive_rl.simulator.jit import kernel


@kernel
def numbers(keys, mixed, drawn):
    for k in range(keys.shape[0]):
        mixed[k] = mixed_bits(keys[k])
        drawn[k] = uniform(keys[k], k)


def test_python_draws_what_kernels_draw():
    keys = np.random.default_rng(0).integers(-(2**63), 2**63, 200, dtype=np.int64)
    keys[:4] = 0, 1, -1, -(2**63)
    mixed, drawn = np.zeros(len(keys), np.int64), np.zeros(len(keys))
    with np.errstate(over="ignore"):  # without the compiler, NumPy warns where words wrap around
        numbers(keys, mixed, drawn)
    assert mixed.tolist() == [mixed_number(int(key)) for key in keys]
    assert drawn.tolist() == [uniform_number(int(key), k) for k, key in enumerate(keys)]


def test_a_stream_is_62_bits_and_hangs_on_every_word():
    words = [2**64 - 1, 3, 5, 7]
    streams = {stream_of(words), *(stream_of(words[:k] + [9] + words[k + 1 :]) for k in range(4))}
    assert len(streams) == 5
    assert all(0 <= stream < 2**62 for stream in streams)
    assert stream_of([]) == 0
