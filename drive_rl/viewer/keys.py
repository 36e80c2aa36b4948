"""Which key asks for what."""

from __future__ import annotations

import pygame

from drive_rl.viewer.controller import Command

_COMMANDS = {
    pygame.K_SPACE: Command.PAUSE,
    pygame.K_RIGHT: Command.STEP,
    pygame.K_LEFT: Command.STEP_BACK,
    pygame.K_UP: Command.SPEED_UP,
    pygame.K_DOWN: Command.SLOW_DOWN,
    pygame.K_r: Command.NEXT_SEED,
    pygame.K_b: Command.SAME_SEED,
    pygame.K_m: Command.WHEEL,
    pygame.K_p: Command.NEXT_POLICY,
    pygame.K_c: Command.NEXT_CAMERA,
    pygame.K_t: Command.NEXT_TEXTURE,
    pygame.K_o: Command.SALIENCY,
    pygame.K_l: Command.PLAN,
    pygame.K_w: Command.TRAILS,
    pygame.K_s: Command.SCREENSHOT,
    pygame.K_v: Command.RECORD,
    pygame.K_PLUS: Command.ZOOM_IN,
    pygame.K_EQUALS: Command.ZOOM_IN,
    pygame.K_KP_PLUS: Command.ZOOM_IN,
    pygame.K_MINUS: Command.ZOOM_OUT,
    pygame.K_KP_MINUS: Command.ZOOM_OUT,
    pygame.K_h: Command.HELP,
    pygame.K_F1: Command.HELP,
    pygame.K_ESCAPE: Command.CLOSE,
}

ARROWS = {
    pygame.K_UP: "up",
    pygame.K_DOWN: "down",
    pygame.K_LEFT: "left",
    pygame.K_RIGHT: "right",
}

HELP = (
    ("Space", "pause and go on"),
    ("Right", "one decision"),
    ("Left", "back one decision"),
    ("Up, Down", "faster, slower (0.25x to 16x)"),
    ("R", "next seed"),
    ("B", "back to the start of this seed"),
    ("M", "take the wheel: arrows drive; again: let go"),
    ("P", "next policy"),
    ("T", "next texture of the road, as cameras see it"),
    ("C", "next camera: the policy's, front, top, none"),
    ("O", "where the policy looks, over its camera"),
    ("L", "the planned lane"),
    ("W", "trails (wakes)"),
    ("+  -", "closer, further away"),
    ("V", "start and stop recording"),
    ("S", "save a picture"),
    ("H", "this list"),
    ("Esc", "close"),
)


def command(key: int, wheel_taken: bool) -> Command | None:
    """What a key asks for, None for one without a meaning; arrows belong to the wheel if taken."""
    if wheel_taken and key in ARROWS:
        return None
    return _COMMANDS.get(key)
