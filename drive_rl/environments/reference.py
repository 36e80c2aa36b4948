"""The reference engine: highway-env itself, behind drive-rl's Gymnasium face.

What this adds to highway-env, and why:
- one constructor for every scene (three of them take no configuration or render mode);
- spaces that stay the same objects over resets, so that a user's seeding of them is kept;
- `info["action"]` of a reset is the neutral action, where highway-env samples without a seed;
- what a scene writes onto the class IDMVehicle stays its own;
- the state can be saved and restored exactly: by the RNG at the episode's start and the actions
  since, replayed. That holds for any scene, a user's own included, and needs no pickle.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from drive_rl.catalogue import default_config, own_class_attributes, scene_class, scene_spec
from drive_rl.environments.reference_camera import ReferenceCamera, seeing
from drive_rl.environments.scene import SceneState, scene_from_highway_env
from drive_rl.environments.sight import has_camera, make_traffic, vary_traffic
from drive_rl.errors import UsageError
from drive_rl.presets import EnvironmentSpec

RENDER_MODES = ("human", "rgb_array")


class ReferenceEnv(gymnasium.Env[Any, Any]):
    """One highway-env scene.

    Args:
        spec: which scene and what differs from its defaults.
        render_mode: None, "human" or "rgb_array".
        reward_per_agent: give the rewards of intersection-multi-agent-v1 and -v2 as highway-env
            does, as a tuple with an entry per agent; False gives their mean, as -v0 does, which
            is what a vector environment can hold.

    Raises:
        UsageError: an unknown render mode, or a configuration that the scene does not take.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 15}

    def __init__(
        self,
        spec: EnvironmentSpec,
        render_mode: str | None = None,
        reward_per_agent: bool = True,
    ) -> None:
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise UsageError(f"render_mode {render_mode!r} is not one of {', '.join(RENDER_MODES)}")
        self.environment_spec = spec
        self.render_mode = render_mode
        self._class_attributes: dict[str, Any] = {}
        full_config = spec.full_config
        self._sight = ReferenceCamera(full_config) if has_camera(full_config) else None
        self._traffic = make_traffic(spec.base, full_config, 1)
        self._is_new = True
        with own_class_attributes(self._class_attributes):
            self.scene_env = _construct(spec, render_mode, self._sight)
            self._agents = self.scene_env
            if reward_per_agent:
                self._agents = _multi_agent_wrapper(spec.base, self.scene_env)
        self.observation_space = self.scene_env.observation_space
        self.action_space = self.scene_env.action_space
        self.metadata = {**self.metadata, "render_fps": self.scene_env.metadata["render_fps"]}
        self._actions: list[Any] = []
        self._episode_rng = rng_words(self.scene_env.np_random)
        self._max_episode_steps = spec.max_episode_steps

    @property
    def config(self) -> dict[str, Any]:
        """highway-env's whole configuration."""
        config: dict[str, Any] = self.scene_env.config
        return config

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; equal to highway-env's `reset(seed=seed)` but for `info["action"]`."""
        if options and "config" in options:
            raise UsageError("reset(options={'config': ...}) is not supported; make a new one")
        try:
            super().reset(seed=seed)
        except gymnasium.error.Error as error:
            raise UsageError(f"seed {seed!r} is not valid: {error}") from None
        self._episode_rng = rng_words(self.np_random)
        if seed is not None or self._is_new:
            for streams in self._streams():
                streams.seed(0, self._episode_rng[:4])
        self._is_new = False
        return self._start_episode()

    def _streams(self) -> list[Any]:
        """What has random streams of its own: the camera, and what varies in the traffic."""
        camera = None if self._sight is None else self._sight.camera
        return [each for each in (camera, self._traffic) if each is not None]

    def _start_episode(self) -> tuple[Any, dict[str, Any]]:
        self._actions = []
        if self._sight is not None and self._sight.camera is not None:
            self._sight.camera.begin(np.ones(1, np.bool_), 0, 1)
        if self._traffic is not None:
            vary_traffic(self.scene_env, self._class_attributes, self._traffic.begin(0))
        self.scene_env.np_random = self.np_random  # one generator, known by both names
        with own_class_attributes(self._class_attributes):
            observation, _ = self.scene_env.reset()
            if hasattr(self.scene_env, "trajectory"):
                self.scene_env.trajectory.clear()  # lane-keeping never empties its log
            action = neutral_action(self.action_space, self.config["action"])
            info = self.scene_env._info(observation, action)
        return observation, info | self._more_info()

    def step(self, action: Any) -> tuple[Any, Any, Any, bool, dict[str, Any]]:
        """One decision; equal to highway-env's `step`."""
        if isinstance(self.action_space, gymnasium.spaces.Tuple):
            action = tuple(action)
        self._actions.append(action)
        with own_class_attributes(self._class_attributes):
            observation, reward, terminated, truncated, info = self._agents.step(action)
        if "speed" not in info:  # lane-keeping's step gives no info at all
            vehicle = self.scene_env.vehicle
            info |= {"speed": vehicle.speed, "crashed": vehicle.crashed, "action": action}
        if self._max_episode_steps and len(self._actions) >= self._max_episode_steps:
            truncated = True
        if not isinstance(reward, tuple):
            reward = float(reward)
            terminated = bool(terminated)
        return observation, reward, terminated, bool(truncated), info | self._more_info()

    def _more_info(self) -> dict[str, Any]:
        vehicle = self.scene_env.vehicle
        more: dict[str, Any] = {
            "on_road": bool(vehicle.on_road),
            "lane_index": int(vehicle.lane_index[2]),
        }
        if self._streams():
            drawn = {k: v for streams in self._streams() for k, v in streams.drawn().items()}
            more["randomization"] = {name: values[0].item() for name, values in drawn.items()}
        return more

    def render(self) -> Any:
        """highway-env's own picture, uint8 (height, width, 3) for render_mode "rgb_array"."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() was called on an environment made without render_mode")
            return None
        return self.scene_env.render()

    def close(self) -> None:
        """Close the viewer, if there is one."""
        self.scene_env.close()

    def scene(self) -> SceneState:
        """What there is to see now."""
        return scene_from_highway_env(self.scene_env)

    def ask(self, question: Callable[..., Any], *args: Any) -> Any:
        """`question(scene, *args)` of highway-env's own environment, in whatever process it is."""
        with own_class_attributes(self._class_attributes):
            return question(self.scene_env, *args)

    def get_available_actions(self) -> list[int]:
        """Meta-actions that would have an effect now (highway-env's `get_available_actions`)."""
        return list(self.scene_env.get_available_actions())

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The exact state, as arrays without objects.

        Returns:
            `rng`: uint64 (6,), the generator at the start of the episode; `actions`: the actions
            since, (steps, ...), float32 or int64.
        """
        state = {"rng": self._episode_rng.copy(), "actions": _pack_actions(self._actions)}
        numbers = [streams.position(0) for streams in self._streams()]
        return state | {"streams": np.array(numbers, np.int64).reshape(-1, 2)}

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Go to a state of `get_state`, by replaying its episode."""
        self.np_random = rng_generator(state["rng"])
        self._episode_rng = np.asarray(state["rng"], dtype=np.uint64).copy()
        self._is_new = False
        for streams, (stream, episode) in zip(self._streams(), state["streams"], strict=True):
            streams.go_to(0, int(stream), int(episode) - 1)
        self._start_episode()
        for action in _unpack_actions(state["actions"], self.action_space):
            self.step(action)


class ReferenceGoalEnv(ReferenceEnv):
    """A scene with goals (parking), for hindsight experience replay."""

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """The reward for reaching `achieved_goal` where `desired_goal` was wanted."""
        return self.scene_env.compute_reward(achieved_goal, desired_goal, info)


def neutral_action(space: gymnasium.Space[Any], config: dict[str, Any]) -> Any:
    """The action that changes nothing: IDLE, zero throttle and steering, or the middle one."""
    if isinstance(space, gymnasium.spaces.Tuple):
        return tuple(neutral_action(each, config.get("action_config", {})) for each in space)
    if isinstance(space, gymnasium.spaces.Discrete):
        # IDLE stands at 1 in every set of meta-actions; DiscreteAction has it in the middle.
        return 1 if config.get("type") == "DiscreteMetaAction" else int(space.n) // 2
    return np.zeros(space.shape or (), dtype=space.dtype)


def _construct(
    spec: EnvironmentSpec, render_mode: str | None, sight: ReferenceCamera | None
) -> Any:
    """Build highway-env's environment; its constructor already resets it once."""
    cls = scene_class(spec.base)
    accepted = inspect.signature(cls).parameters
    config = {**default_config(spec.base), **spec.full_config}
    config["offscreen_rendering"] = render_mode != "human"
    config["observation"] = _with_tuples(config["observation"])
    config.pop("randomization", None)
    if sight is not None:
        config["observation"] = sight.placeholder()
        cls = seeing(cls, sight)
    try:
        if "config" in accepted and "render_mode" in accepted:
            return cls(config=config, render_mode=render_mode)
        env = cls()
        env.render_mode = render_mode
        env.configure(config)
        env.reset()
        return env
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{spec.id}: highway-env cannot build this configuration "
            f"({type(error).__name__}: {error})"
        ) from error


def _with_tuples(observation: Any) -> Any:
    """highway-env adds `observation_shape` to a tuple, and YAML and JSON know lists only."""
    if isinstance(observation, list):
        return [_with_tuples(each) for each in observation]
    if not isinstance(observation, dict):
        return observation
    return {
        key: tuple(value) if key == "observation_shape" else _with_tuples(value)
        for key, value in observation.items()
    }


def _multi_agent_wrapper(base: str, env: Any) -> Any:
    """The registered wrapper of the multi-agent scenes (rewards as tuples), or the scene itself."""
    for wrapper in scene_spec(base).additional_wrappers:
        if wrapper.name == "MultiAgentWrapper":
            from highway_env.envs.common.abstract import MultiAgentWrapper

            return MultiAgentWrapper(env)
    return env


def rng_words(generator: np.random.Generator) -> NDArray[np.uint64]:
    """A PCG64 generator as six words: state and increment (high, low), and the buffered half."""
    state = generator.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise UsageError(f"generator {state['bit_generator']!r} is not PCG64")
    low = (1 << 64) - 1
    numbers = (state["state"]["state"], state["state"]["inc"])
    words = [word for number in numbers for word in (number >> 64, number & low)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def rng_generator(words: NDArray[np.uint64]) -> np.random.Generator:
    """The generator that `rng_words` described."""
    numbers = [int(word) for word in words]
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": numbers[0] << 64 | numbers[1], "inc": numbers[2] << 64 | numbers[3]},
        "has_uint32": numbers[4],
        "uinteger": numbers[5],
    }
    return np.random.Generator(bits)


def _pack_actions(actions: list[Any]) -> NDArray[Any]:
    return np.array(actions) if actions else np.zeros((0,), dtype=np.int64)


def _unpack_actions(actions: NDArray[Any], space: gymnasium.Space[Any]) -> list[Any]:
    if isinstance(space, gymnasium.spaces.Discrete):
        return [int(action) for action in actions]
    if isinstance(space, gymnasium.spaces.Tuple):
        return [tuple(int(a) if np.ndim(a) == 0 else a for a in action) for action in actions]
    return list(actions)
