"""Weight noise: what it is, where it goes, and what no gradient reaches."""

import pytest
import torch
import torch.nn.functional as F

from oatlib._random import randn_like_on
from oatlib.layers.noise import START, WeightNoise
from oatlib.layers.setting import ADV, CLEAN, Setting, Width
from oatlib.layers.unit import Dials, Unit, UnitOptions


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_noise_has_the_deviation_of_the_weights_times_alpha():
    weight = 3 + 0.2 * torch.randn(64, 64, 3, 3, generator=generator())
    noise = WeightNoise()
    assert noise.alpha.item() == START == 0.25
    eta = noise(weight, generator(1)).detach()
    assert eta.shape == weight.shape
    assert eta.std().item() == pytest.approx(0.25 * 0.2, rel=0.02)
    assert abs(eta.mean().item()) < 0.001  # the mean of the weights, 3, is no part of it


@pytest.mark.parametrize("n", [2, 3, 27])
def test_sigma_divides_by_one_less_than_the_number_of_weights(n):
    """As in FLOAT's public code. In small layers it matters: two weights of -1 and 1 have σ = sqrt(2), not 1."""
    weight = torch.randn(n, 1, 1, 1, dtype=torch.float64, generator=generator(4))
    values = weight.flatten().tolist()
    mean = sum(values) / n
    variance = sum((v - mean) ** 2 for v in values) / (n - 1)
    assert WeightNoise().double().standard_deviation(weight).item() == pytest.approx(0.25 * variance**0.5, rel=1e-12)
    assert WeightNoise().standard_deviation(torch.tensor([-1.0, 1.0])).item() == pytest.approx(0.25 * 2**0.5)


def test_no_gradient_reaches_deviation_and_draw():
    weight = torch.randn(4, 3, 3, 3, generator=generator()).requires_grad_()
    noise, direction = WeightNoise(), torch.randn(4, 3, 3, 3, generator=generator(2))
    (noise(weight, generator(1)) * direction).sum().backward()
    assert weight.grad is None
    sigma = (weight.detach() - weight.mean()).square().sum().div(weight.numel() - 1).sqrt()
    eta = randn_like_on(weight, generator(1)) * sigma.detach()
    torch.testing.assert_close(noise.alpha.grad, (eta * direction).sum())


def test_the_draw_is_that_of_the_generator_and_of_no_other():
    weight, state = torch.zeros(3, 2, 1, 1), torch.get_rng_state()
    source = generator(5)
    first, second = randn_like_on(weight, source), randn_like_on(weight, source)
    assert torch.equal(first, randn_like_on(weight, generator(5))) and not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def unit(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Unit(UnitOptions(dual=True, noise=True, **options), 3, 8, 3)
    return made.eval()


def dials(path, width=Width(), source=None):  # noqa: B008 (a value)
    n, path = len(path), torch.tensor(path)
    setting = Setting(path, path, (n,), width, path)
    return Dials(setting.route(2, torch.zeros(1)), None, width, source)


def test_clean_images_meet_the_weights_and_attacked_ones_the_noisy_weights():
    made, x = unit(), torch.randn(5, 3, 6, 6, generator=generator())
    noisy = made.conv.weight + 0.25 * made.conv.weight.std() * randn_like_on(made.conv.weight, generator(7))
    found = made(x, dials([CLEAN, CLEAN, ADV, ADV, ADV], source=generator(7)))
    scale = 1 / (1 + 1e-5) ** 0.5  # of a fresh BatchNorm in eval mode
    for part, weight in ((slice(0, 2), made.conv.weight), (slice(2, 5), noisy)):
        torch.testing.assert_close(found[part], F.conv2d(x[part], weight, padding=1) * scale, rtol=1e-5, atol=1e-5)


def test_a_narrow_unit_takes_a_slice_of_the_noisy_full_weight():
    """σ is that of the full weight, and the draw is sliced, so that widths agree where they overlap."""
    made, x = unit(widths=(0.5, 1.0)), torch.randn(2, 3, 6, 6, generator=generator())
    with torch.no_grad():
        made.conv.weight[4:] *= 10  # a narrow σ would be much smaller
    narrow = Unit(UnitOptions(dual=True, noise=True, widths=(0.5, 1.0)), 3, 8, 3, slim=(False, True)).eval()
    narrow.load_state_dict(made.state_dict())
    wide = narrow(x, dials([ADV, ADV], Width(1.0, 1), generator(3)))
    found = narrow(x, dials([ADV, ADV], Width(0.5, 0), generator(3)))
    torch.testing.assert_close(found, wide[:, :4], rtol=1e-5, atol=1e-5)
