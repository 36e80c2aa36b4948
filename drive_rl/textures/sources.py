"""Photographs of surfaces: folders of them, and those that installed packages bring along.

    skimage      gravel, brick and grass of scikit-image, in grey, CC0
    miniworld    asphalt, concrete, rock and masonry of miniworld's wheel, Apache-2.0
    ufoai        surfaces in Debian's ufoai-textures that are in the public domain or under MIT
    supertuxkart surfaces in Debian's supertuxkart-data, in the public domain or under CC0
    torcs        road surfaces of Debian's torcs-data: copyleft, for studies only
    procedural   drive_rl.textures.procedural, a picture per maker and number
    a folder     each sub-folder is a class; pictures beside them are of the class of its name

A picture that cannot be one is skipped and named. Nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drive_rl.errors import UsageError, unknown
from drive_rl.textures.games import GAMES, read_pictures
from drive_rl.textures.procedural import LICENCE, ORIGIN, ROADS, make_tile

SMALLEST = 64  # px, of the shorter side: less holds no tile
LARGEST = 2048  # px, of the longer side: more is averaged down when read
BUILT_IN = ("skimage", "miniworld", *GAMES, "torcs", "procedural")
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".rgb", ".sgi", ".tga", ".jp2"),
)

SKIMAGE = {
    "gravel": ("gravel", "skimage.data.gravel: CC0Textures Gravel04"),
    "brick": ("paving", "skimage.data.brick: CC0Textures Bricks25"),
    "grass": ("grass", "skimage.data.grass: linolafett, deviantart.com, Grass 01"),
}
MINIWORLD = {
    "asphalt_1": "asphalt",
    "concrete_1": "concrete",
    "concrete_2": "concrete",
    "concrete_3": "concrete",
    "concrete_4": "concrete",
    "stucco_1": "concrete",
    "rock_1": "rock",
    "marble_2": "rock",
    "concrete_tiles_1": "paving",
    "cinder_blocks_1": "paving",
    "brick_wall_1": "paving",
    "grass_1": "grass",
    "grass_2": "grass",
}
TORCS = Path("/usr/share/games/torcs/tracks")
TORCS_LEFT_OUT = ("brondehach",)  # its licence is unclear
TORCS_WORDS = {  # what a name of torcs's road textures says about the surface
    "asphalt": "asphalt",
    "tarmac": "asphalt",
    "concrete": "concrete",
    "gravel": "gravel",
    "sand": "sand",
    "dirt": "dirt",
    "road": "asphalt",
}
# and what says that there is more to see than the surface
TORCS_OTHERS = (
    *("tree", "sign", "shadow", "wall", "line", "pit", "edge", "border", "side", "gras", "grs"),
    *("curb", "barrier", "park", "left", "right", "nmm"),
)
PROCEDURAL_EACH = 12


class Photo(NamedTuple):
    """A source image.

    Attributes:
        name: unique among its source.
        group: pictures of one group go to the same split; mostly the picture itself.
        pixels: uint8 (height, width, 3).
    """

    name: str
    group: str
    surface: str
    origin: str
    licence: str
    pixels: NDArray[np.uint8]


Skipped = Callable[[str], None]


def read_source(source: str, skipped: Skipped, licence: str = "unknown") -> Iterator[Photo]:
    """The photographs of a built-in source or of a folder.

    Args:
        skipped: called with one line for each file that is no picture to learn from.
        licence: of the pictures of a folder, as its owner states it.

    Raises:
        UsageError: no such source or folder, or a package that is not installed.
    """
    if source in GAMES:
        return _game(source, skipped)
    if source in BUILT_IN:
        return {
            "skimage": _skimage,
            "miniworld": _miniworld,
            "torcs": _torcs,
            "procedural": _procedural,
        }[source](skipped)
    folder = Path(source)
    if not folder.exists():
        if folder.name == source:
            raise unknown("source of photos", source, (*BUILT_IN, "a folder"))
        raise UsageError(f"source {source!r}: no such folder")
    if not folder.is_dir():
        raise UsageError(f"source {source!r} is a file; name the folder that holds the photos")
    return _folder(folder, licence, skipped)


def read_picture(path: Path | IO[bytes]) -> NDArray[np.uint8]:
    """A picture of any mode as uint8 (height, width, 3).

    CMYK, palettes and grey become RGB; 16 bits and floats are scaled to 8; what is transparent
    gets the mean colour of what is not.

    Raises:
        ValueError: says why it cannot be used.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                file.load()
                upright = ImageOps.exif_transpose(file)
    except UnidentifiedImageError:
        raise ValueError("is no picture") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError("has too many pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"is corrupt ({reason})") from None
    width, height = upright.size
    if min(width, height) < SMALLEST:
        raise ValueError(f"has {width} x {height} pixels; at least {SMALLEST} each way are needed")
    if max(width, height) > LARGEST:
        upright = upright.reduce(-(-max(width, height) // LARGEST))
    if upright.mode.startswith(("I", "F")):
        return _scaled(np.asarray(upright, np.float64))
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        return _opaque(np.asarray(upright.convert("RGBA"), np.float64))
    return np.asarray(upright.convert("RGB"), np.uint8)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """16 bits, or floats of 0 to 1, as 8 bits in three channels."""
    if not np.isfinite(values).all():
        raise ValueError("has pixels that are no numbers")
    top = values.max()
    full = 1.0 if top <= 1.0 else 255.0 if top <= 255.0 else 65535.0
    gray = np.clip(np.rint(values / full * 255.0), 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1)


def _opaque(pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
    share = pixels[..., 3:] / 255.0
    if share.mean() < 0.5:
        raise ValueError("is mostly transparent")
    mean = (pixels[..., :3] * share).sum(axis=(0, 1)) / share.sum()
    mixed = pixels[..., :3] * share + mean * (1.0 - share)
    return np.asarray(np.rint(mixed), np.uint8)


def _folder(folder: Path, licence: str, skipped: Skipped) -> Iterator[Photo]:
    # Folders below are classes; one that gives nothing was meant to give something
    bare = {path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not path.is_file() or any(part.startswith(".") for part in parts):
            continue
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            pixels = read_picture(path)
        except ValueError as error:
            skipped(f"{path} {error}; skipped")
            continue
        surface = parts[0] if len(parts) > 1 else folder.resolve().name
        name = "/".join(parts)
        bare.discard(surface)
        # The name, not the machine's path: a table travels with its bank
        yield Photo(name, name, surface, f"{folder.resolve().name}/{name}", licence, pixels)
    for surface in sorted(bare):
        skipped(f"class {surface} has no photo in {folder / surface}; left out")


def _skimage(skipped: Skipped) -> Iterator[Photo]:
    try:
        from skimage import data
    except ImportError:
        raise UsageError("source 'skimage' needs `pip install drive-rl[textures]`") from None
    for name, (surface, origin) in SKIMAGE.items():
        gray = np.asarray(getattr(data, name)(), np.uint8)
        pixels = np.repeat(gray[..., None], 3, axis=-1)
        yield Photo(name, f"skimage/{name}", surface, origin, "CC0-1.0", pixels)


def _miniworld(skipped: Skipped) -> Iterator[Photo]:
    # Found, not imported: miniworld opens a window system when it is
    found = importlib.util.find_spec("miniworld")
    if found is None or not found.submodule_search_locations:
        raise UsageError("source 'miniworld' needs `pip install drive-rl[textures]`")
    folder = Path(next(iter(found.submodule_search_locations))) / "textures"
    for name, surface in MINIWORLD.items():
        path = folder / f"{name}.png"
        try:
            pixels = read_picture(path)
        except ValueError as error:
            skipped(f"{path} {error}; skipped")
            continue
        yield Photo(
            name, f"miniworld/{name}", surface, f"miniworld: {name}.png", "Apache-2.0", pixels
        )


def _game(name: str, skipped: Skipped) -> Iterator[Photo]:
    package = GAMES[name].package
    for picture, content in read_pictures(name):
        if content is None:
            skipped(
                f"{package}: {picture.path} is not the picture whose licence was looked up; skipped"
            )
            continue
        group = f"{name}/{picture.group or picture.path}"
        origin = f"{package}: {picture.path}" + (f" ({picture.author})" if picture.author else "")
        pixels = read_picture(BytesIO(content))
        yield Photo(picture.path, group, picture.surface, origin, picture.licence, pixels)


def _torcs(skipped: Skipped) -> Iterator[Photo]:
    """Split by track: the pictures of a track are often cut from the same photograph."""
    if not TORCS.is_dir():
        raise UsageError(f"source 'torcs' needs Debian's package torcs-data ({TORCS} is missing)")
    for path in sorted(TORCS.glob("*/*/*")):
        track = path.parent.name
        stem = path.stem.lower()
        words = [surface for word, surface in TORCS_WORDS.items() if word in stem]
        if track in TORCS_LEFT_OUT or path.suffix.lower() not in SUFFIXES or not words:
            continue
        # A picture of the track's name is its map
        if any(word in stem for word in TORCS_OTHERS) or stem == track:
            continue
        try:
            pixels = read_picture(path)
        except ValueError as error:
            skipped(f"{path} {error}; skipped")
            continue
        name = f"{track}/{path.name}"
        yield Photo(
            name, f"torcs/{track}", words[0], f"torcs-data: {name}", "GPL-2+ or FAL-1.3", pixels
        )


def _procedural(skipped: Skipped) -> Iterator[Photo]:
    for number, (surface, maker) in enumerate(ROADS.items()):
        for k in range(PROCEDURAL_EACH):
            # Far from the seeds of the shipped bank, which is what learned tiles are scored beside
            pixels = make_tile(maker, np.random.default_rng([7919, number, k]), 256)
            name = f"{surface}-{k:02d}"
            yield Photo(name, f"procedural/{name}", surface, ORIGIN, LICENCE, pixels)
