"""Makes the banks of assets/textures again:  python -m drive_rl.textures.shipped

Roads and verges come from `procedural`, photographs from scikit-image. The same files come out
every time.
"""

from __future__ import annotations

from drive_rl.data import data_folder
from drive_rl.textures.banks import save_bank
from drive_rl.textures.photos import make_photo_tiles
from drive_rl.textures.procedural import ROADS, VERGES, make_tiles

PER_CLASS = 12


def main() -> None:
    """Write procedural, verges and photos."""
    folder = data_folder("assets") / "textures"
    save_bank(folder / "procedural", *make_tiles(ROADS, per_class=PER_CLASS, seed=0))
    save_bank(folder / "verges", *make_tiles(VERGES, per_class=PER_CLASS, seed=1))
    save_bank(folder / "photos", *make_photo_tiles(PER_CLASS))


if __name__ == "__main__":
    main()
