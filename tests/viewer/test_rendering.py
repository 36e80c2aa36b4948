"""Pictures show what is in the scene, where it is, and need no display."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

import drive_rl
from drive_rl.environments import palette
from drive_rl.environments.motion import between
from drive_rl.environments.rendering import Overlay, Renderer, View, draw, fitting_view
from drive_rl.environments.scene import Kind

from .conftest import make_scene

VIEW = View(10.0, (0.5, 0.5))


def near(picture, color, tolerance=30):
    """Where a picture has a colour, (height, width) bool."""
    return (np.abs(picture.astype(int) - color).max(axis=2) <= tolerance).astype(bool)


def centre_of(mask):
    rows, columns = np.nonzero(mask)
    return columns.mean(), rows.mean()


def test_the_ego_is_drawn_in_its_own_colour_at_its_place():
    picture = draw(make_scene([(100.0, 0.0), (115.0, 4.0)]), (400, 200), view=VIEW)
    assert picture.shape == (200, 400, 3)
    assert picture.dtype == np.uint8
    x, y = centre_of(near(picture, palette.EGO))
    assert abs(x - 200) < 4
    assert abs(y - 100) < 3


def test_traffic_stands_where_the_scene_has_it():
    with_other = draw(make_scene([(100.0, 0.0), (115.0, 4.0)]), (400, 200), view=VIEW)
    alone = draw(make_scene([(100.0, 0.0)]), (400, 200), view=VIEW)
    x, y = centre_of((with_other != alone).any(axis=2))
    assert abs(x - 350) < 2
    assert abs(y - 140) < 2


def test_a_turned_vehicle_covers_what_its_rectangle_covers():
    picture = draw(make_scene([(100.0, 0.0)], headings=[np.pi / 2]), (400, 200), view=VIEW)
    alone = draw(make_scene([(900.0, 0.0)], headings=[0.0]), (400, 200), view=VIEW)
    rows, columns = np.nonzero(near(picture, palette.EGO, 60))
    assert rows.max() - rows.min() > columns.max() - columns.min()
    rows, columns = np.nonzero(near(alone, palette.EGO, 60))
    assert rows.max() - rows.min() < columns.max() - columns.min()


def test_braking_and_indicating_light_up():
    plain = draw(make_scene([(100.0, 0.0)]), (200, 100), view=VIEW)
    braking = draw(make_scene([(100.0, 0.0)], acceleration=np.array([-4.0])), (200, 100), view=VIEW)
    turning = draw(make_scene([(100.0, 0.0)], lane_change=np.array([1])), (200, 100), view=VIEW)
    rear, right = np.s_[:, 60:85], np.s_[55:75, :]
    assert braking[rear][..., 0].astype(int).sum() > plain[rear][..., 0].astype(int).sum() + 1000
    assert turning[right][..., 0].astype(int).sum() > plain[right][..., 0].astype(int).sum() + 1000


def test_indicators_blink():
    scenes = [make_scene([(0.0, 0.0)], lane_change=np.array([-1]), time=t) for t in (0.0, 0.5)]
    on, off = (draw(scene, (200, 100), view=VIEW) for scene in scenes)
    assert not np.array_equal(on, off)


def test_a_crashed_ego_is_marked_and_still_the_ego():
    picture = draw(make_scene([(0.0, 0.0)], crashed=np.array([True])), (200, 100), view=VIEW)
    assert near(picture, palette.CRASHED, 50).sum() > 50
    assert near(picture, palette.EGO, 40).sum() > 50
    assert near(picture, (255, 255, 255), 25).sum() > 20


def test_a_goal_is_drawn_below_the_ego_and_an_obstacle_in_stripes():
    kinds = [Kind.EGO, Kind.GOAL, Kind.OBSTACLE]
    picture = draw(
        make_scene([(0.0, 0.0), (0.0, 0.0), (8.0, 0.0)], kinds=kinds), (400, 200), view=VIEW
    )
    without_goal = draw(make_scene([(0.0, 0.0)]), (400, 200), view=VIEW)
    assert near(picture, palette.EGO).sum() == near(without_goal, palette.EGO).sum()
    assert near(picture, palette.BARRIER).sum() > 100
    assert near(picture, palette.BARRIER_STRIPE, 12).sum() > 50


def test_stripes_are_where_highway_env_has_them():
    picture = draw(make_scene([(100.0, 50.0)]), (400, 1200), view=VIEW)
    row = picture[600 - 480, :, 0]  # the line between the lanes, y = 2 m, 48 m above the ego
    bright = row > 180
    starts = np.nonzero(bright[1:] & ~bright[:-1])[0] + 1
    assert len(starts) >= 8
    world = 100.0 + (starts - 200) / 10.0
    np.testing.assert_allclose(world / 4.33, np.round(world / 4.33), atol=0.04)


def test_the_camera_follows_the_ego():
    pictures = [draw(make_scene([(x, 0.0)]), (400, 200), view=VIEW) for x in (0.0, 433.0)]
    for picture in pictures:
        assert abs(centre_of(near(picture, palette.EGO))[0] - 200) < 4


def test_a_used_renderer_draws_the_same_picture_as_a_new_one():
    renderer = Renderer()
    for x in np.linspace(0.0, 120.0, 7):
        scene = make_scene([(x, 0.0), (x + 9.3, 4.0)])
        again = draw(scene, (300, 120), view=VIEW, renderer=renderer)
        np.testing.assert_array_equal(again, draw(scene, (300, 120), view=VIEW))


def test_plan_and_trails_are_drawn_when_asked_for():
    plan = np.stack([np.arange(0.0, 40.0, 2.0), np.zeros(20)], axis=1)
    scene = make_scene([(0.0, 0.0)], plan=plan)
    plain = draw(scene, (400, 200), view=VIEW)
    for overlay in (Overlay(plan=True), Overlay(trails=[plan - [40.0, 4.0]])):
        assert (draw(scene, (400, 200), view=VIEW, overlay=overlay) != plain).sum() > 100


@pytest.mark.parametrize("driver", [None, "dummy", "offscreen"])
def test_drawing_needs_no_display_and_no_video_driver(driver):
    program = (
        "import numpy as np, pygame, sys; sys.path.insert(0, 'tests');"
        "from viewer.conftest import make_scene;"
        "from drive_rl.environments.rendering import draw;"
        "picture = draw(make_scene([(0.0, 0.0), (9.0, 4.0)]), (200, 80));"
        "assert not pygame.display.get_init();"
        "print(int(picture.astype(np.int64).sum()))"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "SDL_VIDEODRIVER")}
    if driver:
        env["SDL_VIDEODRIVER"] = driver
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, cwd=root
    )
    assert done.returncode == 0, done.stderr
    expected = draw(make_scene([(0.0, 0.0), (9.0, 4.0)]), (200, 80)).astype(np.int64).sum()
    assert int(done.stdout) == expected


@pytest.mark.parametrize("name", ["roundabout-v1", "racetrack-v1", "parking-v0", "two-way-v0"])
def test_real_scenes_show_road_under_every_vehicle(name):
    env = drive_rl.make(name, engine="reference")
    env.reset(seed=0)
    scene = env.unwrapped.scene()
    view = fitting_view(env.unwrapped.config, (900, 700))
    bare = dataclasses.replace(scene, kind=np.full(len(scene), Kind.TRAFFIC), length=scene.length)
    picture = draw(
        dataclasses.replace(bare, length=bare.length * 0 + 0.02, width=bare.width * 0 + 0.02),
        (900, 700),
        view=view,
    )
    origin = np.array(view.origin(scene, (900, 700)))
    for place in scene.position[scene.kind <= Kind.TRAFFIC]:
        x, y = np.round(place * view.scaling - origin).astype(int)
        if 20 < x < 880 and 20 < y < 680:
            ring = picture[y - 12 : y + 13, x - 12 : x + 13].reshape(-1, 3).astype(int)
            greener = (ring[:, 1] > ring[:, 0] + 8).mean()
            assert greener < 0.2
    env.close()


def test_motion_between_two_moments_is_the_car_s_own():
    before = make_scene([(0.0, 0.0), (50.0, 4.0)], speeds=[20.0, 10.0])
    after = make_scene([(25.0, 0.0), (60.0, 4.0)], speeds=[30.0, 10.0], time=1.0)
    middle = between(before, after, 0.5)
    # Constant acceleration of 10 m/s^2: 20 * 0.5 + 10 * 0.5^2 / 2 = 11.25 m.
    np.testing.assert_allclose(middle.position, [[11.25, 0.0], [55.0, 4.0]])
    np.testing.assert_allclose(middle.speed, [25.0, 10.0])
    assert middle.time == 0.5


def test_motion_ends_exactly_at_the_moments():
    before, after = make_scene([(0.0, 0.0)]), make_scene([(20.0, 1.0)], time=1.0)
    assert between(before, after, 0.0) is before
    assert between(before, after, 1.0) is after


def test_motion_matches_vehicles_by_identity_and_does_not_drag_newcomers():
    before = make_scene([(0.0, 0.0), (30.0, 4.0)], identity=np.array([7, 8]))
    after = make_scene(
        [(20.0, 0.0), (400.0, 4.0), (50.0, 4.0)], identity=np.array([7, 9, 8]), time=1.0
    )
    middle = between(before, after, 0.5)
    np.testing.assert_allclose(middle.position, [[10.0, 0.0], [40.0, 4.0]])
    # A vehicle that was put elsewhere (a slot used again) does not fly across the picture.
    jumped = make_scene([(20.0, 0.0), (900.0, 4.0)], identity=np.array([7, 8]), time=1.0)
    np.testing.assert_allclose(between(before, jumped, 0.5).position[1], [30.0, 4.0])


def test_motion_turns_the_short_way_round():
    before = make_scene([(0.0, 0.0)], headings=[3.1])
    after = make_scene([(-20.0, 0.0)], headings=[-3.1], time=1.0)
    turned = between(before, after, 0.5).heading[0]
    assert abs(np.cos(turned) + 1) < 1e-6


def test_a_scaling_out_of_range_is_refused():
    with pytest.raises(ValueError, match="scaling 0 px/m"):
        View(0)
