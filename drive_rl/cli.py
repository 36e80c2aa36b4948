"""The command line: one command per verb, each calls one function of one room.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 or 143 interrupted with the state saved. An error is
one line on stderr; `--debug` anywhere on the line shows the traceback.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import typer

from drive_rl.console import Device, Json, Seed, names_in, print_json
from drive_rl.errors import DriveRLError, UsageError
from drive_rl.perception.commands import app as perception_app
from drive_rl.textures.commands import app as textures_app

if TYPE_CHECKING:
    from drive_rl.evaluation import Evaluation
    from drive_rl.training import Run

app = typer.Typer(
    name="drive-rl",
    help="Train, watch and score driving policies on highway-env's scenes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(textures_app, name="textures")
app.add_typer(perception_app, name="perception")

# Options that several commands share.
Env = Annotated[str, typer.Option("--env", metavar="ID", help="Environment: see `drive-rl envs`.")]
OptionalEnv = Annotated[str | None, typer.Option("--env", metavar="ID", help="Environment.")]
Policies = Annotated[
    list[str] | None,
    typer.Option("--policy", metavar="A,B", help="random, idle, rule, planner, or a shipped one."),
]
Runs = Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", show_default=False)]
Engine = Annotated[str, typer.Option(help="auto, compiled or reference (highway-env itself).")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE ...",
        help="Change a setting: agent.learning_rate=3e-4, env.config.lanes_count=2.",
    ),
]
Workers = Annotated[int | None, typer.Option(help="Runs at a time; as many as cores if not said.")]
Threads = Annotated[int, typer.Option(help="Threads of each run.")]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="[ADDRESS]", help="On a Ray cluster; alone: one on this machine."
    ),
]


@app.command()
def train(
    env: OptionalEnv = None,
    algo: Annotated[
        str | None, typer.Option(metavar="NAME", help="ppo, dqn, or an agent's YAML file.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Decisions to train for.")] = None,
    seed: Seed = 0,
    num_envs: Annotated[int | None, typer.Option(help="Environments stepped together.")] = None,
    device: Device = "auto",
    engine: Engine = "auto",
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the run.")] = None,
    settings: Settings = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="RUN", help="Start with a run's weights.")
    ] = None,
    trainer: Annotated[
        str, typer.Option(help="sb3 (Stable-Baselines3), or rllib, with rollouts on Ray.")
    ] = "sb3",
    ray: Ray = None,
    workers: Annotated[
        int | None, typer.Option(help="Of rllib: processes that drive; a core each.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a policy, score it, and say how to watch it."""
    if trainer not in ("sb3", "rllib"):
        raise UsageError(f"trainer {trainer!r} is not one of sb3, rllib")
    if trainer == "sb3" and (ray is not None or workers is not None):
        raise UsageError("one training on Ray needs --trainer rllib; many are `drive-rl grid`")
    if trainer == "rllib" and start is not None:
        raise UsageError("--from RUN goes on with Stable-Baselines3; leave out --trainer rllib")
    if start is not None:
        from drive_rl.training.finetune import fine_tune

        tuned = fine_tune(
            start,
            env,
            algo,
            steps=steps,
            seed=seed,
            num_envs=num_envs,
            device=device,
            engine=engine,
            run=run,
            overrides=settings or (),
        )
        _conclude(tuned, as_json)
        if not as_json:
            print(f"Before and after: {tuned.path}/evaluation/before-and-after/report.html")
        return
    if env is None or algo is None:
        missing = "--env" if env is None else "--algo"
        raise UsageError(f"Missing option '{missing}' (only --from RUN goes without)")
    if trainer == "rllib":
        from drive_rl.cluster import train_on_ray

        driven = train_on_ray(
            env,
            algo,
            ray or "local",
            workers,
            run,
            steps=steps,
            seed=seed,
            num_envs=num_envs,
            device=device,
            engine=engine,
            overrides=settings or (),
        )
        _conclude(driven, as_json)
        return
    from drive_rl.training import train as train_policy

    finished = train_policy(
        env,
        algo,
        steps=steps,
        seed=seed,
        num_envs=num_envs,
        device=device,
        engine=engine,
        run=run,
        overrides=settings or (),
    )
    _conclude(finished, as_json)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN")],
    as_json: Json = False,
) -> None:
    """Continue a run that was stopped; it ends in the same weights as one that was not."""
    from drive_rl.training import resume as resume_run

    _conclude(resume_run(run), as_json)


def _conclude(run: Run, as_json: bool) -> None:
    """Score a finished run unless that is done, show the table, and name the next commands."""
    from drive_rl.evaluation import print_table
    from drive_rl.evaluation.final import evaluate_run

    evaluation = evaluate_run(run)
    if as_json:
        print_json({"run": str(run.path), **evaluation.to_json()})
        return
    print_table(evaluation)
    print(f"\nNext:\n  drive-rl watch {run.path}\n  drive-rl evaluate {run.path} --episodes 500")


@app.command()
def watch(
    runs: Runs = None,
    env: OptionalEnv = None,
    policy: Policies = None,
    seed: Annotated[int, typer.Option(help="Seed of the first episode.")] = 0,
    engine: Engine = "auto",
    record: Annotated[Path | None, typer.Option(metavar="FILE.mp4", help="Record a video.")] = None,
    screenshot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Save the last picture.")
    ] = None,
    headless: Annotated[bool, typer.Option(help="No window: for machines without screen.")] = False,
    episodes: Annotated[int | None, typer.Option(help="Stop after this many episodes.")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after this many decisions.")] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="EPISODE.json", help="Play a stored episode.")
    ] = None,
) -> None:
    """Open a window and watch a policy drive. Press H there for the keys."""
    policies = _named_policies(runs, policy, needs_one=replay is None)
    from drive_rl.viewer import watch as watch_policies

    watched = watch_policies(
        policies,
        env,
        seed=seed,
        engine=engine,
        record=record,
        screenshot=screenshot,
        headless=headless,
        episodes=episodes,
        steps=steps,
        replay=replay,
    )
    print(watched)


Episodes = Annotated[int, typer.Option(help="Episodes, each with a seed of its own.")]
FirstSeed = Annotated[int, typer.Option(help="Episode k is reset with seed + k.")]
Baselines = Annotated[str, typer.Option(metavar="A,B", help="Baselines beside it; '' for none.")]
Videos = Annotated[int, typer.Option(min=0, help="Crashes to film, at most; 0 for none.")]


@app.command()
def evaluate(
    runs: Runs = None,
    env: OptionalEnv = None,
    policy: Policies = None,
    episodes: Episodes = 100,
    seed: FirstSeed = 0,
    baselines: Baselines = "random,idle",
    num_envs: Annotated[int | None, typer.Option(help="Changes the speed only.")] = None,
    engine: Engine = "auto",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the report, its data, episodes.")
    ] = None,
    fail_below: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-below",
            metavar="METRIC=VALUE",
            help="Exit with 1 where a policy is worse than this, such as crash_rate=0.01.",
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE.xml", help="The verdict as JUnit's XML.")
    ] = None,
    videos: Videos = 12,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Score policies on a fixed set of episodes, beside baselines."""
    asked = _named_policies(runs, policy)
    from drive_rl.evaluation import judging, print_table
    from drive_rl.evaluation.final import check_place, folder_for

    limits = judging.parse_limits(fail_below or ())
    folder = out if out is not None else folder_for(asked, episodes, seed, env)
    for place in (folder, junit and junit.parent):
        check_place(place)
    if ray is None:
        evaluation = _evaluated(asked, env, episodes, seed, baselines, engine, num_envs)
    else:
        from drive_rl.cluster import evaluate_on_ray

        shards = None if folder is None else folder / "shards"
        evaluation = evaluate_on_ray(
            ray, asked, env, episodes, seed, names_in(baselines), engine, shards
        )
    if folder is not None:
        evaluation.write(folder, videos=videos)
    if as_json:
        print_json(evaluation.to_json())
    else:
        print_table(evaluation)
        if folder is not None:
            names = "report.json, episodes.csv, episodes/"
            names += ", videos/" if (folder / "videos").is_dir() else ""
            print(f"\nWritten: {folder / 'report.html'}, {names}")
    judging.conclude(evaluation, limits, junit)


@app.command()
def report(
    runs: Runs = None,
    env: OptionalEnv = None,
    policy: Policies = None,
    episodes: Episodes = 100,
    seed: FirstSeed = 0,
    baselines: Baselines = "random,idle",
    engine: Engine = "auto",
    videos: Videos = 12,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Where to write it.")] = Path(
        "report.html"
    ),
) -> None:
    """Compare policies on the same episodes, as one page to open or to send."""
    asked = _named_policies(runs, policy)
    from drive_rl.evaluation.final import check_place
    from drive_rl.evaluation.page import write_page

    check_place(out.parent)
    write_page(_evaluated(asked, env, episodes, seed, baselines, engine), out, videos)
    print(f"Written: {out}")


def _evaluated(
    asked: list[str],
    env: str | None,
    episodes: int,
    seed: int,
    baselines: str,
    engine: str,
    num_envs: int | None = None,
) -> Evaluation:
    """What `evaluate` and `report` have in common: the episodes, driven under a progress bar."""
    from drive_rl.evaluation import evaluate as evaluate_policies
    from drive_rl.evaluation.final import EpisodeProgress

    with EpisodeProgress() as progress:
        return evaluate_policies(
            asked,
            env,
            episodes=episodes,
            seed=seed,
            num_envs=num_envs,
            engine=engine,
            baselines=names_in(baselines),
            parallel=True,
            progress=progress,
        )


@app.command()
def grid(
    env: Annotated[str, typer.Option("--env", metavar="A,B", help="Environments.")],
    algo: Annotated[str, typer.Option(metavar="A,B", help="Agents: ppo, dqn, or YAML files.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for runs and results.csv.")],
    seeds: Annotated[str, typer.Option(metavar="0..9", help="Seeds: 0..9, or 0,3,5.")] = "0",
    steps: Annotated[int | None, typer.Option(help="Decisions to train each for.")] = None,
    num_envs: Annotated[int | None, typer.Option(help="Environments stepped together.")] = None,
    engine: Engine = "auto",
    settings: Settings = None,
    workers: Workers = None,
    threads: Threads = 1,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Train and score every environment with every agent and seed; stop and start it at will."""
    from drive_rl.cluster import pool_for
    from drive_rl.cluster.grid import grid as run_grid
    from drive_rl.cluster.grid import parse_seeds

    with pool_for(ray, workers, threads) as pool:
        rows = run_grid(
            names_in(env),
            names_in(algo),
            parse_seeds(seeds),
            out,
            steps=steps,
            num_envs=num_envs,
            engine=engine,
            overrides=settings or (),
            threads=threads,
            pool=pool,
        )
    if as_json:
        print_json(rows)
    else:
        print(f"{len(rows)} runs: {out / 'results.csv'}, {out / 'report.html'}")


@app.command()
def sweep(
    env: Env,
    algo: Annotated[str, typer.Option(metavar="NAME", help="ppo, dqn, or an agent's YAML file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the journal and the runs.")],
    trials: Annotated[int, typer.Option(help="Trials in all.")] = 100,
    seeds: Annotated[str, typer.Option(metavar="0..2", help="Seeds of each trial.")] = "0..2",
    steps: Annotated[int | None, typer.Option(help="Decisions to train each for.")] = None,
    num_envs: Annotated[int | None, typer.Option(help="Environments stepped together.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sweep itself.")] = 0,
    together: Annotated[
        int, typer.Option("--round", help="Trials drawn together: more at a time, knowing less.")
    ] = 4,
    engine: Engine = "auto",
    settings: Settings = None,
    workers: Workers = None,
    threads: Threads = 1,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Look for better hyperparameters; the best become an agent that `train --algo` takes."""
    from drive_rl.cluster import pool_for
    from drive_rl.cluster.grid import parse_seeds
    from drive_rl.cluster.sweep import sweep as run_sweep

    with pool_for(ray, workers, threads) as pool:
        best = run_sweep(
            env,
            algo,
            out,
            trials=trials,
            seeds=parse_seeds(seeds),
            steps=steps,
            num_envs=num_envs,
            engine=engine,
            overrides=settings or (),
            seed=seed,
            threads=threads,
            together=together,
            pool=pool,
        )
    if as_json:
        print_json(best)
    else:
        print(f"best of {best['trials']} trials ({best['pruned']} pruned): {best['value']:.4g}")
        print(f"\nNext:\n  drive-rl train --env {env} --algo {best['agent']}")


@app.command()
def export(
    policy: Annotated[str, typer.Argument(metavar="POLICY")],
    format: Annotated[str, typer.Option(help="onnx, torchscript or sb3.")] = "onnx",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write it.")] = None,
    observations: Annotated[
        int, typer.Option(metavar="N", help="Compare file and network on so many.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the episodes that these come from.")] = 0,
    engine: Engine = "auto",
    profile: Annotated[
        bool | None,
        typer.Option("--profile/--no-profile", help="Also what is normal, for `monitor`."),
    ] = None,
) -> None:
    """Write a policy as one file for other programs, with its card."""
    from drive_rl.deployment.export import export as export_policy

    print(export_policy(policy, format, out, observations=observations, seed=seed, engine=engine))


@app.command()
def serve(
    policy: Annotated[str, typer.Argument(metavar="RUN")],
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free port.")] = 8000,
    host: Annotated[str, typer.Option(help="Address; only this machine unless asked.")] = (
        "127.0.0.1"
    ),
    token: Annotated[
        str | None, typer.Option(help="Bearer token; better in the variable DRIVE_RL_TOKEN.")
    ] = None,
    monitored: Annotated[
        bool, typer.Option("--monitor/--no-monitor", help="Compare what arrives with the profile.")
    ] = True,
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Reference profile (.npz).")
    ] = None,
) -> None:
    """Answer observations with actions over HTTP, until SIGTERM."""
    from drive_rl.deployment.serving import serve as serve_policy

    print(
        serve_policy(policy, host=host, port=port, token=token, monitor=monitored, profile=profile)
    )


@app.command()
def monitor(
    policy: Annotated[str, typer.Argument(metavar="RUN")],
    env: OptionalEnv = None,
    episodes: Annotated[int, typer.Option(help="About how many to drive.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the episodes.")] = 0,
    engine: Engine = "auto",
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Reference profile (.npz).")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether a policy is where it is at home: compare what it meets with its profile."""
    from drive_rl.deployment.monitor import monitor as monitor_policy

    found = monitor_policy(
        policy, env, episodes=episodes, seed=seed, engine=engine, profile=profile, out=out
    )
    print_json(found.to_json()) if as_json else print(found)


@app.command()
def envs(
    name: Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """List the environments, or show one's whole configuration."""
    from drive_rl import listing

    if name is not None:
        document = listing.environment(name)
        print_json(document) if as_json else listing.print_mapping(document)
    else:
        rows = listing.environments()
        print_json(rows) if as_json else listing.print_environments(rows)


@app.command()
def agents(
    name: Annotated[str | None, typer.Argument(metavar="[AGENT]", show_default=False)] = None,
    env: Annotated[
        str, typer.Option("--env", metavar="ID", help="Settings for it.")
    ] = "highway-v0",
    as_json: Json = False,
) -> None:
    """List the agents, or show one's settings for an environment."""
    from drive_rl import listing

    if name is not None:
        document = listing.agent(name, env)
        print_json(document) if as_json else listing.print_mapping(document)
    else:
        rows = listing.agents()
        print_json(rows) if as_json else listing.print_agents(rows)


@app.command()
def benchmark(
    env: Annotated[
        str, typer.Option("--env", metavar="A,B", help="Environments to measure.")
    ] = "highway-v0,highway-fast-v0",
    threads: Annotated[
        list[int] | None, typer.Option(help="Threads of drive-rl's; by default 1 and all.")
    ] = None,
    num_envs: Annotated[int, typer.Option(help="Environments per thread.")] = 64,
    rounds: Annotated[int, typer.Option(help="Rounds in which the two take turns.")] = 3,
    seconds: Annotated[float, typer.Option(help="Length of each one's round.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Measure this machine: decisions per second, beside highway-env's, random actions."""
    from drive_rl import listing
    from drive_rl.environments.benchmark import benchmark as measure

    rows = measure(
        names_in(env),
        threads=threads or (),
        num_envs=num_envs,
        rounds=rounds,
        seconds=seconds,
    )
    if as_json:
        print_json({"schema": 1, "rows": list(rows)})
    else:
        listing.print_benchmark(rows)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Look at this installation: versions, devices, display, folders, and what is missing."""
    from drive_rl import listing

    document, healthy = listing.diagnosis()
    print_json(document) if as_json else listing.print_diagnosis(document)
    if not healthy:
        raise typer.Exit(1)


def _named_policies(
    runs: list[str] | None, policies: list[str] | None, needs_one: bool = True
) -> list[str]:
    """What was named as RUN arguments and with --policy (`a,b` or again), in that order.

    Raises:
        UsageError: nothing was named.
    """
    named = [*(runs or []), *(name for text in policies or [] for name in names_in(text))]
    if not named and needs_one:
        raise UsageError("name a RUN, or --env ID --policy random")
    return named


def _spread_settings(arguments: list[str]) -> list[str]:
    """`--set a=1 b=2` becomes `--set a=1 --set b=2`; the parser takes one value per option.

    And `--ray` alone becomes `--ray local`.
    """
    spread: list[str] = []
    after_set = False
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        if argument == "--ray" and following.startswith("-"):
            argument = "--ray=local"
        if argument == "--set":
            after_set = True
        elif argument.startswith("-") or "=" not in argument:
            after_set = False
            spread.append(argument)
        elif after_set:
            spread += ["--set", argument]
        else:
            spread.append(argument)
    if arguments and arguments[-1] == "--set":
        spread.append("--set")
    return spread


def run(arguments: list[str]) -> int:
    """Run one command line and give its exit code; errors become one line on stderr."""
    debug = "--debug" in arguments
    arguments = _spread_settings([each for each in arguments if each != "--debug"])
    command = typer.main.get_command(app)
    try:
        result = command.main(arguments, prog_name="drive-rl", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        print("drive-rl: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        return _explain(error)


def _explain(error: Exception) -> int:
    """Print an error as one line and give its exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(getattr(error, "message", ""))
        return 2
    # The parser's errors: Typer brings its own copy of Click, so they are known by what they do.
    if hasattr(error, "format_message"):
        message, code = error.format_message(), 2
    elif isinstance(error, DriveRLError):
        message, code = str(error), error.exit_code
    elif isinstance(error, BrokenPipeError):
        raise error
    else:
        message, code = f"{type(error).__name__}: {error} (--debug shows where)", 1
    print(f"drive-rl: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def main() -> None:
    """The `drive-rl` program."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has gone; that is no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


if __name__ == "__main__":
    main()
