"""`drive-rl perception ...`: each command calls one function. Torch is imported when needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from drive_rl.console import (
    Config,
    Device,
    Json,
    Resume,
    Seed,
    Settings,
    Start,
    Steps,
    changes,
    check_resumed,
    print_json,
    print_table,
)
from drive_rl.errors import UsageError, unknown, warn

app = typer.Typer(
    help="Perception: collect labelled frames, train an encoder on them, evaluate and probe it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Env = Annotated[str, typer.Option("--env", metavar="ID", help="An environment with a camera.")]


@app.command()
def collect(
    out: Annotated[Path, typer.Option(metavar="DATA", help="Folder to write.")],
    env: Env = "highway-camera-v0",
    frames: Annotated[int, typer.Option(help="Of all splits together.")] = 200_000,
    policy: Annotated[str, typer.Option(help="mixed, random, wander, idle or rule.")] = "mixed",
    seed: Annotated[int, typer.Option(help="Of the episodes.")] = 0,
    num_envs: Annotated[int, typer.Option(help="Environments stepped together.")] = 64,
    as_json: Json = False,
) -> None:
    """Drive, and keep frames with exact labels."""
    from drive_rl.perception.collect import collect as collect_data

    counts = collect_data(env, frames, out, policy=policy, seed=seed, num_envs=num_envs, say=warn)
    if as_json:
        print_json({"schema": 1, "data": str(out), "frames": counts})
    else:
        print(f"Next:\n  drive-rl perception train {out} --out RUN")


@app.command()
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Of `perception collect`.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run.")],
    config: Config = "road",
    objective: Annotated[
        str | None, typer.Option(help="supervised, vicreg, contrastive or both.")
    ] = None,
    settings: Settings = None,
    steps: Steps = None,
    seed: Seed = 0,
    device: Device = "auto",
    start: Start = None,
    resume: Resume = False,
) -> None:
    """Train an encoder: without labels, with them, or both."""
    from drive_rl.perception import training
    from drive_rl.perception.spec import OBJECTIVES, load_spec
    from drive_rl.perception.weights import load_encoder

    if resume:
        check_resumed(settings, steps, objective, start)
        training.resume(out, data)
    else:
        if objective is not None and objective not in OBJECTIVES:
            raise unknown("objective", objective, OBJECTIVES)
        overrides = changes(settings, steps=steps, objective=objective)
        weights = None if start is None else load_encoder(start)
        spec = load_spec(config, overrides)
        training.train(data, out, spec, seed=seed, device=device, start=weights)
    print(f"Next:\n  drive-rl perception evaluate {out}")


@app.command()
def evaluate(
    encoder: Annotated[
        str, typer.Argument(metavar="[ENCODER]", help="A shipped one, a run or a file.")
    ] = "road",
    env: Env = "highway-camera-v0",
    frames: Annotated[int, typer.Option(help="Of each split.")] = 4_000,
    seed: Annotated[int, typer.Option(help="Of the episodes.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Also a page with the mistakes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score an encoder on test episodes, and on the same with held-out textures."""
    from drive_rl.perception.evaluate import evaluate_encoder
    from drive_rl.perception.report import table_of, write_report

    scores = evaluate_encoder(encoder, env, frames=frames, seed=seed, say=warn)
    if out is not None:
        write_report(scores, out)
    if as_json:
        print_json(scores.document)
        return
    print_table(table_of(scores.document))
    if out is not None:
        print(f"Written: {out}")


@app.command()
def probe(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Of `perception collect`.")],
    encoders: Annotated[list[str], typer.Argument(metavar="ENCODER...", help="Runs or files.")],
    shares: Annotated[str, typer.Option(help="Shares of the labels.")] = "0.01,0.1,1",
    steps: Annotated[int, typer.Option(help="Of each probe.")] = 400,
    seed: Annotated[int, typer.Option(help="Of the choice of labels.")] = 0,
    as_json: Json = False,
) -> None:
    """What a linear layer reads in an encoder, beside a random one and one from scratch."""
    from drive_rl.perception.probe import probe_encoders

    try:
        parts = [float(each) for each in shares.split(",")]
    except ValueError:
        raise UsageError(f"shares {shares!r} is not a list of numbers like 0.01,0.1,1") from None
    rows = probe_encoders(data, encoders, parts, steps=steps, seed=seed, say=warn)
    if as_json:
        print_json({"schema": 1, "data": str(data), "probes": rows})
        return
    names = list(rows[0])
    print_table([names, *([_cell(row[name]) for name in names] for row in rows)])


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN")],
    out: Annotated[Path, typer.Option(metavar="FILE.safetensors", help="File to write.")],
) -> None:
    """Write a run's encoder as one file, which `evaluate` and environments take."""
    from drive_rl.perception.weights import load_encoder, save_encoder

    save_encoder(load_encoder(run), out)
    print(f"Written: {out} ({out.stat().st_size / 1e6:.1f} MB)")


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
