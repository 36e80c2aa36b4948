"""The figures beside the picture, taken from what is seen: gaps, times to collision, choices."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drive_rl.environments.cameras import FREE_VIEWS, road_textures
from drive_rl.environments.scene import FloatArray, Kind, SceneState, planned_path
from drive_rl.viewer.controller import Controller, Ride
from drive_rl.viewer.episode import Moment, Thought

REACH = 100.0
"""How far ahead a vehicle counts as ahead [m]."""
CORRIDOR_MARGIN = 0.2
"""Room beside the ego that still counts as its path [m]."""
OUTLINE_SPACING = 1.0
"""Distance between the points that stand for an outline [m]."""


@dataclasses.dataclass(frozen=True)
class Gap:
    """What is ahead of the ego, in its path.

    Attributes:
        distance: from bumper to bumper [m].
        time_headway: the time in which the ego covers it [s]; None at a stand.
        time_to_collision: at constant speeds [s]; None where the gap does not close.
    """

    distance: float
    time_headway: float | None
    time_to_collision: float | None


def gap_ahead(scene: SceneState) -> Gap | None:
    """The nearest vehicle or obstacle within `REACH` on the ego's path, None where it is free.

    The path is the planned lane where the scene knows one, else straight ahead.
    """
    if len(scene) < 2:
        return None
    ego = scene.ego
    near = np.hypot(*(scene.position - scene.position[ego]).T) <= REACH + scene.length
    others = np.flatnonzero(near & (scene.kind != Kind.GOAL) & (np.arange(len(scene)) != ego))
    if not len(others):
        return None
    points, owners = _outlines(scene, others)
    along, across, direction = _along_path(_path(scene), points)
    in_path = (along > 0) & (along <= REACH)
    in_path &= across <= scene.width[ego] / 2 + CORRIDOR_MARGIN
    # A body that reaches behind the ego's centre runs beside it; it is not ahead.
    in_path &= ~np.isin(owners, owners[(along <= 0) & (across <= scene.length[ego])])
    if not in_path.any():
        return None
    nearest = int(np.flatnonzero(in_path)[along[in_path].argmin()])
    gap = max(float(along[nearest] - scene.length[ego] / 2), 0.0)
    own, other = float(scene.speed[ego]), owners[nearest]
    turn = scene.heading[other] - direction[nearest]
    closing = own - float(scene.speed[other] * np.cos(turn))
    return Gap(
        gap,
        gap / own if own > 0.1 else None,
        gap / closing if closing > 0.01 else None,
    )


def _outlines(
    scene: SceneState, entries: npt.NDArray[np.intp]
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Points on the outlines of rectangles, (num_points, 2), and whose each is, (num_points,)."""
    sizes = np.stack([scene.length[entries], scene.width[entries]], axis=1)
    points, owners = [], []
    for length, width in np.unique(sizes, axis=0):
        same = entries[(sizes == (length, width)).all(axis=1)]
        outline = _outline(float(length), float(width))
        c, s = np.cos(scene.heading[same])[:, None], np.sin(scene.heading[same])[:, None]
        x, y = outline.T
        turned = np.stack([c * x - s * y, s * x + c * y], axis=2)  # (num_same, num_points, 2)
        points.append((scene.position[same][:, None] + turned).reshape(-1, 2))
        owners.append(np.repeat(same, len(outline)))
    return np.concatenate(points), np.concatenate(owners)


@functools.lru_cache(maxsize=64)
def _outline(length: float, width: float) -> FloatArray:
    """Points around a rectangle about the origin, (num_points, 2)."""
    half = np.array([length, width]) / 2
    steps = np.maximum(np.ceil(2 * half / OUTLINE_SPACING).astype(int), 1)
    x, y = (np.linspace(-1.0, 1.0, count + 1) for count in steps)
    sides = [np.stack([x, np.full_like(x, side)], axis=1) for side in (-1.0, 1.0)]
    ends = [np.stack([np.full_like(y, side), y], axis=1) for side in (-1.0, 1.0)]
    around: FloatArray = np.concatenate(sides + ends) * half
    return around


def _path(scene: SceneState) -> FloatArray:
    """From the ego's centre on, (num_points, 2)."""
    path = planned_path(scene)
    if len(path) >= 2:
        return path
    start, heading = scene.position[scene.ego], scene.heading[scene.ego]
    return np.stack([start, start + REACH * np.array([np.cos(heading), np.sin(heading)])])


def _along_path(path: FloatArray, points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Way along the path [m], distance from it [m] and its heading there, each (num_points,)."""
    starts, steps = path[:-1], np.diff(path, axis=0)
    lengths = np.maximum(np.hypot(steps[:, 0], steps[:, 1]), 1e-9)
    units = steps / lengths[:, None]
    offsets = points[:, None] - starts[None]  # (num_points, num_pieces, 2)
    raw = (offsets * units[None]).sum(axis=2)
    on_piece = np.clip(raw, 0.0, lengths[None])
    # The first piece reaches backwards and the last one forwards: behind is behind.
    on_piece[:, 0] = np.minimum(raw[:, 0], lengths[0])
    on_piece[:, -1] = raw[:, -1] if len(starts) == 1 else np.maximum(raw[:, -1], 0.0)
    feet = starts[None] + on_piece[:, :, None] * units[None]
    distances = np.hypot(*np.moveaxis(points[:, None] - feet, 2, 0))
    best = distances.argmin(axis=1)
    rows = np.arange(len(points))
    before = np.concatenate([[0.0], np.cumsum(lengths)])[best]
    headings = np.arctan2(units[:, 1], units[:, 0])[best]
    return before + on_piece[rows, best], distances[rows, best], headings


@dataclasses.dataclass(frozen=True)
class Choice:
    """One row of the policy's choice.

    Attributes:
        label: of the action, or of the dimension of a continuous one.
        amount: length of the bar: 0 to 1, or -1 to 1 where `centred`; None without a bar.
        text: the figure beside it.
        by_policy: whether the policy would do this.
        done: whether this is being done; differs where a person drives.
    """

    label: str
    amount: float | None
    text: str
    by_policy: bool
    done: bool
    centred: bool = False


@dataclasses.dataclass(frozen=True)
class Term:
    """A named part of the reward at a decision.

    Attributes:
        label: its name, for people.
        value: before weighting.
        harmful: whether it counts against the return.
    """

    label: str
    value: float
    harmful: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Sight:
    """A camera's picture.

    Attributes:
        title: whose camera it is.
        picture: uint8, (height, width, 3).
        saliency: where the policy looks in it, None for a camera that no policy looks through.
        note: a line below.
    """

    title: str
    picture: npt.NDArray[np.uint8]
    saliency: FloatArray | None
    note: str


@dataclasses.dataclass(frozen=True)
class Figures:
    """All that is written beside one ride."""

    policy: str
    decision: int
    time: float
    speed: float
    gap: Gap | None
    episode_return: float
    reward: float
    terms: tuple[Term, ...]
    choices: tuple[Choice, ...]
    choice_title: str
    values: tuple[float, ...]
    sight: Sight | None
    ended: str | None


def figures(
    controller: Controller, ride: Ride, names: list[str], config: Mapping[str, Any]
) -> Figures:
    """The figures of a ride at the controller's position.

    Args:
        names: of the actions, see `wheel.action_names`.
        config: highway-env's; it has the weights of the reward's terms under their names.
    """
    moments = ride.episode.moments
    moment = ride.moment(controller.position)
    scene = controller.scene(ride)
    following = moments[moment.index + 1] if moment.index + 1 < len(moments) else None
    thought, taken = moment.thought, following
    if thought is None and moment.index > 0:  # the end: what led there stays on the screen
        thought, taken = moments[moment.index - 1].thought, moment
    title, choices = choices_of(thought, taken, names)
    past = moments[: moment.index + 1]
    return Figures(
        policy=ride.episode.name,
        decision=moment.index,
        time=scene.time,
        speed=float(scene.speed[scene.ego]) if len(scene) else moment.speed,
        gap=gap_ahead(scene),
        episode_return=moment.episode_return,
        reward=moment.reward,
        terms=tuple(_shown_terms(moment, following, config)),
        choices=choices,
        choice_title=title,
        values=tuple(m.thought.value for m in past if m.thought and m.thought.value is not None),
        sight=_sight(controller, ride, moment, thought, scene),
        ended=controller.ending(ride),
    )


def _sight(
    controller: Controller, ride: Ride, moment: Moment, thought: Thought | None, scene: SceneState
) -> Sight | None:
    """The picture of the camera that is switched on."""
    episode, view = ride.episode, controller.view
    if view in FREE_VIEWS and episode.has_road:
        names = road_textures(episode.camera)[0]
        road = "its own road" if controller.texture is None else names[controller.texture]
        picture = episode.free_view(view, scene, controller.texture)
        return Sight(f"Free camera, {view}", picture, None, road)
    if view != "policy" or moment.view is None:
        return None
    road = moment.texture.replace("_", " ")
    found = None if thought is None or moment.thought is None else thought.saliency
    if found is None or not controller.saliency_shown:
        return Sight("What the policy sees", moment.view, None, road)
    note = f"{road} · saliency: {found.method}"
    return Sight("What the policy sees", moment.view, found.strength, note)


def _shown_terms(moment: Moment, following: Moment | None, config: Mapping[str, Any]) -> list[Term]:
    terms = moment.terms or (dict.fromkeys(following.terms, 0.0) if following else {})
    shown = []
    for name, value in terms.items():
        weight = config.get(name, 1.0)
        weight = float(weight) if isinstance(weight, (int, float)) else 1.0
        label = name.removesuffix("_reward").replace("_", " ")
        shown.append(Term(label, value, weight * value < 0))
    return shown


def choices_of(
    thought: Thought | None, following: Moment | None, names: list[str]
) -> tuple[str, tuple[Choice, ...]]:
    """A title, and the rows of what might be done.

    Args:
        thought: of the policy at a moment.
        following: the moment after it, which says what was done; None if nothing has been yet.
        names: of the actions; of one agent, where there are several.
    """
    if thought is None or not names:
        return "Action", ()
    wanted = thought.action
    done = wanted if following is None else following.action
    if isinstance(wanted, tuple):  # several agents: the first one's is shown
        wanted, done = wanted[0], done[0]
    if np.ndim(wanted):
        return "Action", _continuous(done, names)
    own, chosen = int(wanted), int(done)
    labels = [name.replace("_", " ").capitalize() for name in names]
    title, texts = "Action", [""] * len(names)
    amounts: list[float | None] = [None] * len(names)
    if thought.q_values is not None and len(thought.q_values) == len(names):
        title = "Action values"
        known = thought.q_values[np.isfinite(thought.q_values)]  # a planner may not have tried all
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        span = high - low if high > low else math.inf
        for i, q in enumerate(thought.q_values):
            if np.isfinite(q):
                amounts[i], texts[i] = 0.15 + 0.85 * (float(q) - low) / span, f"{q:.2f}"
            else:
                amounts[i], texts[i] = 0.0, "–"
    elif thought.probabilities is not None and len(thought.probabilities) == len(names):
        title = "Action probabilities"
        amounts = [float(p) for p in thought.probabilities]
        texts = [f"{100 * p:.0f}%" for p in thought.probabilities]
    rows = zip(labels, amounts, texts, strict=True)
    return title, tuple(
        Choice(label, amount, text, i == own, i == chosen)
        for i, (label, amount, text) in enumerate(rows)
    )


def _continuous(done: Any, names: list[str]) -> tuple[Choice, ...]:
    amounts = np.asarray(done, dtype=np.float64).reshape(-1)
    return tuple(
        Choice(name.capitalize(), float(np.clip(amount, -1, 1)), f"{amount:+.2f}", True, True, True)
        for name, amount in zip(names, amounts, strict=False)
    )
