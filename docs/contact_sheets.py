"""Makes the pictures of docs/camera.md:  python -m docs.contact_sheets [NAME ...]

Names: scenes, factors, lane_change, textures. Frames come from the compiled engine under fixed
seeds, so the same pictures come out every time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import pygame

import drive_rl
from drive_rl.camera.factors import FACTORS
from drive_rl.data import data_folder
from drive_rl.textures.banks import bank_names, load_bank
from tests.camera.looking import SCENES, camera_config, newest_frame

IMAGES = Path(__file__).parent / "images"
FONT = data_folder("assets") / "fonts" / "Roboto-Regular.ttf"

# Ranges from low to high that show what a factor does
SHOWN = {
    "fog": (0.0, 0.04),
    "rain": (0.0, 1.0),
    "light": (0.4, 1.0),
    "contrast": (0.6, 1.4),
    "exposure": (-0.8, 0.8),
    "sun_azimuth": (-120.0, 120.0),
    "sun_elevation": (12.0, 80.0),
    "vehicle_size": (0.8, 1.2),
    "camera_height": (-0.6, 2.0),
    "camera_pitch": (-6.0, 6.0),
    "camera_roll": (-8.0, 8.0),
    "field_of_view": (-30.0, 30.0),
    "blur": (0.0, 1.5),
    "noise": (0.0, 24.0),
}


def frame(env_id: str, size: tuple[int, int] = (168, 126), seed: int = 1, **own: Any) -> Any:
    """The newest frame after three idle steps, uint8 (height, width, 3)."""
    width, height = size
    return newest_frame(env_id, steps=3, seed=seed, width=width, height=height, **own)


def sheet(rows: list[list[tuple[str, Any]]], path: Path) -> None:
    """Pictures with captions, in rows."""
    pygame.font.init()
    font = pygame.font.Font(str(FONT), 12)
    height, width = rows[0][0][1].shape[:2]
    gap, line = 4, 16
    columns = max(map(len, rows))
    size = (columns * (width + gap) + gap, len(rows) * (height + line + gap) + gap)
    surface = pygame.Surface(size, 0, 32)
    surface.fill((255, 255, 255))
    for i, row in enumerate(rows):
        for j, (caption, picture) in enumerate(row):
            place = (gap + j * (width + gap), gap + i * (height + line + gap))
            image = pygame.surfarray.make_surface(picture.transpose(1, 0, 2))
            surface.blit(font.render(caption, True, (30, 30, 30)), place)
            surface.blit(image, (place[0], place[1] + line))
    path.parent.mkdir(exist_ok=True)
    imageio.imwrite(path, pygame.surfarray.array3d(surface).transpose(1, 0, 2), quality=80)
    print(path)


def scenes() -> None:
    """Every scene by both views."""
    cells = []
    for env_id in SCENES:
        if "multi-agent" in env_id:
            continue  # it looks like intersection-v0
        cells.append((f"{env_id} front", frame(env_id)))
        cells.append((f"{env_id} top", frame(env_id, view="top")))
    sheet([cells[k : k + 6] for k in range(0, len(cells), 6)], IMAGES / "camera-scenes.jpg")


def factors() -> None:
    """Every factor at low, middle and high, and each alone."""
    cells = []
    for factor in FACTORS:
        if factor.name == "dropped_frames":
            continue
        low, high = SHOWN.get(factor.name, (factor.low, factor.high))
        for value in (low, (low + high) / 2, high):
            picture = frame(
                "highway-v0", size=(126, 96), seed=4, randomization={factor.name: value}
            )
            cells.append((f"{factor.name} {value:g}", picture))
    sheet([cells[k : k + 6] for k in range(0, len(cells), 6)], IMAGES / "camera-factors.jpg")


def lane_change() -> None:
    """A lane change by both views, decision by decision."""
    rows: list[list[tuple[str, Any]]] = [[], []]
    for row, view in zip(rows, ("front", "top"), strict=True):
        config = camera_config(view=view, width=126, height=126, stack_size=1)
        config["policy_frequency"] = 3
        env = drive_rl.make("highway-v0", config=config)
        env.reset(seed=2)
        for k, action in enumerate((1, 0, 1, 1, 1, 1, 1)):
            picture = env.step(action)[0]
            row.append((f"{view}, {(k + 1) / 3:.1f} s", picture.transpose(1, 2, 0)))
        env.close()
    sheet(rows, IMAGES / "camera-lane-change.jpg")


def textures() -> None:
    """The banks' classes on a road."""
    cells = []
    for name in bank_names():
        surface = "verge_texture" if name == "verges" else "road_texture"
        for each in sorted({row["class"] for row in load_bank(name).table}):
            choice = {surface: {"bank": name, "classes": [each]}}
            picture = frame("highway-v0", size=(144, 108), seed=4, randomization=choice)
            cells.append((f"{name}: {each}", picture))
    sheet([cells[k : k + 6] for k in range(0, len(cells), 6)], IMAGES / "camera-textures.jpg")


def main(names: list[str]) -> None:
    """Make the named sheets, or all."""
    makers = {f.__name__: f for f in (scenes, factors, lane_change, textures)}
    for name in names or makers:
        makers[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
