"""What cameras show in the viewer: the policy's frame, free views, textures, saliency."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import drive_rl
from drive_rl.environments.cameras import newest_frame, road_textures, state_of_scene
from drive_rl.evaluation.baselines import make_baseline
from drive_rl.presets import load_environment
from drive_rl.viewer.controller import Command, Controller
from drive_rl.viewer.episode import Episode
from drive_rl.viewer.figures import figures
from drive_rl.viewer.saliency import saliency
from drive_rl.viewer.screen import Screen

from .conftest import KeepLane, OneStraight, make_scene

SMALL = {
    "observation": {"type": "CameraObservation", "width": 40, "height": 32, "stack_size": 2},
    "vehicles_count": 6,
}


class Looks:
    """Goes by the brightness of the picture's lower half."""

    name = "looks"

    def __init__(self):
        self.asked = 0

    def predict(self, observations, deterministic=True):
        self.asked += 1
        return np.full(len(observations), 4)

    def action_probabilities(self, observations):
        bright = observations[:, :, 16:].mean(axis=(1, 2, 3)) / 255
        return np.stack([(1 - bright) / 4] * 4 + [bright], axis=1)


@pytest.fixture(params=["compiled", "reference"])
def make_control(request):
    made = []

    def make(policy=None, env="highway-fast-v0", config=SMALL, **changes):
        scene = load_environment(env, config)
        envs = drive_rl.make_vec(
            scene, 1, engine=request.param, autoreset_mode=AutoresetMode.DISABLED
        )
        made.append(envs)
        policy = policy or make_baseline("idle", scene)
        episode = Episode(envs, policy, getattr(policy, "name", "idle"))
        return Controller([episode], **changes)

    yield make
    for envs in made:
        envs.close()


def sight(control, config=None):
    return figures(control, control.rides[0], [], config or {}).sight


def drive(control, decisions):
    for _ in range(decisions * 4):
        control.tick(0.25)


def test_the_frame_is_the_newest_that_the_policy_is_given(make_control):
    control = make_control()
    drive(control, 2)
    moment = control.rides[0].moment(control.position)
    shown = sight(control)
    newest = moment.observations[0, -3:].transpose(1, 2, 0)
    np.testing.assert_array_equal(shown.picture, newest)
    assert shown.picture.shape == (32, 40, 3)
    assert shown.saliency is None  # a baseline does not look
    assert shown.note == moment.texture.replace("_", " ") != ""


def test_going_back_shows_the_frame_of_then(make_control):
    control = make_control()
    first = sight(control).picture
    drive(control, 2)
    assert (sight(control).picture != first).any()
    for _ in range(2):
        control.handle(Command.STEP_BACK)
        drive(control, 1)
    np.testing.assert_array_equal(sight(control).picture, first)


def test_a_policy_that_looks_has_its_saliency_over_the_frame(make_control):
    control = make_control(Looks())
    shown = sight(control)
    assert shown.saliency.shape == (32, 40)
    # Rows that lie in the lower half move its choice, those in the upper half do not.
    assert shown.saliency[:12].max() == 0.0 < shown.saliency[20:].max() == 1.0
    assert "occlusion" in shown.note
    control.handle(Command.SALIENCY)
    assert sight(control).saliency is None


def test_the_next_texture_is_on_the_road_at_once_and_for_the_next_seeds(make_control):
    control = make_control(Looks())
    names, _ = road_textures(control.rides[0].episode.camera)
    before = sight(control).picture
    asked = control.rides[0].episode.policy.asked
    control.handle(Command.NEXT_TEXTURE)
    assert control.notice == f"road: {names[0]}"
    other = sight(control)
    assert (other.picture != before).mean() > 0.05
    np.testing.assert_array_equal(other.picture[:8], before[:8])  # the sky is what it was
    assert control.rides[0].episode.policy.asked == asked + 1, "it has to look again"
    assert control.rides[0].episode.moments[0].observations[0, -3:].tolist() == (
        other.picture.transpose(2, 0, 1).tolist()
    )
    control.handle(Command.NEXT_SEED)
    assert sight(control).note.startswith(other.note.partition(" · ")[0])
    control.handle(Command.SAME_SEED)
    for _ in range(len(names)):
        control.handle(Command.NEXT_TEXTURE)
    assert control.notice == "road: its own"


def test_back_at_its_own_texture_the_frame_is_what_it_was(make_control):
    control = make_control()
    before = sight(control).picture
    names, _ = road_textures(control.rides[0].episode.camera)
    for _ in range(len(names) + 1):
        control.handle(Command.NEXT_TEXTURE)
    np.testing.assert_array_equal(sight(control).picture, before)


def test_a_texture_moves_no_car(make_control):
    plain, dressed = make_control(), make_control()
    drive(plain, 4)
    drive(dressed, 2)
    dressed.tick(0.1)  # between two decisions, with moments ahead
    dressed.rides[0].episode.extend()
    dressed.handle(Command.NEXT_TEXTURE)
    drive(dressed, 2)
    for ours, theirs in zip(
        dressed.rides[0].episode.moments, plain.rides[0].episode.moments, strict=False
    ):
        np.testing.assert_array_equal(ours.scene.position, theirs.scene.position)
        assert ours.episode_return == theirs.episode_return


def test_c_goes_through_the_cameras_and_back(make_control):
    control = make_control()
    seen = [sight(control)]
    for _ in range(4):
        control.handle(Command.NEXT_CAMERA)
        seen.append(sight(control))
    titles = [None if each is None else each.title for each in seen]
    policy = "What the policy sees"
    assert titles == [policy, "Free camera, front", "Free camera, top", None, policy]


@pytest.mark.parametrize("env", ["highway-fast-v0", "intersection-v0"])
def test_without_a_camera_c_switches_a_free_one_on_and_t_paves_its_road(make_control, env):
    control = make_control(env=env, config={})
    assert sight(control) is None
    control.handle(Command.NEXT_TEXTURE)
    assert "C switches one on" in control.notice
    control.handle(Command.NEXT_CAMERA)
    own = sight(control)
    assert own.picture.std() > 10
    control.handle(Command.NEXT_TEXTURE)
    paved = sight(control)
    assert (paved.picture != own.picture).mean() > 0.05
    assert paved.note != own.note
    drive(control, 1)
    assert (sight(control).picture != paved.picture).any(), "it does not move with the ego"


def test_a_free_camera_sees_what_a_policy_s_camera_would(make_control):
    control = make_control()
    episode = control.rides[0].episode
    from drive_rl.environments.cameras import FreeCamera, network_of

    names, tiles = road_textures()
    camera = FreeCamera(
        episode.camera.options, network_of(episode.envs), episode.camera, names, tiles
    )
    ours, theirs = camera.look(episode.moments[0].scene, None), newest_frame(episode.camera)
    # The paint of the traffic is drawn anew; everything else is the same.
    assert (ours != theirs).mean() < 0.1


def test_an_environment_that_tells_no_road_says_so():
    control = Controller([Episode(OneStraight(), KeepLane(), "keep")])
    control.handle(Command.NEXT_CAMERA)
    assert control.notice.startswith("no camera: ")
    assert control.view == "off"


def test_a_scene_s_entries_become_what_a_camera_sees():
    scene = make_scene([(0.0, 0.0), (30.0, 4.0), (50.0, 0.0)], kinds=[0, 1, 2], speeds=[20, 18, 0])
    state = state_of_scene(scene)
    assert state.environments[0].num_vehicles == 2
    assert state.environments[0].num_objects == 1
    assert state.vehicles[0].x.tolist() == [0.0, 30.0]
    assert state.objects[0].x.tolist() == [50.0]
    assert state.agents[0, 0] == 0


def test_the_panel_has_the_camera_in_it(make_control):
    import pygame

    control = make_control(Looks())
    config = {"screen_width": 600, "screen_height": 150}
    screen = Screen(config, "highway-fast-v0", [])
    surface = pygame.Surface((1280, 572), 0, 32)
    screen.draw(surface, control)
    covered = pygame.surfarray.array3d(surface)
    control.view = "off"
    screen.draw(surface, control)
    assert (pygame.surfarray.array3d(surface) != covered).mean() > 0.02


def test_a_gradient_points_at_the_pixels_that_decide():
    torch = pytest.importorskip("torch")
    from gymnasium import spaces
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.torch_layers import FlattenExtractor

    space = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    network = ActorCriticPolicy(
        space,
        spaces.Discrete(2),
        lambda _: 1e-3,
        net_arch=[],
        features_extractor_class=FlattenExtractor,
    )
    weights = torch.zeros(2, 3, 36, 36)
    weights[1, :, 20:30, 5:15] = 1.0
    with torch.no_grad():
        network.action_net.weight.copy_(weights.flatten(1))

    class Trained:
        pass

    policy = Trained()
    policy.network = network
    found = saliency(policy, np.full((1, 3, 36, 36), 100, np.uint8), 1)
    assert found.method == "gradient"
    inside = found.strength[22:28, 7:13]
    assert inside.min() > 0.9
    assert found.strength[:15].max() < 0.01


def test_what_is_no_picture_has_no_saliency():
    assert saliency(KeepLane(), np.zeros((1, 2), np.float32), 1) is None
    assert saliency(object(), np.zeros((1, 3, 8, 8), np.uint8), 1) is None


class Reads:
    """Goes by what an encoder says of the frames."""

    name = "reads"

    def __init__(self):
        self.given = []

    def predict(self, observations, deterministic=True):
        self.given.append(observations.copy())
        return np.full(len(observations), 1)

    def action_probabilities(self, observations):
        likely = 1 / (1 + np.exp(-observations[:, :5]))
        return likely / likely.sum(axis=1, keepdims=True)


def test_a_policy_behind_an_encoder_has_its_saliency_over_the_frame_too():
    scene = load_environment("highway-perception-v0", {"vehicles_count": 6})
    envs = drive_rl.make_vec(scene, 1, autoreset_mode=AutoresetMode.DISABLED)
    policy = Reads()
    control = Controller([Episode(envs, policy, policy.name)])
    try:
        shown = sight(control)
        assert shown.saliency.shape == shown.picture.shape[:2]
        assert shown.saliency.max() == 1.0 > shown.saliency.min()
        # Another texture is seen through the encoder as well.
        control.handle(Command.NEXT_TEXTURE)
        drive(control, 1)
        assert {given.shape[1:] for given in policy.given} == {envs.single_observation_space.shape}
        assert any((given[0] != policy.given[0][0]).any() for given in policy.given)
    finally:
        envs.close()
