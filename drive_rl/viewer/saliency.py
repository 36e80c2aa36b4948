"""What a camera policy looks at: how much its choice hangs on each pixel.

Where the network is at hand, by the gradient of the chosen action's score (Simonyan et al. 2013,
"Deep inside convolutional networks"); of any other policy that tells probabilities or values, and
of one behind an encoder, by occlusion: a grey patch is put over each part of the picture in turn
(Zeiler and Fergus 2014).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

PATCHES = 7
"""Patches along each side of the picture, by occlusion."""
STRONGEST = 99.0
"""Percentile of the pixels that counts as full strength: single ones would hide the rest."""


@dataclasses.dataclass(frozen=True, eq=False)
class Saliency:
    """How much a choice hangs on each pixel.

    Attributes:
        strength: 0 to 1, (height, width).
        method: "gradient" or "occlusion".
    """

    strength: FloatArray
    method: str


def saliency(
    policy: Any,
    observations: Any,
    action: Any,
    perceive: Callable[[npt.NDArray[np.uint8]], Any] | None = None,
) -> Saliency | None:
    """Where a policy looks; None for one that does not look at pictures, or does not tell.

    Args:
        policy: a trained policy, or anything with `action_probabilities` or `action_values`.
        observations: uint8, (1, channels, height, width).
        action: that it chose.
        perceive: makes of such observations what the policy is given; None where it is given them.
    """
    if not isinstance(observations, np.ndarray) or observations.dtype != np.uint8:
        return None
    if observations.ndim != 4 or len(observations) != 1:
        return None
    network = getattr(policy, "network", None)
    if perceive is None and network is not None and _is_torch(network):
        gradient = _gradient(network, observations, action)
        return Saliency(_to_one(_blurred(gradient)), "gradient")
    given = perceive or _as_they_are
    ask = _scores_of(policy, given(observations))
    if ask is None:
        return None
    changes = _occluded(lambda covered: ask(given(covered)), observations, action)
    return Saliency(_to_one(changes), "occlusion")


def _as_they_are(observations: Any) -> Any:
    return observations


def _is_torch(network: Any) -> bool:
    import torch

    return isinstance(network, torch.nn.Module)


def _gradient(network: Any, observations: npt.NDArray[np.uint8], action: Any) -> FloatArray:
    """|d score / d pixel|, summed over channels and frames, (height, width)."""
    import torch

    pixels = torch.from_numpy(observations.astype(np.float32)).to(network.device)
    pixels.requires_grad_(True)
    with torch.enable_grad():
        score = _score(network, pixels, action)
        (gradient,) = torch.autograd.grad(score, pixels)
    size: FloatArray = gradient[0].abs().sum(dim=0).cpu().numpy().astype(np.float64)
    return size


def _score(network: Any, pixels: Any, action: Any) -> Any:
    """The chosen action's lead over the others; of a continuous one, its own size."""
    if hasattr(network, "q_net"):
        return _lead(network.q_net(pixels)[0], int(action))
    distribution = network.get_distribution(pixels).distribution
    if hasattr(distribution, "logits"):
        return _lead(distribution.logits[0], int(action))
    # Both ways of pulling at the wheel count: signs would cancel.
    return distribution.mean[0].abs().sum()


def _lead(scores: Any, action: int) -> Any:
    return scores[action] - scores.mean()


def _scores_of(policy: Any, observations: Any) -> Callable[[Any], Any] | None:
    """The method that rates the actions of a batch, None where there is none that answers."""
    for name in ("action_values", "action_probabilities"):
        method = getattr(policy, name, None)
        if callable(method) and method(observations) is not None:
            ask: Callable[[Any], Any] = method
            return ask
    return None


def _occluded(
    ask: Callable[[Any], Any], observations: npt.NDArray[np.uint8], action: Any
) -> FloatArray:
    """How far the chosen action's score moves with each patch covered, (height, width)."""
    height, width = observations.shape[2:]
    rows = np.linspace(0, height, PATCHES + 1).astype(int)
    columns = np.linspace(0, width, PATCHES + 1).astype(int)
    covered = np.repeat(observations, PATCHES**2 + 1, axis=0)
    grey = observations.mean(axis=(2, 3), keepdims=True).astype(np.uint8)[0]
    for k in range(PATCHES**2):
        i, j = divmod(k, PATCHES)
        covered[k + 1, :, rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = grey
    scores = np.asarray(ask(covered), np.float64)[:, int(action)]
    changes = np.abs(scores[1:] - scores[0]).reshape(PATCHES, PATCHES)
    strength: FloatArray = changes.repeat(np.diff(rows), axis=0).repeat(np.diff(columns), axis=1)
    return strength


def _blurred(values: FloatArray) -> FloatArray:
    """Gradients speckle; what they mean shows in patches of a few pixels."""
    from scipy.ndimage import gaussian_filter

    smooth: FloatArray = gaussian_filter(values, max(values.shape) / 50)
    return smooth


def _to_one(values: FloatArray) -> FloatArray:
    top = float(np.percentile(values, STRONGEST)) or float(values.max())
    strength: FloatArray = np.clip(values / top, 0.0, 1.0) if top > 0 else np.zeros_like(values)
    return strength
