"""Networks and losses: tileable by construction, small, and penalised as the papers say."""

from __future__ import annotations

import pytest
import torch

from drive_rl.errors import UsageError
from drive_rl.textures.augment import Compositor, diff_augment
from drive_rl.textures.losses import discriminator_loss, generator_loss, gradient_penalty
from drive_rl.textures.networks import Discriminator, Generator, count_parameters
from drive_rl.textures.spec import GanSpec, load_spec
from tests.textures.photos import tiny_spec


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _shaken(network: torch.nn.Module) -> torch.nn.Module:
    """With no weight at zero, so that every path is seen."""
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=_random(1)))
    return network


@pytest.mark.parametrize("attention", [False, True])
def test_noise_moved_around_the_torus_moves_the_picture(attention: bool) -> None:
    spec = tiny_spec(**{"generator.attention": attention}).generator
    torch.manual_seed(0)  # some draws of the weights saturate the picture
    generator = Generator(spec, 2)
    _shaken(generator).double()  # in single precision sums round by where they begin
    noise = [part.double() for part in generator.draw(1, 64, _random())]
    moved = [noise[0], *(part.roll(2 * 2**k, dims=3) for k, part in enumerate(noise[1:]))]
    labels, controls = torch.tensor([1]), torch.rand((1, 4), generator=_random()).double()
    with torch.no_grad():
        picture, other = (generator(each, labels, controls) for each in (noise, moved))
    assert picture.shape == (1, 3, 64, 64)
    torch.testing.assert_close(picture.roll(16, dims=3), other, atol=1e-9, rtol=1e-9)
    assert float(picture.std()) > 0.01


def test_the_class_and_each_control_change_the_picture() -> None:
    generator = _shaken(Generator(tiny_spec().generator, 2))
    noise = generator.draw(1, 32, _random())
    with torch.no_grad():
        plain = generator(noise, torch.tensor([0]), torch.zeros(1, 4))
        for label, controls in [(1, torch.zeros(1, 4)), *((0, row[None]) for row in torch.eye(4))]:
            other = generator(noise, torch.tensor([label]), controls)
            assert float((plain - other).abs().mean()) > 1e-4


def test_the_shipped_settings_make_networks_of_a_quarter_million_parameters_at_most() -> None:
    spec = load_spec("roadgan")
    for network in (Generator(spec.generator, 5), Discriminator(spec.discriminator, 5)):
        assert 150_000 < count_parameters(network) < 250_000


def test_spectral_norm_bounds_every_layer() -> None:
    spec = tiny_spec(**{"discriminator.spectral_norm": True}).discriminator
    discriminator = Discriminator(spec, 2)
    for _ in range(30):  # a step of power iteration each
        discriminator(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]), torch.zeros(2, 4))
    for module in discriminator.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert float(torch.linalg.matrix_norm(module.weight.flatten(1), 2)) < 1.1


def test_losses_are_those_of_the_papers() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])
    sigmoid = torch.sigmoid
    minimax = -(sigmoid(real).log() + (1 - sigmoid(fake)).log()).mean()
    torch.testing.assert_close(discriminator_loss("minimax", real, fake), minimax)
    torch.testing.assert_close(generator_loss("minimax", real, fake), -sigmoid(fake).log().mean())
    assert float(discriminator_loss("wasserstein", real, fake)) == -1.0
    assert float(generator_loss("wasserstein", real, fake)) == 0.0
    relativistic = -sigmoid(real - fake).log().mean()
    torch.testing.assert_close(discriminator_loss("relativistic", real, fake), relativistic)
    torch.testing.assert_close(
        generator_loss("relativistic", real, fake), -sigmoid(fake - real).log().mean()
    )


def test_penalties_of_a_linear_critic_are_known() -> None:
    slope = torch.randn((3, 8, 8), generator=_random())
    real, fake = torch.randn((2, 4, 3, 8, 8), generator=_random(1)).unbind()

    def critic(x: torch.Tensor) -> torch.Tensor:
        return (x * slope).sum(dim=(1, 2, 3))

    norm = slope.norm()
    found = gradient_penalty("relativistic", critic, real, fake, _random())
    torch.testing.assert_close(found, norm**2)
    found = gradient_penalty("wasserstein", critic, real, fake, _random())
    torch.testing.assert_close(found, (norm - 1) ** 2, rtol=1e-4, atol=1e-4)
    assert float(gradient_penalty("minimax", critic, real, fake, _random())) == 0.0


def test_diff_augment_lets_the_gradient_through_and_is_repeatable() -> None:
    x = torch.rand((4, 3, 32, 32), generator=_random(), requires_grad=True)
    parts = ("color", "translation", "cutout")
    first = diff_augment(x, parts, _random(2))
    torch.testing.assert_close(first, diff_augment(x, parts, _random(2)))
    first.sum().backward()
    assert x.grad is not None
    assert bool((x.grad.abs().sum(dim=(1, 2, 3)) > 0).all())
    torch.testing.assert_close(diff_augment(x, (), _random()), x)


def test_controls_do_what_they_are_called() -> None:
    compositor = Compositor(32)
    x = torch.full((16, 3, 32, 32), 0.4) + 0.05 * torch.randn((16, 3, 32, 32), generator=_random())

    def mean(**amounts: float) -> float:
        names = ("wetness", "wear", "cracks", "snow")
        row = torch.tensor([[amounts.get(name, 0.0) for name in names]]).expand(16, 4)
        return float(compositor(x, row, _random(3)).mean())

    plain = mean()
    assert plain == pytest.approx(float(x.clamp(0, 1).mean()), abs=1e-6)
    assert mean(wetness=1.0) < plain
    assert mean(cracks=1.0) < mean(cracks=0.4) < plain
    assert mean(wear=1.0) > plain
    assert mean(snow=1.0) > mean(snow=0.5) > plain


def test_unknown_settings_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'penalty'"):
        load_spec("roadgan", {"penatly": 1.0})
    with pytest.raises(UsageError, match="generator"):
        load_spec("roadgan", {"generator.width": 3})
    with pytest.raises(UsageError, match="loss 'hinge'"):
        load_spec("roadgan", {"loss": "hinge"})
    with pytest.raises(UsageError, match="did you mean 'roadgan'"):
        load_spec("roadgna")
    assert isinstance(load_spec("roadgan", {"loss": "minimax"}), GanSpec)
