import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from oatlib.layers.film import FiLM, lambda_codes

STOPS = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)
quick = settings(max_examples=30, deadline=None)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def leaky(x):
    return [v if v > 0 else 0.01 * v for v in x]


def dense(layer, x):
    rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in rows]


def assert_film_by_hand(film, codes):
    """γ and β against explicit sums: two dense layers, a LeakyReLU of slope 0.01 after each, γ first."""
    gamma, beta = film(codes)
    for i, code in enumerate(codes.tolist()):
        out = leaky(dense(film.out, leaky(dense(film.hidden, code))))
        half = len(out) // 2
        expected = torch.tensor(out, dtype=torch.float64)
        torch.testing.assert_close(gamma[i], expected[:half], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(beta[i], expected[half:], rtol=1e-10, atol=1e-12)


def random_film(kind=FiLM, dim=4, channels=3, seed=0):
    film = kind(dim, channels).double()
    with torch.no_grad():
        for p in film.parameters():
            p.copy_(torch.randn(p.shape, generator=rng(seed), dtype=torch.float64))
    return film


@quick
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1000))
def test_film_by_hand(dim, channels, seed):
    film = random_film(dim=dim, channels=channels, seed=seed)
    assert_film_by_hand(film, torch.randn(3, dim, dtype=torch.float64, generator=rng(seed + 1)))


def halves_swapped(self, codes):
    gamma, beta = FiLM.forward(self, codes)
    return beta, gamma


def no_last_leak(self, codes):
    return self.out(F.leaky_relu(self.hidden(codes))).chunk(2, dim=-1)


def relu(self, codes):
    return F.leaky_relu(self.out(F.relu(self.hidden(codes)))).chunk(2, dim=-1)


def one_plus_gamma(self, codes):
    gamma, beta = FiLM.forward(self, codes)
    return 1 + gamma, beta


@pytest.mark.parametrize("forward", [halves_swapped, no_last_leak, relu, one_plus_gamma])
def test_planted_faults_are_caught(forward):
    broken = type("Broken", (FiLM,), {"forward": forward})
    with pytest.raises(AssertionError):
        assert_film_by_hand(random_film(broken), torch.randn(3, 4, dtype=torch.float64, generator=rng()))


def test_per_stop_tables_are_the_per_sample_network():
    film, codes = random_film(dim=6), torch.eye(6, dtype=torch.float64)
    stop = torch.randint(6, (20,), generator=rng())
    for table, per_sample in zip(film(codes), film(codes[stop]), strict=True):
        torch.testing.assert_close(table[stop], per_sample, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind, dim", [("rand", 128), ("onehot", 6), ("dct", 16), ("none", 1)])
@pytest.mark.parametrize("channels", [1, 16, 256])
def test_the_identity_start_is_the_identity_for_any_code(kind, dim, channels):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        film = FiLM(dim, channels)
    gamma, beta = film(lambda_codes(kind, STOPS, dim, rng()))
    assert (gamma - 1).abs().max() < 0.2 and beta.abs().max() < 0.2
    assert (gamma - 1).abs().mean() < 0.05 and beta.abs().mean() < 0.05


@pytest.mark.parametrize("start", ["identity", "paper"])
def test_the_paper_start_is_the_default_of_pytorch(start):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        film = FiLM(5, 4, start)
        torch.manual_seed(3)
        first, second = nn.Linear(5, 8), nn.Linear(8, 8)
    assert torch.equal(film.hidden.weight, first.weight) and torch.equal(film.hidden.bias, first.bias)
    as_published = torch.equal(film.out.weight, second.weight) and torch.equal(film.out.bias, second.bias)
    assert as_published == (start == "paper")


@pytest.mark.parametrize("d, c", [(1, 3), (128, 16)])
def test_parameters_follow_the_published_formula(d, c):
    assert sum(p.numel() for p in FiLM(d, c).parameters()) == 2 * c * d + 2 * c + 4 * c * c + 2 * c


# ---- codes --------------------------------------------------------------------------------------------------------


def assert_orthonormal(codes):
    torch.testing.assert_close(codes @ codes.T, torch.eye(len(codes)), rtol=0, atol=1e-5)


@quick
@given(st.integers(6, 40), st.integers(0, 1000))
def test_random_codes_are_orthonormal_and_follow_the_seed(dim, seed):
    codes = lambda_codes("rand", STOPS, dim, rng(seed))
    assert codes.shape == (6, dim)
    assert_orthonormal(codes)
    assert torch.equal(codes, lambda_codes("rand", STOPS, dim, rng(seed)))
    assert not torch.equal(codes, lambda_codes("rand", STOPS, dim, rng(seed + 1)))


@pytest.mark.parametrize("dim", [6, 7, 128])
def test_dct_codes_are_the_first_rows_of_the_unnormalised_dct(dim):
    """Row k of the DCT-II matrix, 2·cos(π·k·(2j + 1) / 2d): at right angles, but not of length 1."""
    codes = lambda_codes("dct", STOPS, dim, rng())
    for k in range(6):
        for j in range(dim):
            assert codes[k, j].item() == pytest.approx(2 * math.cos(math.pi * k * (2 * j + 1) / (2 * dim)), abs=1e-5)
    lengths = torch.tensor([2 * math.sqrt(dim)] + [math.sqrt(2 * dim)] * 5)
    torch.testing.assert_close(codes.norm(dim=1), lengths)
    assert_orthonormal(codes / lengths[:, None])


def test_dct_codes_are_those_of_the_public_code():
    """Which takes them from SciPy: dct(np.eye(d), axis=0), of row lengths 22.6 and 16."""
    scipy_fft = pytest.importorskip("scipy.fftpack")
    expected = torch.from_numpy(scipy_fft.dct(torch.eye(128).double().numpy(), axis=0))[:6]
    codes = lambda_codes("dct", STOPS, 128, rng())
    torch.testing.assert_close(codes.double(), expected, rtol=0, atol=1e-5)
    assert codes.norm(dim=1).tolist() == pytest.approx([22.627, 16, 16, 16, 16, 16], abs=1e-3)


def test_codes_that_are_not_orthonormal_are_caught():
    with pytest.raises(AssertionError):
        assert_orthonormal(torch.randn(6, 128, generator=rng()) / 128**0.5)


def test_onehot_and_scalar_codes():
    assert torch.equal(lambda_codes("onehot", STOPS, 128, rng()), torch.eye(6))
    assert torch.equal(lambda_codes("none", STOPS, 128, rng()), torch.tensor(STOPS)[:, None])


@pytest.mark.parametrize("kind", ["rand", "dct"])
def test_too_few_dimensions_are_an_error_with_both_numbers(kind):
    with pytest.raises(ValueError, match=r"code_dim=5.*6 λ stops"):
        lambda_codes(kind, STOPS, 5, rng())


@pytest.mark.parametrize("dim", [2, 128])
def test_an_unknown_code_or_start_lists_the_known_ones(dim):
    with pytest.raises(ValueError, match="'random'.*rand, onehot, dct, none"):
        lambda_codes("random", STOPS, dim, rng())
    with pytest.raises(ValueError, match="'zero'.*identity, paper"):
        FiLM(dim, 3, "zero")
    with pytest.raises(ValueError, match="'halves'.*paired, published"):
        FiLM(dim, 3, rows="halves")
