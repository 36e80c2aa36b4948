"""Sets of tiles or crops to be compared: by surface and by photograph, so that like meets like.

What differs between two sets must be how their surfaces look, and not how many crops of each they
happen to have. So every surface counts as much, and within it every photograph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drive_rl.textures.features import Features, extract
from drive_rl.textures.prepare import Data

Tiles = NDArray[np.uint8]
MOST = 256  # of a set that are looked at
_SURFACES = {  # of the classes of `procedural` those that are named by their state
    **dict.fromkeys(("asphalt_new", "asphalt_old", "wet", "patched", "cracked"), "asphalt")
}


class Crops(NamedTuple):
    """Some tiles or crops, and what they are of.

    Attributes:
        tiles: uint8 (count, side, side, 3).
        surfaces: of each.
        photos: source image of each; a tile that was made is its own.
        found: features of each.
    """

    tiles: Tiles
    surfaces: tuple[str, ...]
    photos: tuple[str, ...]
    found: Features

    def chosen(self, rows: Sequence[int] | NDArray[Any]) -> Crops:
        """Some of them."""
        return Crops(
            self.tiles[rows],
            tuple(self.surfaces[row] for row in rows),
            tuple(self.photos[row] for row in rows),
            self.found[rows],
        )

    def of(self, surfaces: Sequence[str], most: int = MOST) -> Crops:
        """As many of each of these surfaces, of each of its photographs.

        All stand in for a surface that there is none of: it is what one would have instead.
        """
        rows: list[int] = []
        for surface in surfaces:
            mine = self._standing_for(surface)
            rows += spread([self.photos[k] for k in mine], mine, max(most // len(surfaces), 1))
        return self.chosen(rows)

    def drawn(self, counts: Mapping[str, int], rng: np.random.Generator) -> Crops:
        """Independent samples: so many photographs of each surface by chance, a crop of each.

        The crops are in the order of `counts`. Tiles stand in for one another as in `of`.
        """
        rows: list[int] = []
        for surface, count in counts.items():
            of_photo = self._by_photo(surface)
            photos = rng.permutation(sorted(of_photo))[:count]
            rows += [int(rng.choice(of_photo[str(photo)])) for photo in photos]
        return self.chosen(rows)

    def samples_of(self, surface: str) -> int:
        """How many independent samples there are of a surface, or stand in for it."""
        return len(self._by_photo(surface))

    def _by_photo(self, surface: str) -> dict[str, list[int]]:
        of_photo: dict[str, list[int]] = {}
        for row in self._standing_for(surface):
            of_photo.setdefault(self.photos[row], []).append(row)
        return of_photo

    def _standing_for(self, surface: str) -> list[int]:
        mine = [k for k, name in enumerate(self.surfaces) if name == surface]
        return mine or list(range(len(self.surfaces)))

    def photos_of(self, surface: str) -> list[str]:
        """The photographs of a surface, sorted."""
        pairs = zip(self.photos, self.surfaces, strict=True)
        return sorted({photo for photo, name in pairs if name == surface})


def spread(photos: Sequence[str], rows: Sequence[int], most: int) -> list[int]:
    """At most so many of `rows`, evenly over their photographs and from all over each."""
    of_photo: dict[str, list[int]] = {}
    for photo, row in zip(photos, rows, strict=True):
        of_photo.setdefault(photo, []).append(row)
    share = -(-most // len(of_photo))
    kept = [row for photo in sorted(of_photo) for row in _evenly(of_photo[photo], share)]
    return _evenly(kept, most)


def look(tiles: Tiles, classes: Sequence[str] | None, features: str, side: int) -> Crops:
    """Tiles that were made, and their features.

    Args:
        classes: of each; None takes all as of one.
        side: of the crops that they will be compared with; larger tiles are cut [px].
    """
    names = ["" if classes is None else classes[k] for k in range(len(tiles))]
    photos = [str(k) for k in range(len(tiles))]
    return _looked(tiles, [_SURFACES.get(name, name) for name in names], photos, features, side)


def look_at_photos(data: Data, split: str, features: str) -> Crops | None:
    """The crops of a split or of `all`, and their features; None where it has none."""
    rows = data.select(split)
    if not len(rows):
        return None
    table = [data.table[row] for row in rows]
    surfaces, photos = ([row[key] for row in table] for key in ("class", "source"))
    return _looked(data.crops[rows], surfaces, photos, features, data.crops.shape[1])


def _looked(
    tiles: Tiles, surfaces: list[str], photos: list[str], features: str, side: int
) -> Crops:
    names = sorted(set(surfaces))
    rows = []
    for name in names:
        mine = [k for k, surface in enumerate(surfaces) if surface == name]
        rows += spread([photos[k] for k in mine], mine, max(MOST // len(names), 1))
    kept = tiles[rows]
    found = extract(features, kept[:, :side, :side])
    return Crops(kept, tuple(surfaces[k] for k in rows), tuple(photos[k] for k in rows), found)


def halves(photographs: Crops, draws: int, seed: int) -> Iterator[tuple[Crops, Crops]]:
    """Photographs against other photographs of the same surfaces, half of each, by chance.

    Surfaces of one photograph are left out.
    """
    rng = np.random.default_rng(seed)
    surfaces = [
        name for name in sorted(set(photographs.surfaces)) if len(photographs.photos_of(name)) > 1
    ]
    for _ in range(draws if surfaces else 0):
        first: set[tuple[str, str]] = set()
        for name in surfaces:
            photos = rng.permutation(photographs.photos_of(name))
            # Of an odd number the one more is now on this side, now on that
            middle = len(photos) // 2 + int(len(photos) % 2 and rng.random() < 0.5)
            first |= {(name, str(photo)) for photo in photos[:middle]}
        pairs = list(zip(photographs.surfaces, photographs.photos, strict=True))
        sides = [
            [k for k, pair in enumerate(pairs) if pair[0] in surfaces and (pair in first) == here]
            for here in (True, False)
        ]
        first_half, second_half = (photographs.chosen(rows).of(surfaces) for rows in sides)
        yield first_half, second_half


def samples(surfaces: Sequence[str], sets: Sequence[Crops | None]) -> dict[str, int]:
    """Of each surface, as many independent samples as every set has that is to be compared.

    The last set is all photographs, of which there must be as many for each of two halves: then
    the figures of all sets, and of photographs against photographs, are of equally many.
    """
    *others, everything = (each for each in sets if each is not None)
    return {
        surface: min(
            len(everything.photos_of(surface)) // 2, *(each.samples_of(surface) for each in others)
        )
        for surface in surfaces
    }


def joined(parts: Sequence[Crops | None]) -> Crops:
    """Several sets as one."""
    there = [part for part in parts if part is not None]
    return Crops(
        np.concatenate([part.tiles for part in there]),
        tuple(name for part in there for name in part.surfaces),
        tuple(name for part in there for name in part.photos),
        np.concatenate([part.found for part in there]),
    )


def _evenly(rows: list[int], most: int) -> list[int]:
    if len(rows) <= most:
        return rows
    return [rows[k] for k in np.linspace(0, len(rows) - 1, most).round().astype(int)]
