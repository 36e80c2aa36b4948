"""What an episode's drawn numbers make of colours, light and lens."""

from __future__ import annotations

import math

import numpy as np

from drive_rl.camera import factors as f
from drive_rl.camera.bodies import mixed_bits
from drive_rl.camera.pixels import mix, packed, scale
from drive_rl.simulator.jit import bare

HAZE = 0.0012  # of the clearest day [1/m]
TREE_DISTANCE = 150.0  # haze lies on the trees as if they were this far away [m]

LOOK_DTYPE = np.dtype(
    [
        ("road", "i8"),  # tiles
        ("verge", "i8"),
        ("road_mean", "i8"),  # mean green of the road's tile
        ("marking", "i8"),  # packed colours
        ("zenith", "i8"),
        ("horizon", "i8"),
        ("cloud_color", "i8"),
        ("tree_color", "i8"),
        ("fog_color", "i8"),
        ("clouds", "i8"),  # of 256
        ("wear", "i8"),  # of 256
        ("paint_key", "i8"),
        ("frame_key", "i8"),
        ("light", "f8"),
        ("night", "f8"),
        ("fog", "f8"),  # [1/m]
        ("shadow", "f8"),  # how much of the light a full shadow takes
        ("sun_x", "f8"),  # horizontal way of the light per metre of height, towards the sun
        ("sun_y", "f8"),
        ("sun_dx", "f8"),  # unit vector towards the sun
        ("sun_dy", "f8"),
        ("sun_z", "f8"),
        ("sun_shadow", "f8"),  # sharp shadows: 1 under a clear sky, 0 under clouds
        ("vehicle_colors", "f8"),
        ("vehicle_size", "f8"),
        ("rain", "f8"),
        ("blur", "f8"),
        ("noise", "f8"),
        ("gain", "f8"),  # of the picture: value * gain + offset
        ("offset", "f8"),
    ],
    align=True,
)


@bare
def make_look(look, camera, surfaces):  # type: ignore[no-untyped-def]
    """Fill a LOOK_DTYPE record from an environment's CAMERA_DTYPE record."""
    values = camera.values
    look.road, look.verge = camera.road, camera.verge
    road_texels = surfaces.road.texels
    look.road_mean = road_texels[camera.road, road_texels.shape[1] - 1] >> 8 & 255
    night, overcast, rain = values[f.NIGHT], values[f.SKY], values[f.RAIN]
    sun = math.radians(values[f.SUN_AZIMUTH])
    rise = math.radians(values[f.SUN_ELEVATION])
    look.sun_dx = math.cos(sun) * math.cos(rise)
    look.sun_dy = math.sin(sun) * math.cos(rise)
    look.sun_z = math.sin(rise)
    # Low suns would throw shadows of any length
    cotangent = min(math.cos(rise) / look.sun_z, 3.0)
    look.sun_x, look.sun_y = math.cos(sun) * cotangent, math.sin(sun) * cotangent
    look.sun_shadow = (1.0 - 0.8 * overcast) * (1.0 - night)
    look.shadow = 0.62
    look.night = night
    look.light = values[f.LIGHT] * (1.0 - 0.12 * rain) * (1.0 - 0.1 * overcast)
    look.rain = rain
    look.fog = values[f.FOG] + HAZE
    bright = int(256 * values[f.LIGHT] ** 0.5 * (1.0 - 0.93 * night))
    low_sun = max(0.0, 1.0 - values[f.SUN_ELEVATION] / 25.0) * (1.0 - overcast)
    gray = int(256 * overcast)
    warm = int(160 * low_sun)
    look.zenith = scale(mix(packed(74, 124, 200), packed(146, 150, 156), gray), bright)
    horizon = mix(packed(188, 208, 226), packed(196, 198, 200), gray)
    look.horizon = scale(mix(horizon, packed(250, 190, 120), warm), bright)
    look.cloud_color = scale(mix(packed(238, 240, 244), packed(168, 171, 175), gray), bright)
    look.fog_color = look.horizon
    # Thick fog hides the sky as well
    hidden = min(values[f.FOG] * 25.0, 1.0)
    look.zenith = mix(look.zenith, look.fog_color, int(256 * hidden))
    look.clouds = int((150 + 100 * overcast) * (1.0 - hidden))
    tree = scale(packed(58, 76, 50), int(256 * look.light * (1.0 - 0.93 * night)))
    look.tree_color = mix(
        tree, look.fog_color, int(256 * (1 - math.exp(-look.fog * TREE_DISTANCE)))
    )
    yellow = int(256 * values[f.MARKING_TINT])
    look.marking = mix(packed(232, 231, 224), packed(226, 178, 48), yellow)
    look.wear = int(256 * values[f.MARKING_WEAR])
    look.vehicle_colors = values[f.VEHICLE_COLORS]
    look.vehicle_size = values[f.VEHICLE_SIZE]
    # Ordinary traffic wears the same paint in all episodes, unless colours vary
    look.paint_key = mixed_bits(camera.key ^ f.PAINT_DRAW) if look.vehicle_colors > 0.0 else 0
    look.frame_key = mixed_bits(camera.key ^ mixed_bits(camera.frame + 0x10000))
    look.blur, look.noise = values[f.BLUR], values[f.NOISE]
    exposure, contrast = 2.0 ** values[f.EXPOSURE], values[f.CONTRAST]
    look.gain = exposure * contrast
    look.offset = 112.0 * (1.0 - contrast)
