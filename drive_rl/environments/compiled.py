"""The compiled engine: highway-env's scenes in drive-rl's own simulator, behind Gymnasium's face.

`uncovered` says whether a configuration is simulated exactly; nothing else may decide that.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from drive_rl.catalogue import own_class_attributes, scene_class, scene_spec
from drive_rl.environments.observable import uncovered_observation
from drive_rl.environments.observing import Layout
from drive_rl.environments.rendering import Renderer, draw, fitting_view
from drive_rl.environments.scene import Kind, LaneShape, SceneState, lanes_from_highway_env
from drive_rl.environments.sight import (
    batched_camera_space,
    make_camera,
    make_grayscale,
    make_traffic,
)
from drive_rl.errors import UsageError
from drive_rl.presets import EnvironmentSpec
from drive_rl.simulator import state as st
from drive_rl.simulator.engine import Simulator
from drive_rl.simulator.results import Info
from drive_rl.simulator.scenes import SCENES, scene_of
from drive_rl.simulator.settings import TRAFFIC

State = dict[str, NDArray[Any]]

# Scenes whose single environment gives a reward and an end per agent (MultiAgentWrapper)
PER_AGENT = ("intersection-multi-agent-v1", "intersection-multi-agent-v2")


def uncovered(env_id: str, config: Mapping[str, Any]) -> str | None:
    """Why the compiled engine does not simulate a configuration exactly; None if it does.

    Args:
        env_id: highway-env's id.
        config: the full configuration.
    """
    if env_id not in SCENES:
        return f"scene {env_id} is not covered"
    action = config["action"]
    own = action.get("action_config", action)
    is_multi_agent = action["type"] == "MultiAgentAction"
    agents = config.get("controlled_vehicles", 1)
    if own["type"] == "MultiAgentAction":
        return "MultiAgentAction within MultiAgentAction is not covered"
    if agents < 1 or (agents > 1 and not is_multi_agent):
        return f"controlled_vehicles {agents} with action {action['type']} is not covered"
    if config["observation"]["type"] == "MultiAgentObservation" and not is_multi_agent:
        return f"MultiAgentObservation with action {action['type']} is not covered"
    if config["other_vehicles_type"] not in TRAFFIC:
        return f"other_vehicles_type {config['other_vehicles_type']} is not covered"
    if config["simulation_frequency"] // config["policy_frequency"] < 1:
        return "policy_frequency above simulation_frequency is not covered"
    if config.get("manual_control"):
        return "manual_control is not covered"
    reason = _uncovered_action(own) or uncovered_observation(env_id, config)
    if reason is None:
        scene = scene_of(env_id)
        if hasattr(scene, "uncovered"):
            reason = scene.uncovered(env_id, config)
    return reason


def _uncovered_action(action: Mapping[str, Any]) -> str | None:
    """An action configuration whose effect is not reproduced exactly."""
    name = action["type"]
    if name == "DiscreteMetaAction":
        speeds = action.get("target_speeds")
        if speeds is not None and (len(speeds) < 2 or speeds[0] == speeds[-1]):
            return "DiscreteMetaAction with fewer than two target_speeds is not covered"
        return None
    if name not in ("ContinuousAction", "DiscreteAction"):
        return f"action {name} is not covered"
    for key in ("acceleration_range", "steering_range"):
        if any(isinstance(value, np.generic) for value in action.get(key) or ()):
            return f"{key} of numpy numbers is not covered"
    if name == "DiscreteAction" and action.get("actions_per_axis", 3) < 2:
        return "DiscreteAction with one action per axis is not covered"
    return None


def road_network(env_id: str, config: Mapping[str, Any]) -> Any:
    """The scene's RoadNetwork, built by highway-env for this configuration."""
    cls: Any = scene_class(env_id)
    with own_class_attributes({}):
        env = cls.__new__(cls)
        env.config = deepcopy(dict(config))
        make = getattr(env, "_make_road", None) or env._create_road
        make()
        return env.road.network


def action_space(config: Mapping[str, Any], agents: int) -> spaces.Space[Any]:
    """One environment's action space, as highway-env gives it."""
    action = config["action"]
    own = action.get("action_config", action)
    longitudinal, lateral = own.get("longitudinal", True), own.get("lateral", True)
    size = 2 if longitudinal and lateral else 1

    def make() -> spaces.Space[Any]:
        if own["type"] == "DiscreteMetaAction":
            return spaces.Discrete(5 if size == 2 else 3)
        if own["type"] == "DiscreteAction":
            return spaces.Discrete(own.get("actions_per_axis", 3) ** size)
        return spaces.Box(-1.0, 1.0, shape=(size,), dtype=np.float32)

    if action["type"] == "MultiAgentAction":
        return spaces.Tuple([make() for _ in range(agents)])
    return make()


class _Compiled:
    """What the single and the vector environment share: a simulator and how it shows itself."""

    def __init__(
        self, env_id: str, num_envs: int, config: Mapping[str, Any], num_threads: int | None
    ) -> None:
        reason = uncovered(env_id, config)
        if reason is not None:
            raise UsageError(f"engine 'compiled' does not cover {env_id}: {reason}")
        self.env_id = env_id
        self.config = dict(config)
        network = road_network(env_id, config)
        self.camera = make_camera(config, network, num_envs)
        self.traffic = make_traffic(env_id, config, num_envs)
        self.pictures = self.camera or make_grayscale(env_id, config, network, num_envs)
        self.simulator = Simulator(
            env_id,
            config,
            network,
            num_envs,
            num_threads,
            scene_spec(env_id).max_episode_steps or 0,
            self.pictures,
            self.traffic,
        )
        self.layout = Layout(self.simulator, config["observation"])
        self.action_space = action_space(config, self.simulator.capacity.agents)
        self.reward_types = self.simulator.scene.REWARDS
        self.agent_types = getattr(self.simulator.scene, "AGENT_INFO", ())
        self.lanes: tuple[LaneShape, ...] = lanes_from_highway_env(network)

    def drawn(self) -> dict[str, Any]:
        """What varies, and what was drawn for the present episodes: arrays (num_envs,)."""
        streams = (self.camera, self.traffic)
        return {k: v for each in streams if each is not None for k, v in each.drawn().items()}

    @property
    def varies(self) -> bool:
        """Is there a camera, or does the traffic vary?"""
        return self.camera is not None or self.traffic is not None

    def actions(self, actions: Any) -> Any:
        """A batch of actions of the space as numbers, (num_envs, num_agents, action_size)."""
        if isinstance(self.action_space, spaces.Tuple):
            columns = [np.asarray(column, dtype=np.float64) for column in actions]
            actions = np.stack([c.reshape(len(c), -1) for c in columns], axis=1)
        simulator = self.simulator
        shape = (simulator.num_envs, simulator.capacity.agents, simulator.action_size)
        try:
            numbers = np.asarray(actions, dtype=np.float64).reshape(shape)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"actions do not fit {simulator.num_envs} environments: {error}"
            ) from None
        return numbers

    def neutral(self, rows: int) -> Any:
        """The neutral action of `rows` environments, as the batched space has it."""
        value = self.simulator._neutral.flat[0]

        def fill(space: Any) -> Any:
            return np.full((rows, *space.shape), value, space.dtype)

        if isinstance(self.action_space, spaces.Tuple):
            return tuple(fill(space) for space in self.action_space)
        return fill(self.action_space)

    def scene(self, env: int) -> SceneState:
        """What there is to see in one environment."""
        simulator = self.simulator
        vehicles, objects = simulator.vehicles(env), simulator.objects(env)
        rows = {name: np.concatenate([vehicles[name], objects[name]]) for name in vehicles}
        count = len(vehicles["x"])
        kind = np.where(rows["is_agent"], Kind.EGO, Kind.TRAFFIC).astype(np.int64)
        kind[rows["kind"] == st.OBSTACLE] = Kind.OBSTACLE
        kind[rows["kind"] == st.LANDMARK] = Kind.GOAL
        lanes = np.asarray(simulator.roads.network.lanes)
        here, there = lanes[rows["lane"]], lanes[rows["target_lane"]]
        change = np.where(here["edge"] == there["edge"], np.sign(there["id"] - here["id"]), 0)
        change[count:] = 0
        controlled = (rows["kind"] >= st.CONTROLLED) & (rows["kind"] <= st.DEFENSIVE)
        return SceneState(
            time=float(simulator.state.environments[env].time),
            lanes=self.lanes,
            position=np.stack([rows["x"], rows["y"]], axis=1),
            heading=rows["heading"],
            speed=rows["speed"],
            length=rows["length"],
            width=rows["width"],
            crashed=rows["crashed"],
            kind=kind,
            acceleration=rows["acceleration"],
            steering=rows["steering"],
            lane_change=np.where(controlled, change, 0).astype(np.int64),
            ego=int(simulator.state.agents[env, 0]),
        )

    def picture(self, env: int) -> NDArray[np.uint8]:
        """A picture of one environment, uint8 (height, width, 3)."""
        size = (int(self.config["screen_width"]), int(self.config["screen_height"]))
        view = fitting_view(self.config, size)
        return draw(self.scene(env), size, view=view, renderer=self._renderer)

    @functools.cached_property
    def _renderer(self) -> Renderer:
        return Renderer()


class CompiledEnv(gymnasium.Env[Any, Any]):
    """One environment of the compiled engine.

    Args:
        env_id: highway-env's id.
        config: the full configuration of highway-env.
        render_mode: None or "rgb_array".

    Raises:
        UsageError: the configuration is not covered.
    """

    engine = "compiled"
    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 15}

    def __init__(
        self, env_id: str, config: Mapping[str, Any], render_mode: str | None = None
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise UsageError(f"render_mode {render_mode!r} is not one of human, rgb_array")
        self._compiled = _Compiled(env_id, 1, config, 1)
        self.config = self._compiled.config
        self.simulator = self._compiled.simulator
        self.render_mode = render_mode
        self.observation_space = self._compiled.layout.space
        self.action_space = self._compiled.action_space
        self.metadata = {**self.metadata, "render_fps": 2 * config["policy_frequency"]}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; equal to highway-env's `reset` but for `info["action"]` (neutral)."""
        if options and "config" in options:
            raise UsageError("reset(options={'config': ...}) is not supported; make a new one")
        if seed is not None:
            try:
                super().reset(seed=seed)
            except gymnasium.error.Error as error:
                raise UsageError(f"seed {seed!r} is not valid: {error}") from None
            self.simulator.seed([seed])
        result = self.simulator.reset()
        action = self._compiled.neutral(1)
        action = (
            tuple(_plain(each[0]) for each in action)
            if isinstance(action, tuple)
            else _plain(action[0])
        )
        info = self._info(result.first_info, action)
        return self._compiled.layout.single(result.observations[0]), info

    def step(self, action: Any) -> tuple[Any, Any, Any, bool, dict[str, Any]]:
        """One decision; equal to highway-env's `step`."""
        batch = [[a] for a in action] if isinstance(self.action_space, spaces.Tuple) else [action]
        r = self.simulator.step(self._compiled.actions(batch), autoreset=False)
        info = self._info(r.info, action)
        reward: Any = float(r.rewards[0])
        terminated: Any = bool(r.terminated[0])
        if self._compiled.env_id.startswith("exit-"):
            info["is_success"] = info["rewards"]["goal_reward"]
        if self._compiled.env_id in PER_AGENT:
            reward, terminated = info["agents_rewards"], info["agents_terminated"]
        observation = self._compiled.layout.single(r.observations[0])
        return observation, reward, terminated, bool(r.truncated[0]), info

    def _info(self, info: Info, action: Any) -> dict[str, Any]:
        found: dict[str, Any] = {
            "speed": float(info.speed[0]),
            "crashed": bool(info.crashed[0]),
            "action": action,
        }
        if self._compiled.reward_types:
            found["rewards"] = {
                name: kind(value)
                for (name, kind), value in zip(
                    self._compiled.reward_types, info.rewards[0], strict=True
                )
            }
        for column, (name, kind) in enumerate(self._compiled.agent_types):
            values = tuple(kind(value) for value in info.agents[0, :, column])
            single = name == "is_success" and not self._compiled.layout.is_multi_agent
            found[name] = values[0] if single else values
        if self._compiled.varies:
            drawn = self._compiled.drawn()
            found["randomization"] = {name: values[0].item() for name, values in drawn.items()}
        found["on_road"] = bool(info.on_road[0])
        found["lane_index"] = int(info.lane_index[0])
        return found

    def render(self) -> Any:
        """A picture, uint8 (height, width, 3)."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() was called on an environment made without render_mode")
            return None
        return self._compiled.picture(0)

    def scene(self) -> SceneState:
        """What there is to see now."""
        return self._compiled.scene(0)

    def get_state(self) -> State:
        """The exact state, as arrays without objects."""
        return self.simulator.get_state()

    def set_state(self, state: State) -> None:
        """Go to a state of `get_state`; the next step continues exactly from there."""
        self.simulator.set_state(state)

    def close(self) -> None:
        """Let go of the simulator's threads."""
        self.simulator.close()


class CompiledVectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """Many environments of the compiled engine, stepped together.

    Args:
        env_id: highway-env's id.
        num_envs: how many.
        config: the full configuration of highway-env.
        num_threads: None for one per usable processor.
        autoreset_mode: as in Gymnasium.
        render_mode: None or "rgb_array".

    Raises:
        UsageError: the configuration is not covered.
    """

    engine = "compiled"
    spec_env: EnvironmentSpec

    def __init__(
        self,
        env_id: str,
        num_envs: int,
        config: Mapping[str, Any],
        num_threads: int | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
    ) -> None:
        self._compiled = _Compiled(env_id, num_envs, config, num_threads)
        self.config = self._compiled.config
        self.simulator = self._compiled.simulator
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.single_observation_space = self._compiled.layout.space
        self.single_action_space = self._compiled.action_space
        pictures = self._compiled.pictures
        if pictures is not None and not self._compiled.layout.is_multi_agent:
            self.observation_space = batched_camera_space(pictures, num_envs)
        else:
            self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": 2 * config["policy_frequency"],
            "autoreset_mode": self.autoreset_mode,
        }
        self._ended = np.zeros(num_envs, np.bool_)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every environment, or in those of `options["reset_mask"]`.

        A whole number seeds environment i with `seed + i`.
        """
        n = self.num_envs
        if seed is None:
            seeds: list[int | None] = [None] * n
        elif isinstance(seed, (int, np.integer)):
            seeds = [int(seed) + i for i in range(n)]
        else:
            seeds = list(seed)
        if len(seeds) != n:
            raise UsageError(f"{len(seeds)} seeds do not fit {n} environments")
        for value in seeds:
            if value is not None and value < 0:
                raise UsageError(f"seed {value!r} is not a whole number of at least 0")
        mask = _reset_mask(options, n)
        rows = np.flatnonzero(mask).tolist()
        self.simulator.seed([seeds[i] for i in rows], rows)
        r = self.simulator.reset(mask)
        self._ended[mask] = False
        infos: dict[str, Any] = {}
        self._add(infos, r.first_info, self._compiled.neutral(n), mask, self._compiled.drawn())
        return self._compiled.layout.batch(r.observations), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One decision of every environment."""
        numbers = self._compiled.actions(actions)
        everywhere = np.ones(self.num_envs, np.bool_)
        infos: dict[str, Any] = {}
        drawn = self._compiled.drawn()  # for the episodes that now end
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            r = self.simulator.step(numbers)
            over, going = r.done.copy(), ~r.done
            if over.any():
                self._add_final(infos, over, actions, drawn)
                neutral = self._compiled.neutral(self.num_envs)
                self._add(infos, r.first_info, neutral, over, self._compiled.drawn())
            self._add(infos, r.info, actions, going, drawn, step=True)
        elif self.autoreset_mode == AutoresetMode.NEXT_STEP and self._ended.any():
            waiting = self._ended.copy()
            rows = np.flatnonzero(waiting)
            before = self.simulator.get_state(rows)
            r = self.simulator.step(numbers, autoreset=False)
            self.simulator.set_state(before, rows)
            self.simulator.reset(waiting)
            r.rewards[waiting] = 0.0
            r.terminated[waiting] = r.truncated[waiting] = r.done[waiting] = False
            neutral = self._compiled.neutral(self.num_envs)
            self._add(infos, r.first_info, neutral, waiting, self._compiled.drawn())
            self._add(infos, r.info, actions, ~waiting, drawn, step=True)
        else:
            if self._ended.any():
                raise UsageError(
                    "an episode is over: with autoreset disabled, call "
                    "reset(options={'reset_mask': ...}) before the next step"
                )
            r = self.simulator.step(numbers, autoreset=False)
            self._add(infos, r.info, actions, everywhere, drawn, step=True)
        if self.simulator.trace.shape[0]:
            infos["frames"], infos["_frames"] = self.simulator.trace.copy(), everywhere
        self._ended = r.done.copy()
        observations = self._compiled.layout.batch(r.observations)
        return observations, r.rewards.copy(), r.terminated.copy(), r.truncated.copy(), infos

    def record_frames(self, wanted: bool = True) -> None:
        """Give every frame of a decision as `info["frames"]`, (num_envs, frames, bodies, fields).

        Fields and roles of bodies are those of `simulator.tracing`.
        """
        self.simulator.record_frames(wanted)

    def _add(
        self,
        infos: dict[str, Any],
        info: Info,
        actions: Any,
        mask: Any,
        drawn: Mapping[str, Any],
        step: bool = False,
    ) -> None:
        """Write the rows of a mask in Gymnasium's layout: an array and a mask per key."""
        rows = np.flatnonzero(mask)
        if not len(rows):
            return

        def put(target: dict[str, Any], name: str, values: Any) -> None:
            if name not in target:
                target[name] = np.zeros(values.shape, values.dtype)
                target[f"_{name}"] = np.zeros(self.num_envs, np.bool_)
            target[name][rows] = values[rows]
            target[f"_{name}"][rows] = True

        put(infos, "speed", info.speed)
        put(infos, "crashed", info.crashed)
        put(infos, "action", _batched_actions(self.single_action_space, actions, self.num_envs))
        if self._compiled.reward_types:
            inner = infos.setdefault("rewards", {})
            for column, (name, kind) in enumerate(self._compiled.reward_types):
                put(inner, name, info.rewards[:, column].astype(kind))
            infos.setdefault("_rewards", np.zeros(self.num_envs, np.bool_))[rows] = True
        for column, (name, kind) in enumerate(self._compiled.agent_types):
            values = info.agents[:, :, column].astype(kind)
            if name == "is_success" and not self._compiled.layout.is_multi_agent:
                values = values[:, 0]
            put(infos, name, values)
        if step and self._compiled.env_id.startswith("exit-"):
            names = [name for name, _ in self._compiled.reward_types]
            goal = info.rewards[:, names.index("goal_reward")].astype(bool)
            put(infos, "is_success", goal)
        if self._compiled.varies:
            inner = infos.setdefault("randomization", {})
            for name, values in drawn.items():
                put(inner, name, values)
            infos.setdefault("_randomization", np.zeros(self.num_envs, np.bool_))[rows] = True
        put(infos, "on_road", info.on_road)
        put(infos, "lane_index", info.lane_index)

    def _add_final(
        self, infos: dict[str, Any], over: Any, actions: Any, drawn: Mapping[str, Any]
    ) -> None:
        r = self.simulator.result
        final = np.full(self.num_envs, None, dtype=object)
        for env in np.flatnonzero(over):
            final[env] = self._compiled.layout.single(r.final_observations[env])
        final_info: dict[str, Any] = {}
        self._add(final_info, r.info, actions, over, drawn, step=True)
        infos["final_obs"], infos["_final_obs"] = final, over.copy()
        infos["final_info"], infos["_final_info"] = final_info, over.copy()

    def render(self) -> Any:
        """A picture of every environment."""
        return tuple(self._compiled.picture(env) for env in range(self.num_envs))

    def scene(self, env: int) -> SceneState:
        """What there is to see in one environment."""
        return self._compiled.scene(env)

    def get_state(self) -> State:
        """The exact state of all environments, as arrays without objects."""
        return {"ended": self._ended.copy(), **self.simulator.get_state()}

    def set_state(self, state: State) -> None:
        """Go to a state of `get_state`; the next step continues exactly from there."""
        self._ended = np.array(state["ended"], dtype=np.bool_)
        self.simulator.set_state(state)

    def close_extras(self, **kwargs: Any) -> None:
        """Let go of the simulator's threads."""
        self.simulator.close()


def _plain(value: Any) -> Any:
    """A whole number as int; an array as it is."""
    return int(value) if np.ndim(value) == 0 else value


def _batched_actions(space: spaces.Space[Any], actions: Any, num_envs: int) -> Any:
    """Actions as Gymnasium stacks them in an info; of several agents, an array of tuples."""
    if not isinstance(space, spaces.Tuple):
        array = np.asarray(actions)
        return array.astype(space.dtype) if array.dtype != space.dtype else array
    rows = np.empty(num_envs, dtype=object)
    for env in range(num_envs):
        rows[env] = tuple(_plain(np.asarray(column)[env]) for column in actions)
    return rows


def _reset_mask(options: dict[str, Any] | None, num_envs: int) -> Any:
    if options and "config" in options:
        raise UsageError("reset(options={'config': ...}) is not supported; make a new one")
    if not options or "reset_mask" not in options:
        return np.ones(num_envs, np.bool_)
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,):
        raise UsageError(f"reset_mask must be a numpy array of {num_envs} booleans")
    if not mask.any():
        raise UsageError("reset_mask must contain at least one True")
    return mask
