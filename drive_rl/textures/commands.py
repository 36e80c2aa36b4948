"""`drive-rl textures ...`: each command calls one function. Torch is imported when needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    names_in,
    print_json,
    print_table,
)
from drive_rl.errors import UsageError, warn

app = typer.Typer(
    help="Road textures: make data of photos, train a GAN on them, sample banks, score them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def prepare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders of photos, skimage, miniworld, ufoai, supertuxkart, torcs, procedural.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DATA", help="Folder to write.")],
    classes: Annotated[str, typer.Option(metavar="A,B", help="Keep these classes only.")] = "",
    side: Annotated[int, typer.Option(help="Side of a crop: 32, 64 or 128 pixels.")] = 64,
    crops: Annotated[int, typer.Option(help="Crops of each photo.")] = 96,
    seed: Annotated[int, typer.Option(help="Of the crops and of the split.")] = 0,
    licence: Annotated[str, typer.Option(help="Licence of the photos in folders.")] = "unknown",
    as_json: Json = False,
) -> None:
    """Turn photos into crops with classes, split by photo."""
    from drive_rl.textures.prepare import SPLITS
    from drive_rl.textures.prepare import prepare as prepare_data

    data = prepare_data(
        sources,
        out,
        classes=names_in(classes) or None,
        side=side,
        crops=crops,
        seed=seed,
        licence=licence,
        say=warn,
    )
    counts = {
        name: {
            split: sum(row["class"] == name and row["split"] == split for row in data.table)
            for split in SPLITS
        }
        for name in data.classes
    }
    if as_json:
        print_json({"schema": 1, "data": str(out), "crops": counts})
        return
    headings = ["class", *SPLITS]
    print_table([headings, *([name, *map(str, row.values())] for name, row in counts.items())])
    print(f"\nNext:\n  drive-rl textures train {out} --out RUN --from roadgan")


@app.command()
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Of `textures prepare`.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run.")],
    config: Config = "roadgan",
    settings: Settings = None,
    steps: Steps = None,
    seed: Seed = 0,
    device: Device = "auto",
    start: Start = None,
    resume: Resume = False,
) -> None:
    """Train a texture GAN."""
    from drive_rl.textures import adversarial
    from drive_rl.textures.spec import load_spec

    if resume:
        check_resumed(settings, steps, start)
        adversarial.resume(out, data)
    else:
        overrides = changes(settings, steps=steps)
        weights = None
        if start is not None:
            from drive_rl.textures.weights import load_weights

            weights = load_weights(start)
            for group in ("generator", "discriminator"):
                if any(key.split(".")[0] == group for key in overrides):
                    raise UsageError(
                        f"--set {group}... does not go with --from: {start} has its own"
                    )
                overrides[group] = getattr(weights.spec, group).model_dump()
        spec = load_spec(config, overrides)
        adversarial.train(data, out, spec, seed=seed, device=device, weights=weights)
    print(f"Next:\n  drive-rl textures sample {out} --count 256 --out BANK")


@app.command()
def sample(
    generator: Annotated[
        str, typer.Argument(metavar="NAME|RUN", help="roadgan, procedural, a run or a file.")
    ],
    out: Annotated[Path, typer.Option(metavar="BANK", help="Folder for the bank.")],
    count: Annotated[int, typer.Option(help="Tiles.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed gives the same tiles.")] = 0,
    size: Annotated[int, typer.Option(help="Side of a tile: 64, 128, 256 or 512 pixels.")] = 64,
    classes: Annotated[
        str, typer.Option(metavar="A:0.5,B:0.5", help="Classes and their shares.")
    ] = "",
    wetness: Annotated[str, typer.Option(metavar="0.2..0.8", help="Range of wetness.")] = "0",
    wear: Annotated[str, typer.Option(metavar="0.2..0.8", help="Range of wear.")] = "0",
    cracks: Annotated[str, typer.Option(metavar="0.2..0.8", help="Range of cracks.")] = "0",
    snow: Annotated[str, typer.Option(metavar="0.2..0.8", help="Range of snow.")] = "0",
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Also a picture of the first 64 tiles.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a bank of tiles that the camera's `randomization` takes."""
    from drive_rl.textures import sampling

    texts = {"wetness": wetness, "wear": wear, "cracks": cracks, "snow": snow}
    request = sampling.Request(
        count,
        seed,
        size,
        sampling.parse_classes(classes),
        {name: sampling.parse_range(name, text) for name, text in texts.items()},
    )
    weights = None
    if generator != "procedural":
        from drive_rl.textures.weights import load_weights

        weights = load_weights(generator)
    bank = sampling.sample_bank(weights, request, out)
    if sheet is not None:
        from PIL import Image

        sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sampling.contact_sheet(bank.tiles[:64], 8)).save(sheet)
    if as_json:
        print_json({"schema": 1, "bank": str(out), "count": count, "size": size, "seed": seed})
    else:
        print(f"Written: {out} ({count} tiles of {size} x {size})")


@app.command()
def score(
    bank: Annotated[str, typer.Argument(metavar="BANK", help="A bank's name or folder.")],
    against: Annotated[
        str,
        typer.Option(
            metavar="DATA[test]", help="Data of `textures prepare`, and its split; `all` for all."
        ),
    ],
    features: Annotated[
        str | None, typer.Option(metavar="NAME", help="efficientnet-lite0 or filters.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of patches, directions and pairs.")] = 0,
    as_json: Json = False,
) -> None:
    """Score a bank against photos that nothing was learned from."""
    from drive_rl.textures.report import score_bank, table_of

    document = score_bank(bank, against, features=features, seed=seed)
    if as_json:
        print_json(document)
        return
    print(f"against {document['against']}, features {document['features']} ({document['note']})\n")
    print_table(table_of(document))
    for remark in document["remarks"]:
        warn(remark)
    if (gap := document["discriminator_gap"]) is not None:
        print(f"\ndiscriminator's gap between train and held-out: {gap:.2f} deviations")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN")],
    out: Annotated[Path, typer.Option(metavar="FILE.safetensors", help="File to write.")],
    licence: Annotated[
        str, typer.Option(help="Of the tiles that it makes.")
    ] = "of what it was trained on",
) -> None:
    """Write a run's networks as one file, which `sample` and `--from` take."""
    from dataclasses import replace

    from drive_rl.textures.weights import load_weights, save_weights

    weights = load_weights(run)
    save_weights(replace(weights, made={**weights.made, "licence": licence}), out)
    print(f"Written: {out} ({out.stat().st_size / 1e6:.1f} MB)")
