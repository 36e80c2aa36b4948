"""False alarms on clean traffic, and how soon shifts are noticed.

python -m benchmarks.monitoring [RUN] [--camera RUN] [--clean 640] [--write]

`--write` puts the tables into docs/monitoring.md. RUN and the camera's RUN are policies on tables
of vehicles and on frames; without them untrained ones drive, of which the page then speaks. The
policy that comes with drive-rl for highway-fast-v0 is always there.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from benchmarks.written import machine, write_between
from drive_rl.deployment.export import trained_policy
from drive_rl.deployment.inference import load_model
from drive_rl.deployment.monitor import windows_of
from drive_rl.deployment.profile import Profile, make_profile
from drive_rl.deployment.traffic import Members, record
from drive_rl.deployment.watcher import Judge

_PART = 64  # windows recorded together

Shift = tuple[str, dict[str, Any], Callable[[Members], Members] | None]


def main() -> None:
    """Measure and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?")
    parser.add_argument("--camera")
    parser.add_argument("--clean", type=int, default=640, help="windows of clean traffic")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    where = machine()
    lines = ["", f"Measured by `python -m benchmarks.monitoring --write` ({where})."]
    with tempfile.TemporaryDirectory() as folder:
        state = options.run or _untrained(Path(folder) / "state", "vehicles")
        camera = options.camera or _untrained(Path(folder) / "camera", "camera")
        lines += section("Vehicles as a table", state, STATE_SHIFTS, options.clean)
        lines += section("A trained policy", "highway-fast-v0/ppo", ROAD_SHIFTS, options.clean)
        lines += section("Camera", camera, CAMERA_SHIFTS, options.clean)
    print("\n".join(lines))
    if options.write:
        print(f"Written: {write_between('monitoring.md', 'measured', lines)}")


def section(title: str, source: Any, shifts: list[Shift], windows: int) -> list[str]:
    """The table of one policy."""
    policy = trained_policy(source)
    model = load_model(policy)
    profile = make_profile(policy, model)
    clean = _clean(policy, model, profile, windows)
    alarmed = sum(bool(names) for names in clean)
    high = beta.ppf(0.95, alarmed + 1, len(clean) - alarmed)
    trained = f"trained for {policy.step:,} decisions"
    if str(source).startswith(tempfile.gettempdir()):
        trained = "random weights (what is noticed in observations does not depend on skill)"
    what = f"{policy.name} on {policy.spec.env.id}, {trained}"
    lines = [
        "",
        f"### {title}",
        "",
        f"Policy: {what}. Windows of {profile.window} decisions. Clean traffic with other seeds: "
        f"{alarmed} of {len(clean)} windows with an alarm ({alarmed / len(clean):.2%}; with 95% "
        f"confidence below {high:.2%}).",
        "",
        "| shift | windows with an alarm | decisions to the first alarm | alarms |",
        "|---|---|---|---|",
    ]
    for name, config, disturb in shifts:
        found = _judged(
            policy, model, profile, 2_000, seed=3_000_000, config=config, disturb=disturb
        )
        first = next((k for k, names in enumerate(found) if names), None)
        delay = "none in these" if first is None else f"{(first + 1) * profile.window:,}"
        rang = sorted({each for names in found for each in names})
        share = sum(bool(names) for names in found)
        lines.append(f"| {name} | {share} of {len(found)} | {delay} | {', '.join(rang)} |")
    lines.append("")
    return lines


def _clean(policy: Any, model: Any, profile: Profile, windows: int) -> list[tuple[str, ...]]:
    """Alarms of clean windows; recorded in parts, since frames are large."""
    judge = Judge(profile)  # one for all, as a server has
    found: list[tuple[str, ...]] = []
    while len(found) < windows:
        part = min(windows - len(found), _PART)
        seed = 2_000_000 + 1000 * len(found)
        found += _judged(policy, model, profile, part * profile.window, seed=seed, judge=judge)
    return found


def _judged(
    policy: Any,
    model: Any,
    profile: Profile,
    decisions: int,
    *,
    seed: int,
    config: dict[str, Any] | None = None,
    disturb: Callable[[Members], Members] | None = None,
    judge: Judge | None = None,
) -> list[tuple[str, ...]]:
    """Alarms of each window; every stream is watched by itself, as a server's traffic is."""
    streams = max(1, min(32, decisions // profile.window))
    traffic = record(policy, decisions, seed=seed, config=config, streams=streams, disturb=disturb)
    judge = judge or Judge(profile)
    return [judge.judge(each).alarms for each in windows_of(model, traffic, profile.window)]


# --- what goes wrong --------------------------------------------------------------------------


def _noise(deviation: float) -> Callable[[Members], Members]:
    rng = np.random.default_rng(0)

    def disturb(members: Members) -> Members:
        noisy = {}
        for name, array in members.items():
            drawn = array + rng.normal(0, deviation, array.shape)
            if array.dtype == np.uint8:
                drawn = np.clip(drawn, 0, 255)
            noisy[name] = drawn.astype(array.dtype)
        return noisy

    return disturb


def _blind_behind(members: Members) -> Members:
    """Vehicles behind the ego are no longer seen (second feature: x)."""
    table = members["observation"].copy()
    behind = table[:, :, 1] < 0
    behind[:, 0] = False
    table[behind] = 0.0
    return {"observation": table}


def _nothing_but_ego(members: Members) -> Members:
    table = members["observation"].copy()
    table[:, 1:] = 0.0
    return {"observation": table}


def _darker(factor: float) -> Callable[[Members], Members]:
    return lambda members: {
        name: (array * factor).astype(array.dtype) for name, array in members.items()
    }


def _stripe(members: Members) -> Members:
    """A row of dead pixels and those around it."""
    images = members["observation"].copy()
    images[:, :, images.shape[2] // 2 : images.shape[2] // 2 + 4] = 0
    return {"observation": images}


STATE_SHIFTS: list[Shift] = [
    ("traffic a tenth denser", {"vehicles_density": 1.1}, None),
    ("traffic twice as dense", {"vehicles_density": 2.0}, None),
    ("traffic half as dense", {"vehicles_density": 0.5}, None),
    ("one lane less", {"lanes_count": 1}, None),
    ("noise of 0.002 (of the range)", {}, _noise(0.002)),
    ("noise of 0.02", {}, _noise(0.02)),
    ("noise of 0.1", {}, _noise(0.1)),
    ("blind behind", {}, _blind_behind),
    ("other vehicles not seen", {}, _nothing_but_ego),
]
ROAD_SHIFTS: list[Shift] = [
    ("traffic a tenth denser", {"vehicles_density": 1.1}, None),
    ("traffic twice as dense", {"vehicles_density": 2.0}, None),
    ("traffic half as dense", {"vehicles_density": 0.5}, None),
    ("one lane less", {"lanes_count": 2}, None),
    ("noise of 0.002 (of the range)", {}, _noise(0.002)),
    ("noise of 0.02", {}, _noise(0.02)),
    ("noise of 0.1", {}, _noise(0.1)),
]
CAMERA_SHIFTS: list[Shift] = [
    ("night (0.1)", {"randomization": {"night": 0.1}}, None),
    ("night (0.7)", {"randomization": {"night": 0.7}}, None),
    ("fog (0.02)", {"randomization": {"fog": 0.02}}, None),
    (
        "another road texture (photos)",
        {"randomization": {"road_texture": {"bank": "photos"}}},
        None,
    ),
    ("traffic twice as dense", {"vehicles_density": 2.0}, None),
    ("exposure down by a fiftieth", {}, _darker(0.98)),
    ("exposure down by a fifth", {}, _darker(0.8)),
    ("pixel noise of 20", {}, _noise(20.0)),
    ("dead rows", {}, _stripe),
]


def _untrained(path: Path, senses: str) -> str:
    from tests.deployment.policies import untrained_run

    return str(untrained_run(path, senses).path)


if __name__ == "__main__":
    main()
