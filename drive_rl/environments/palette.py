"""The colours of the picture, chosen to stay apart under the common colour-vision deficiencies.

Meaning is carried by Okabe and Ito's hues (https://jfly.uni-koeln.de/color/) and never by hue
alone: the ego is the only saturated car, a crashed one also bears a cross, a goal is an outline.
"""

from __future__ import annotations

Color = tuple[int, int, int]

GRASS: Color = (82, 97, 80)
SHOULDER: Color = (104, 105, 104)
ASPHALT: Color = (62, 65, 71)
MARKING: Color = (232, 230, 222)

EGO: Color = (38, 139, 222)
TRAFFIC: Color = (214, 210, 200)
CRASHED: Color = (213, 94, 0)
GOAL: Color = (0, 190, 140)
BARRIER: Color = (230, 159, 0)
BARRIER_STRIPE: Color = (48, 46, 44)
PLAN: Color = (86, 180, 233)

GLASS: Color = (34, 40, 48)
HEADLIGHT: Color = (255, 246, 214)
TAIL_LIGHT: Color = (120, 24, 22)
BRAKE_LIGHT: Color = (255, 52, 40)
INDICATOR: Color = (255, 176, 0)


def mixed(color: Color, other: Color, share: float) -> Color:
    """`color` with `share` (0 to 1) of `other` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return (red, green, blue)
