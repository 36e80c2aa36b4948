"""envs/*.yaml and agents/*.yaml become frozen, validated specs.

An environment's preset says which highway-env scene it is based on and what differs from that
scene's defaults. An agent's preset gives an algorithm, a network and hyperparameters: a default
and what differs per environment. A RunSpec is both, resolved, with seed and device: all that a
run needs, and what stands in its run.yaml.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from drive_rl.catalogue import check_config, merged_config, scene_ids, scene_spec
from drive_rl.data import data_folder
from drive_rl.errors import UsageError, unknown
from drive_rl.specs import (
    Count,
    Fraction,
    NotNegative,
    Positive,
    Spec,
    WholeNumber,
    parse_settings,
    read_yaml,
    set_value,
    validated,
)


class Schedule(Spec):
    """A value that changes from `start` to `end` over the training, as a function of progress.

    Attributes:
        until: share of the training after which it stays at `end`.
    """

    start: NotNegative
    end: NotNegative = 0.0
    kind: Literal["linear", "cosine"] = "linear"
    until: Annotated[Fraction, Field(gt=0)] = 1.0


class FractionSchedule(Schedule):
    """A Schedule between fractions, such as discount factors."""

    start: Fraction
    end: Fraction = 0.0


class EnvironmentSpec(Spec):
    """A scene and what differs from highway-env's defaults.

    Attributes:
        id: the name it was asked for by, such as "highway-v0".
        base: a highway-env id, or a user's own `module:Name-v0`.
        config: highway-env configuration keys that differ from the scene's defaults.
        max_episode_steps: decisions after which an episode is truncated, beyond what the scene
            does itself; None leaves highway-env's own registration.
        description: one line for `drive-rl envs`.
    """

    id: str
    base: str
    config: dict[str, Any] = {}
    max_episode_steps: Count | None = None
    description: str = ""

    @property
    def full_config(self) -> dict[str, Any]:
        """highway-env's whole configuration dictionary of this environment."""
        return merged_config(self.base, self.config)


class NetworkSpec(Spec):
    """The network of a policy.

    Attributes:
        kind: `mlp` on flattened observations; on images `cnn` (NatureCNN), `impala`, `resnet`, or
            `encoder`, which begins with a trained one; `attention`: vehicles as a set, encoded
            each with the ego and read by an ego query (needs Kinematics).
        hidden: widths of the fully connected layers.
        features: width of the vehicle encoding (attention) or of the image features.
        heads: attention heads.
        closing: whether attention also reads how fast each vehicle closes in. The observation's
            features then begin with presence, x, y, vx, vy, of one range each for x, y and vx, vy.
        layers: in which vehicles attend to one another (attention), before the ego reads them.
        precision: on images: `mixed` computes in bfloat16 and keeps weights in float32, `full` has
            float32 throughout, and `auto` is mixed on CUDA and full elsewhere.
        encoder: the weights that an `encoder` begins with: a shipped one, a file or a run.
    """

    kind: Literal["auto", "mlp", "cnn", "impala", "resnet", "encoder", "attention"] = "auto"
    hidden: list[Count] = [256, 256]
    features: Count = 64
    heads: Count = 2
    closing: bool = False
    layers: Annotated[int, Field(ge=0)] = 0
    precision: Literal["auto", "full", "mixed"] = "auto"
    encoder: str | None = None


class Lesson(Spec):
    """A part of the training in a scene that is easier, or that shows what the real one hides.

    Attributes:
        until: share of the training after which it is over.
        config: highway-env configuration on top of the environment's, such as less traffic.
    """

    until: Annotated[Fraction, Field(gt=0, lt=1)]
    config: dict[str, Any]


class _CommonAgentSpec(Spec):
    """What PPO and DQN share.

    Attributes:
        steps: environment steps (decisions) to train for, over all environments together.
        gamma: discount factor. A short horizon at first makes learning what follows at once from
            an action easy; one that is long from the beginning teaches caution before driving.
        num_envs: environments stepped together.
        observation: taken where the environment's configuration names none; None keeps the scene's.
        start: a shipped policy, a run or a checkpoint whose weights training begins with, as the
            last lesson of a curriculum does; `<env>/<agent>` that does not ship is trained first;
            None begins with nothing.
        curriculum: lessons before the environment itself, one after the other; none as a rule. A
            teacher teaches in the first.
        bootstrap_truncated: whether what would have come after the time limit counts, as the
            network values it. False where an episode is so short that its end is part of the task:
            otherwise a policy saves itself for a time that its return does not measure.
        checkpoint_interval: environment steps between checkpoints.
        evaluation_episodes: episodes of the evaluation at the end.
    """

    steps: Count
    num_envs: Count
    learning_rate: Positive | Schedule
    gamma: Fraction | FractionSchedule
    batch_size: Count
    weight_decay: NotNegative = 0.01
    max_grad_norm: Positive
    network: NetworkSpec = NetworkSpec()
    observation: dict[str, Any] | None = None
    start: str | None = None
    curriculum: list[Lesson] = []
    bootstrap_truncated: bool = True
    checkpoint_interval: Count
    evaluation_episodes: Count = 100


class ImitationSpec(Spec):
    """How long, and how closely, a learner follows its teacher before it goes on alone.

    Attributes:
        num_envs: environments in which lessons are given.
        rounds: of driving and then learning from all rounds so far; the teacher drives the first.
        decisions: of each environment and round; the teacher says what it thinks of each.
        temperature: difference of values [reward] by which the teacher's preference is e times.
        width: drives that the teacher keeps while it searches; fewer are quicker, and mostly as
            good. None: as many as the planner that is scored.
        width_each: of these, at least, for every first action. With few, an action that needs an
            odd sequel is valued too low, and the learner told to avoid what was good.
        epochs, batch_size: of the learning in each round.
        learning_rate: at the beginning of each round; it falls to nothing at the round's end.
    """

    num_envs: Count = 32
    rounds: Count = 6
    decisions: Count = 60
    temperature: Positive = 0.1
    width: Count | None = None
    width_each: Count | None = None
    epochs: Count = 6
    batch_size: Count = 256
    learning_rate: Positive = 1e-3


class PPOSpec(_CommonAgentSpec):
    """Proximal policy optimisation (Schulman et al. 2017), as Stable-Baselines3 implements it.

    Attributes:
        n_steps: steps per environment and rollout.
        ent_coef: weight of the entropy bonus.
        teacher: whose action values are imitated before PPO begins; None for nobody's.
        imitation: how they are.
    """

    algo: Literal["ppo"] = "ppo"
    n_steps: Count
    n_epochs: Count
    gae_lambda: Fraction = 0.95
    clip_range: Positive | Schedule = 0.2
    ent_coef: NotNegative | Schedule = 0.0
    vf_coef: NotNegative = 0.5
    max_grad_norm: Positive = 0.5
    target_kl: Positive | None = None
    normalize_advantage: bool = True
    teacher: Literal["planner"] | None = None
    imitation: ImitationSpec = ImitationSpec()


class DQNSpec(_CommonAgentSpec):
    """Deep Q-network (Mnih et al. 2015), as Stable-Baselines3 implements it.

    Attributes:
        train_freq: steps of each environment between updates.
        gradient_steps: gradient steps per update.
        target_update_interval: environment steps between copies to the target network.
    """

    algo: Literal["dqn"] = "dqn"
    buffer_size: Count
    learning_starts: WholeNumber
    tau: Fraction = 1.0
    train_freq: Count
    gradient_steps: Count
    target_update_interval: Count
    exploration_fraction: Fraction = 0.3
    exploration_initial_eps: Fraction = 1.0
    exploration_final_eps: Fraction = 0.05
    max_grad_norm: Positive = 10.0


AgentSpec = Annotated[PPOSpec | DQNSpec, Field(discriminator="algo")]
_AGENT_SPECS: dict[str, type[PPOSpec] | type[DQNSpec]] = {"ppo": PPOSpec, "dqn": DQNSpec}

_AGENT_KEYS = ("algo", "base", "description", "default", "environments")

Engine = Literal["auto", "compiled", "reference"]


class RunSpec(Spec):
    """All that a training run needs; what stands in its run.yaml."""

    env: EnvironmentSpec
    agent: AgentSpec
    seed: WholeNumber = 0
    device: str = "auto"
    engine: Engine = "auto"
    num_threads: Count | None = None


# --- environments -----------------------------------------------------------------------------


def environment_names() -> list[str]:
    """Names that `load_environment` takes: highway-env's ids and the presets of envs/."""
    presets = {path.stem for path in data_folder("envs").glob("*.yaml")}
    return sorted(presets | set(scene_ids()))


def load_environment(
    name: str | EnvironmentSpec, config: Mapping[str, Any] | None = None
) -> EnvironmentSpec:
    """The spec of an environment by name, with a user's configuration on top.

    Args:
        name: a preset of envs/, a highway-env id, a path to a YAML file, or `module:Name-v0`.
        config: highway-env configuration; replaces keys as highway-env's `configure` does.

    Raises:
        UsageError: unknown name or key (the nearest is named), a file that does not parse.
    """
    if isinstance(name, EnvironmentSpec):
        spec = name
    else:
        spec = _named_environment(str(name))
    if config:
        changed = check_config(spec.base, config)
        spec = spec.model_copy(update={"config": {**spec.config, **changed}})
    return spec


def _named_environment(name: str) -> EnvironmentSpec:
    preset = data_folder("envs") / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        return _environment_from_file(Path(name), Path(name).stem)
    if "/" not in name and "\\" not in name and preset.is_file():
        return _environment_from_file(preset, name)
    if ":" in name:
        scene_spec(name)
        return EnvironmentSpec(id=name, base=name)
    if name in scene_ids():
        return EnvironmentSpec(id=name, base=name)
    raise unknown("environment", name, environment_names())


def _environment_from_file(path: Path, name: str) -> EnvironmentSpec:
    content = read_yaml(path)
    for key in content:
        if key not in ("base", "config", "max_episode_steps", "description"):
            known = ["base", "config", "max_episode_steps", "description"]
            raise UsageError(f"{path}: {unknown('key', str(key), known)}")
    base = content.get("base", name)
    try:
        scene_spec(base)
        config = check_config(base, content.get("config") or {})
        return validated(EnvironmentSpec, content | {"id": name, "base": base, "config": config})
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


# --- agents -----------------------------------------------------------------------------------


def agent_names() -> list[str]:
    """The agents of agents/."""
    return sorted(path.stem for path in data_folder("agents").glob("*.yaml"))


def agent_settings(algo: str, env_id: str) -> dict[str, Any]:
    """An agent's settings for an environment: its default with what differs on top.

    Args:
        algo: a preset of agents/ or a path to a YAML file of the same form.
        env_id: environment name; patterns such as `racetrack-*` in the file are matched to it.

    Raises:
        UsageError: unknown agent, or a file that does not parse.
    """
    if algo.endswith((".yaml", ".yml")):
        path = Path(algo)
    elif algo in agent_names():
        path = data_folder("agents") / f"{algo}.yaml"
    else:
        raise unknown("algorithm", algo, agent_names())
    content = read_yaml(path)
    for key in content:
        if key not in _AGENT_KEYS:
            raise UsageError(f"{path}: {unknown('key', str(key), _AGENT_KEYS)}")
    settings: dict[str, Any]
    if (base := content.get("base")) is not None:
        # One step and no further, so that a reader has at most two files to look at.
        if base not in _AGENT_SPECS:
            raise UsageError(f"{path}: {unknown('base', str(base), _AGENT_SPECS)}")
        settings = agent_settings(base, env_id)
    elif content.get("algo") not in _AGENT_SPECS:
        raise UsageError(f"{path}: {unknown('algo', str(content.get('algo')), _AGENT_SPECS)}")
    else:
        settings = {"algo": content["algo"]}
    settings = _deep_merge(settings, content.get("default") or {})
    for pattern, changes in (content.get("environments") or {}).items():
        if fnmatch.fnmatchcase(env_id, pattern):
            settings = _deep_merge(settings, changes or {})
    return settings


def load_agent(algo: str, env_id: str) -> PPOSpec | DQNSpec:
    """The spec of an agent for an environment; raises as `agent_settings`."""
    settings = agent_settings(algo, env_id)
    return validated(_AGENT_SPECS[settings["algo"]], settings, "agent")


# --- runs -------------------------------------------------------------------------------------


def resolve_run(
    env: str | EnvironmentSpec,
    algo: str,
    *,
    steps: int | None = None,
    seed: int = 0,
    num_envs: int | None = None,
    device: str = "auto",
    engine: str = "auto",
    num_threads: int | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
) -> RunSpec:
    """Everything about a run, resolved from presets and what the user changed.

    Args:
        env: as `load_environment` takes it.
        algo: as `agent_settings` takes it.
        overrides: `"agent.learning_rate=3e-4"`, `"env.config.lanes_count=2"`, as texts or mapping.

    Raises:
        UsageError: an unknown name or key, or a value out of range.
    """
    environment = load_environment(env)
    tree: dict[str, Any] = {
        "env": environment.model_dump(),
        "agent": agent_settings(algo, environment.id),
        "seed": seed,
        "device": device,
        "engine": engine,
        "num_threads": num_threads,
    }
    if steps is not None:
        tree["agent"]["steps"] = steps
    if num_envs is not None:
        tree["agent"]["num_envs"] = num_envs
    changes = parse_settings(overrides)
    for key, value in changes.items():
        if not key.startswith("env."):
            _apply_override(tree, key, value)
    _validate_agent_tree(tree["agent"])
    _choose_observation(tree, changes)
    for key, value in changes.items():
        if key.startswith("env."):
            _apply_override(tree, key, value)
    tree["env"]["config"] = check_config(tree["env"]["base"], tree["env"]["config"])
    spec = validated(RunSpec, tree)
    _check_curriculum(spec)
    return spec


def _check_curriculum(spec: RunSpec) -> None:
    before = 0.0
    for number, lesson in enumerate(spec.agent.curriculum):
        where = f"agent.curriculum[{number}]"
        if lesson.until <= before:
            raise UsageError(f"{where}.until {lesson.until} is not after {before}, the one before")
        for key in ("observation", "action"):
            if key in lesson.config:
                raise UsageError(f"{where}.config {key!r}: a network knows no others than its own")
        try:
            check_config(spec.env.base, lesson.config)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        before = lesson.until


_CLOSING_ASKED_FOR = ("agent.network", "agent.network.closing")


def _choose_observation(tree: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """The agent's observation, unless the environment says which it wants."""
    observation = tree["agent"].get("observation")
    asked_for = "agent.observation" in changes
    taken = observation is not None and (asked_for or "observation" not in tree["env"]["config"])
    # The agent's file has the network read rates of the columns that it names, not of others.
    network = tree["agent"].get("network") or {}
    its_own = taken and not asked_for
    if network.get("closing") and not its_own and changes.keys().isdisjoint(_CLOSING_ASKED_FOR):
        tree["agent"]["network"] = {**network, "closing": False}
    if observation is None:
        return
    if not taken:
        tree["agent"]["observation"] = None
        return
    tree["env"]["config"] = {**tree["env"]["config"], "observation": observation}


def _validate_agent_tree(agent: dict[str, Any]) -> None:
    """Validate the agent alone first, so that errors name its keys and not the union's."""
    spec = _AGENT_SPECS.get(agent["algo"])
    if spec is None:
        raise unknown("algorithm", str(agent["algo"]), _AGENT_SPECS)
    validated(spec, agent, "agent")


def _apply_override(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set `a.b.c` in the tree. Names are checked later, by the specs and `check_config`."""
    root, *path = key.split(".")
    if root not in tree:
        raise unknown("setting", key, _override_roots(tree))
    if not path:
        if isinstance(tree[root], dict):
            raise UsageError(f"setting {key!r} is a group; set one of its keys, as {key}.KEY=VALUE")
        tree[root] = value
        return
    if root == "env" and path[0] != "config":
        known = ["env.config." + name for name in merged_config(tree["env"]["base"], {})]
        raise unknown("setting", key, [*known, "env.config"])
    if root == "env" and len(path) > 2:
        # A nested key of a shallow configuration: start from the scene's own value.
        full = merged_config(tree["env"]["base"], tree["env"]["config"])
        if path[1] in full:
            tree["env"]["config"].setdefault(path[1], full[path[1]])
    set_value(tree, key, value)


def _override_roots(tree: Mapping[str, Any]) -> list[str]:
    algo = tree["agent"]["algo"]
    fields = _AGENT_SPECS[algo].model_fields if algo in _AGENT_SPECS else {}
    return [*tree, *(f"agent.{name}" for name in fields), "env.config"]


def _deep_merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`; mappings are merged, except an observation, which is replaced."""
    merged = dict(below)
    for key, value in above.items():
        if (
            key != "observation"
            and isinstance(value, Mapping)
            and isinstance(merged.get(key), Mapping)
        ):
            merged[key] = _deep_merge(merged[key], value)
        else:
            merged[key] = value
    return merged
