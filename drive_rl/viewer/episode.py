"""One episode being driven: the environment, the policy, and every moment so far.

Moments are kept, so going back in time is looking at an earlier one. Driving on from there with
the same policy plays the moments that exist; anything else (the wheel taken over, another
policy) drops what came after and continues from the exact state of that moment.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from drive_rl.environments.cameras import (
    FREE_VIEWS,
    FreeCamera,
    Picture,
    as_picture,
    camera_of,
    network_of,
    redraw,
    road_textures,
)
from drive_rl.environments.lights import with_lights
from drive_rl.environments.plans import planned_lane
from drive_rl.environments.scene import SceneState, scene_from_highway_env
from drive_rl.errors import DriveRLError
from drive_rl.evaluation import kinematics, policies
from drive_rl.evaluation.baselines import Baseline
from drive_rl.evaluation.batches import first
from drive_rl.viewer.saliency import Saliency, saliency

Envs = gymnasium.vector.VectorEnv[Any, Any, Any]


@dataclasses.dataclass(frozen=True)
class Thought:
    """What a policy makes of a moment.

    Attributes:
        action: what it would do.
        probabilities: of each discrete action, (num_actions,); None where it has none.
        q_values: of each discrete action, (num_actions,); None where it has none.
        value: its estimate of the return to come; None where it has none.
        saliency: where in the camera's frame it looks; None where it does not, or there is none.
    """

    action: Any
    probabilities: npt.NDArray[np.float64] | None = None
    q_values: npt.NDArray[np.float64] | None = None
    value: float | None = None
    saliency: Saliency | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Moment:
    """The state of an episode at a decision.

    Attributes:
        index: decisions taken so far.
        observations: what the policy is given, a batch of one.
        scene: what there is to see.
        frames: the simulated scenes since the moment before, the last being `scene`.
        action: what was done to get here; None at the start.
        thought: what the policy makes of it; None once the episode has ended.
        reward: of the decision that led here.
        episode_return: sum of rewards so far.
        terms: the reward's named terms at this decision.
        ended: None, "crashed", "goal reached", "off the road", "terminated" or "time limit".
        speed: `info["speed"]` [m/s].
        view: the newest frame of the camera that observes, (height, width, 3); None without one.
        texture: name of the road's texture in it.
    """

    index: int
    observations: Any
    scene: SceneState
    frames: tuple[SceneState, ...]
    action: Any
    thought: Thought | None
    reward: float
    episode_return: float
    terms: dict[str, float]
    ended: str | None
    speed: float
    state: dict[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict, repr=False)
    view: Picture | None = None
    texture: str = ""


class Episode:
    """An environment and a policy at its wheel.

    The environment is a vector environment of one, as `evaluate` has them: the same policies,
    asked in the same way, drive the same episodes.

    Args:
        envs: from `drive_rl.make_vec`, of one environment, its autoreset disabled.
        policy: anything with `predict`; a baseline.
        name: what to call the policy.
    """

    def __init__(self, envs: Envs, policy: Any, name: str) -> None:
        self.envs = envs
        self.seed = 0
        self.moments: list[Moment] = []
        self.camera = camera_of(envs)
        # Where the policy is behind an encoder: frames to what it is given.
        self._perceive = getattr(envs, "perception", None)
        self._free: dict[str, tuple[Any, FreeCamera]] = {}
        self._texture: int | None = None
        self._first_texture = -1
        self._own_texture = 0
        self._at = 0
        if hasattr(envs, "record_frames"):
            envs.record_frames(True)
        self.set_policy(policy, name)

    def set_policy(self, policy: Any, name: str) -> None:
        """Put another policy at the wheel, from the next decision on.

        Raises:
            UsageError: it does not fit the environment; the present one stays.
        """
        driver = policies.driver(policy, self.envs, True)
        self.policy, self.name, self._driver = policy, name, driver
        if self.moments:
            self._driver.start_episodes(np.array([0]), np.array([self.seed]))
            last = self.moments[-1]
            if last.ended is None:
                thought = self._think(last.observations)
                self.moments[-1] = dataclasses.replace(last, thought=thought)

    def start(self, seed: int) -> None:
        """Begin the episode of `seed`: the same as `evaluate`'s episode of that seed."""
        self.seed = seed
        self._driver.start_episodes(np.array([0]), np.array([seed]))
        observations, info = self.envs.reset(seed=seed)
        if self.camera is not None:
            self._own_texture = int(self.camera.cameras[0].road)
        observations = self._dressed(_copied(observations))
        scene = self._scene()
        moment = Moment(
            index=0,
            observations=observations,
            scene=scene,
            frames=(scene,),
            action=None,
            thought=self._think(observations),
            reward=0.0,
            episode_return=0.0,
            terms={},
            ended=None,
            speed=_number(info, "speed"),
            state=self._state(),
            **self._seen(),
        )
        self.moments, self._at = [moment], 0

    @property
    def has_road(self) -> bool:
        """Whether free cameras can be set up here."""
        return hasattr(self.envs, "spec_env")

    def free_view(self, view: str, scene: SceneState, texture: int | None) -> Picture:
        """What a free camera sees of a scene of this episode, (height, width, 3).

        Args:
            view: of `cameras.FREE_VIEWS`.
            texture: of `cameras.road_textures`; None is the road's own.
        """
        # Some scenes draw their road anew by the seed.
        road = self.moments[0].scene.lanes
        known = self._free.get(view)
        if known is None or known[0] is not road:
            textures = road_textures(self.camera)
            camera = FreeCamera(FREE_VIEWS[view], network_of(self.envs), self.camera, *textures)
            known = self._free[view] = (road, camera)
        return known[1].look(scene, texture)

    @property
    def ended(self) -> bool:
        """Whether the last moment so far is the episode's end."""
        return self.moments[-1].ended is not None

    @property
    def actions(self) -> list[Any]:
        """What was done so far, one action per decision."""
        return [moment.action for moment in self.moments[1:]]

    def cut(self, index: int) -> None:
        """Forget what came after moment `index`."""
        if index + 1 < len(self.moments):
            del self.moments[index + 1 :]
            last = self.moments[-1]
            if last.ended is None:  # a policy that looks behind the observation must look again
                self._go_to_last()

    def set_texture(self, texture: int | None, index: int, shown: int) -> None:
        """Give the road that the policy's camera sees another texture, from moment `index` on.

        Moment `shown`, what is on the screen now, has its picture taken again; what was decided
        there stands.

        A policy that looks decides anew from there; whatever drives without looking (a baseline,
        a replay) does what it did.

        Args:
            texture: which of `cameras.road_textures`; None is the episode's own.
        """
        if self.camera is None:
            return
        if self._first_texture < 0:
            names, tiles = road_textures(self.camera)
            self._first_texture = self.camera.offer_roads(tiles, names)
        self._texture = texture
        if shown < index and self.moments[shown].state:
            self.envs.set_state(self.moments[shown].state)  # type: ignore[attr-defined]
            self._dressed(None, back=True)
            self.moments[shown] = dataclasses.replace(self.moments[shown], **self._seen())
            self._at = -1
        following = self.moments[index + 1 :]
        self.cut(index)
        last = self.moments[-1]
        self._go_to_last()
        observations = self._dressed(last.observations, back=True)
        looks = not (isinstance(self.policy, Baseline) or hasattr(self.policy, "start_episodes"))
        thought = last.thought
        if looks and thought is not None:
            thought = self._think(observations)
        self.moments[-1] = dataclasses.replace(
            last, observations=observations, thought=thought, state=self._state(), **self._seen()
        )
        if not looks:
            for moment in following:
                self.extend(moment.action, thought=moment.thought)

    def extend(self, action: Any = None, *, thought: Thought | None = None) -> Moment:
        """Drive one decision on from the last moment.

        Args:
            action: what to do instead of the policy's choice.
            thought: what the policy makes of what it meets there, where that is known already.
        """
        last = self.moments[-1]
        if last.ended is not None:
            raise DriveRLError("the episode has ended; start another one")
        self._go_to_last()
        if action is None:
            assert last.thought is not None
            action = last.thought.action
        with captured_frames(self.envs) as frames:
            actions = _batched(action, self.envs.single_action_space)
            observations, rewards, terminated, truncated, info = self.envs.step(actions)
        scene = self._scene()
        frames.append(scene)
        if len(frames) == 1 and "frames" in info:
            frames[:] = frames_of(np.asarray(info["frames"][0]), last.scene, scene)
        ended = _ending(bool(terminated[0]), bool(truncated[0]), info)
        observations = _copied(observations)
        reward = float(rewards[0])
        if thought is None and not ended:
            thought = self._think(observations)
        moment = Moment(
            index=last.index + 1,
            observations=observations,
            scene=scene,
            frames=tuple(frames),
            action=action,
            thought=thought,
            reward=reward,
            episode_return=last.episode_return + reward,
            terms=_terms(info),
            ended=ended,
            speed=_number(info, "speed"),
            state=self._state(),
            **self._seen(),
        )
        self.moments.append(moment)
        self._at = moment.index
        return moment

    def _go_to_last(self) -> None:
        last = self.moments[-1]
        if self._at == last.index:
            return
        if not last.state:
            raise DriveRLError("this environment cannot go back: it has no set_state")
        self.envs.set_state(last.state)  # type: ignore[attr-defined]
        self._at = last.index
        if self._texture is not None and getattr(self.envs, "engine", None) == "reference":
            self._dressed(None)  # it went there by driving, in the episode's own texture

    def _dressed(self, observations: Any, back: bool = False) -> Any:
        """The observations as they are with the chosen texture on the road.

        Args:
            back: whether the road may have another one than its own by now.
        """
        camera = self.camera
        if camera is None or (self._texture is None and not back):
            return observations
        chosen = self._texture
        redraw(self.envs, self._own_texture if chosen is None else self._first_texture + chosen)
        if not isinstance(observations, np.ndarray):
            return observations
        return self._frames() if self._perceive is None else self._perceive(self._frames())

    def _frames(self) -> npt.NDArray[np.uint8]:
        """What the environment's camera sees now, (1, channels, height, width)."""
        assert self.camera is not None
        stack = self.camera.observations[0, 0]
        frames: npt.NDArray[np.uint8] = stack.reshape(1, -1, *stack.shape[2:]).copy()
        return frames

    def _seen(self) -> dict[str, Any]:
        """The camera's part of a moment."""
        if self.camera is None:
            return {}
        return {
            "view": as_picture(self.camera.observations[0, 0, -1]),
            "texture": str(self.camera.road_names[self.camera.cameras[0].road]),
        }

    def _state(self) -> dict[str, npt.NDArray[Any]]:
        if not hasattr(self.envs, "get_state"):
            return {}
        state: dict[str, npt.NDArray[Any]] = self.envs.get_state()
        return state

    def _scene(self) -> SceneState:
        if hasattr(self.envs, "scene"):
            scene: SceneState = self.envs.scene(0)
            simulator = getattr(self.envs, "simulator", None)
            if simulator is not None and not len(scene.plan):
                plan = planned_lane(simulator, 0, scene.lanes)
                scene = dataclasses.replace(scene, plan=plan)
        else:
            scene = self.envs.envs[0].unwrapped.scene()  # type: ignore[attr-defined]
        return scene

    def _think(self, observations: Any) -> Thought:
        action = first(self.envs.single_action_space, self._driver.act(observations))
        probabilities = _ask(self.policy, "action_probabilities", observations)
        q_values = _ask(self.policy, "action_values", observations)
        value = _ask(self.policy, "value", observations)
        return Thought(
            action,
            None if probabilities is None else probabilities.reshape(-1),
            None if q_values is None else q_values.reshape(-1),
            None if value is None or not value.size else float(value.reshape(-1)[0]),
            self._saliency(observations, action),
        )

    def _saliency(self, observations: Any, action: Any) -> Saliency | None:
        if self.camera is None:
            return None
        frames = observations if self._perceive is None else self._frames()
        return saliency(self.policy, frames, action, self._perceive)


@contextmanager
def captured_frames(envs: Envs) -> Iterator[list[SceneState]]:
    """Collect the scenes between two decisions, where the engine passes through them in Python.

    highway-env calls `_automatic_rendering` after every simulation step but the last. Elsewhere
    the list stays empty.
    """
    frames: list[SceneState] = []
    inner = getattr(envs, "envs", None)
    scene_env = getattr(inner[0].unwrapped, "scene_env", None) if inner else None
    if scene_env is None or not hasattr(scene_env, "_automatic_rendering"):
        yield frames
        return

    def capture() -> None:
        frames.append(scene_from_highway_env(scene_env))

    scene_env._automatic_rendering = capture
    try:
        yield frames
    finally:
        del scene_env._automatic_rendering


def frames_of(
    bodies: npt.NDArray[np.float64], before: SceneState, scene: SceneState
) -> list[SceneState]:
    """Scenes of a decision's frames, from what an engine reports as `info["frames"]`.

    Args:
        bodies: of each frame, (frames, num_bodies, fields), see `evaluation.recording`.
        before: the scene that the decision began with.
        scene: at the end; its vehicles are found again among the bodies by their places.
    """
    x, y, heading, speed, crashed = (
        bodies[..., kinematics.FIELDS.index(name)]
        for name in ("x", "y", "heading", "speed", "crashed")
    )
    apart = np.hypot(
        scene.position[:, :1] - x[-1][None], scene.position[:, 1:] - y[-1][None]
    )  # (num_entries, num_bodies)
    rows = np.flatnonzero(apart.min(axis=1) < 1e-3)
    found = apart.argmin(axis=1)[rows]
    scenes = []
    for frame in range(len(bodies) - 1):
        place, turned = scene.position.copy(), scene.heading.copy()
        moving, broken = scene.speed.copy(), scene.crashed.copy()
        place[rows] = np.stack([x[frame, found], y[frame, found]], axis=1)
        turned[rows], moving[rows] = heading[frame, found], speed[frame, found]
        broken[rows] = crashed[frame, found] > 0.5
        scenes.append(
            dataclasses.replace(
                scene,
                time=before.time + (frame + 1) / len(bodies) * (scene.time - before.time),
                position=place,
                heading=turned,
                speed=moving,
                crashed=broken,
            )
        )
    return [*with_lights([before, *scenes, scene])[1:-1], scene]


def _ask(policy: Any, name: str, batch: Any) -> npt.NDArray[np.float64] | None:
    method: Callable[[Any], Any] | None = getattr(policy, name, None)
    answer = method(batch) if callable(method) else None
    if answer is None:
        return None
    if hasattr(answer, "detach"):  # a tensor of whatever device
        answer = answer.detach().cpu().numpy()
    return np.asarray(answer, dtype=np.float64)


def _batched(action: Any, space: gymnasium.Space[Any]) -> Any:
    """One action as a vector environment of one takes it."""
    if isinstance(space, gymnasium.spaces.Tuple):
        return tuple(_batched(a, s) for a, s in zip(action, space.spaces, strict=True))
    return np.asarray(action, dtype=space.dtype)[None]


def _copied(observations: Any) -> Any:
    """Observations of their own: engines write the next ones into the same arrays."""
    if isinstance(observations, dict):
        return {key: _copied(value) for key, value in observations.items()}
    if isinstance(observations, tuple):
        return tuple(_copied(value) for value in observations)
    return np.array(observations)


def _ending(terminated: bool, truncated: bool, info: dict[str, Any]) -> str | None:
    if terminated:
        if _number(info, "crashed"):
            return "crashed"
        if _number(info, "is_success"):
            return "goal reached"
        return "terminated" if _number(info, "on_road", 1.0) else "off the road"
    return "time limit" if truncated else None


def _terms(info: dict[str, Any]) -> dict[str, float]:
    terms = info.get("rewards")
    if not isinstance(terms, dict):
        return {}
    return {name: _number(terms, name) for name in terms if not name.startswith("_")}


def _number(info: dict[str, Any], name: str, otherwise: float = math.nan) -> float:
    """The first environment's entry of an info; the mean over its agents where there are several.

    An absent flag counts as false, an absent figure as `otherwise`.
    """
    if name not in info:
        return 0.0 if math.isnan(otherwise) else otherwise
    return float(np.mean(np.asarray(info[name][0], dtype=np.float64)))
