"""One crash as a card: the map, the figures, and what the policy thought of it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from drive_rl.evaluation.crashes import KINDS
from drive_rl.evaluation.page.maps import crash_map
from drive_rl.evaluation.results import CrashCard
from drive_rl.evaluation.videos import Film

_DECISIONS = 5


def card_of(
    card: CrashCard, names: Sequence[str], again: str, film: Film | None = None
) -> dict[str, Any]:
    """What the template shows of a crash.

    Args:
        names: of the actions, where they are discrete.
        again: what to type to see the episode.
        film: its video, None where there is none.
    """
    label = KINDS[card.crash.kind]
    return {
        "seed": card.seed,
        "label": label[0].upper() + label[1:],
        "map": crash_map(card),
        "steps": len(card.trace.frames) - 1,
        "facts": _facts(card),
        "video": None if film is None else film.file,
        "poster": "" if film is None else base64.b64encode(film.poster).decode(),
        "times": _times(card),
        "decisions": _decisions(card, names),
        "decisions_title": _decisions_title(card),
        "replay": again,
    }


def _facts(card: CrashCard) -> str:
    crash = card.crash
    facts = [f"Ego {crash.ego_speed:.1f} m/s"]
    if np.isfinite(crash.other_speed):
        facts.append(f"the other {crash.other_speed:.1f} m/s")
        if crash.closing_speed > 0:
            facts.append(f"closing at {crash.closing_speed:.1f} m/s")
    return ", ".join(facts) + "."


def _times(card: CrashCard) -> list[str]:
    """When the last decisions were taken, counted in decisions before the last."""
    count = min(len(card.actions), _DECISIONS)
    period = card.decision_period
    ago = [round((count - 1 - i) * period, 2) for i in range(count)]
    return [f"−{seconds:g} s" if seconds else "last" for seconds in ago]


def _decisions_title(card: CrashCard) -> str:
    if card.probabilities is not None:
        return "Probability of each action at the last decisions; the frame marks the one taken."
    return "The last actions."


def _decisions(card: CrashCard, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row per action with its probabilities, or the actions themselves in one row."""
    actions = card.actions[-_DECISIONS:]
    if not actions:
        return []
    if card.probabilities is not None:
        table = np.asarray(card.probabilities)[-len(actions) :]
        return [
            {
                "name": names[action] if action < len(names) else f"action {action}",
                "cells": [
                    {
                        "text": _percent(table[step, action]),
                        "share": round(float(table[step, action]), 3),
                        "chosen": int(actions[step]) == action,
                    }
                    for step in range(len(actions))
                ],
            }
            for action in range(table.shape[1])
        ]
    cells = [{"text": _action(a, names), "share": 0, "chosen": False} for a in actions]
    return [{"name": "action", "cells": cells}]


def _percent(share: float) -> str:
    """Room for the digits that matter: 0.4% and 99.6% are neither 0 nor 100."""
    if 0 < share < 0.005 or 0.995 < share < 1:
        return f"{100 * share:.1f}"
    return f"{100 * share:.0f}"


def _action(action: Any, names: Sequence[str]) -> str:
    if isinstance(action, (list, tuple)):
        return ", ".join(_action(each, ()) for each in action)
    if isinstance(action, int):
        return names[action] if action < len(names) else str(action)
    return f"{float(action):+.2f}".replace("-", "−")
