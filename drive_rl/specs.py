"""Frozen, validated specs: of YAML, of what ships, and of what a user changed by dotted key.

spec = load_settings(GanSpec, "textures", "roadgan", {"loss": "wasserstein"})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from drive_rl.data import data_folder
from drive_rl.errors import UsageError, unknown


def _number_from_text(value: Any) -> Any:
    """YAML 1.1 reads `1e6` and `3e-4` as text; a whole float such as 1e6 is a count."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


Count = Annotated[int, BeforeValidator(_number_from_text), Field(gt=0)]
WholeNumber = Annotated[int, BeforeValidator(_number_from_text), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(_number_from_text), Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, BeforeValidator(_number_from_text), Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[
    float, BeforeValidator(_number_from_text), Field(ge=0, le=1, allow_inf_nan=False)
]


class Spec(BaseModel):
    """Base of all specs: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class TrainingSpec(Spec):
    """What every training of networks that are no policies has.

    Attributes:
        steps: of the optimisers, in all.
        checkpoint_interval: steps from one checkpoint to the next.
        num_threads: of torch; None takes as many as it does.
    """

    steps: Count = 10_000
    checkpoint_interval: Count = 500
    num_threads: Count | None = None


SpecT = TypeVar("SpecT", bound=Spec)


# --- what ships, and what a user changes ------------------------------------------------------


def shipped_names(room: str, suffix: str = ".yaml") -> list[str]:
    """The files of a folder of assets/ that end so, without the ending: settings that ship."""
    return sorted(path.stem for path in (data_folder("assets") / room).glob(f"*{suffix}"))


def load_settings(
    model: type[SpecT], room: str, name: str | Path, overrides: Mapping[str, Any] | None = None
) -> SpecT:
    """The settings of a shipped name or of a YAML file, with some changed.

    Args:
        room: the folder of assets/ in which they ship.
        overrides: values by key; `encoder.features` reaches into a group.

    Raises:
        UsageError: no such file, an unknown key, a value that cannot be.
    """
    path, shipped = Path(name), shipped_names(room)
    if str(name) in shipped:
        path = data_folder("assets") / room / f"{name}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        raise unknown(f"settings of {room}", str(name), shipped)
    return changed(model, read_yaml(path), overrides or {})


def changed(model: type[SpecT], content: Mapping[str, Any], overrides: Mapping[str, Any]) -> SpecT:
    """A spec of some content with some values changed."""
    tree = deepcopy(dict(content))
    for key, value in overrides.items():
        set_value(tree, key, value)
    return validated(model, tree)


def set_value(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set `a.b.c` in a tree. Names are checked later, by the specs.

    Raises:
        UsageError: what is on the way there is no group.
    """
    *path, last = key.split(".")
    node = tree
    for name in path:
        if node.get(name) is None:
            node[name] = {}
        node = node[name]
        if not isinstance(node, dict):
            raise UsageError(f"setting {key!r}: {name!r} has no keys of its own")
    node[last] = value


def parse_settings(overrides: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """`key=value` texts as a mapping, the values read as YAML; a mapping as it is.

    Raises:
        UsageError: a text without `=`, or a value that does not parse.
    """
    if isinstance(overrides, Mapping):
        return dict(overrides)
    parsed: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"setting {text!r} is not of the form key=value")
        try:
            parsed[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"setting {text!r}: {value!r} does not parse") from None
    return parsed


# --- reading and explaining -------------------------------------------------------------------


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds one mapping, read without running anything.

    Raises:
        UsageError: no such file, not YAML (with file and line), or no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
        problem = getattr(error, "problem", None) or "not YAML"
        raise UsageError(f"{where}: {problem}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}: holds {type(content).__name__}, not a mapping of keys to values")
    return content


def validated(model: type[SpecT], content: Mapping[str, Any], prefix: str = "") -> SpecT:
    """`model` from `content`, or the first problem as one line.

    Raises:
        UsageError: names the key, the value and what is wrong with it.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _explained(error, model, prefix) from None


def _explained(error: ValidationError, model: type[Spec], prefix: str) -> UsageError:
    # Of a union's complaints (a number or a schedule), one about a key says most, then one that
    # reaches deepest.
    problems = sorted(
        error.errors(), key=lambda each: (each["type"] != "extra_forbidden", -len(each["loc"]))
    )
    problem = problems[0]
    path = [str(part) for part in problem["loc"]]
    # Tags of a union stand in the location; they are no keys that a user typed.
    tags = ("ppo", "dqn", "Schedule", "FractionSchedule", "float", "int")
    path = [part for part in path if part not in tags]
    path = [part for part in path if not part.startswith(("function-", "constrained-"))]
    where = ".".join([prefix, *path] if prefix else path)
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, path[:-1])
        return unknown("setting", where, [where[: -len(path[-1])] + name for name in known])
    if problem["type"] == "missing":
        return UsageError(f"{where} is missing")
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return UsageError(f"{where} {problem['input']!r} is not valid: {message}")


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Field names of the nested spec at `path`."""
    for name in path:
        field = model.model_fields.get(name)
        nested = [] if field is None else _models_of(field.annotation)
        if not nested:
            break
        model = nested[0]
    return list(model.model_fields)


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for arg in getattr(annotation, "__args__", ()) for found in _models_of(arg)]
