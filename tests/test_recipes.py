import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from oatlib.data.load import from_tensors
from oatlib.layers.dual_bn import DualBN
from oatlib.layers.film import FiLM
from oatlib.networks.backbones import BACKBONES
from oatlib.training.labels import Labels
from oatlib.training.losses import TRAINING_LOSSES, hybrid, kl, trades
from oatlib.training.recipes import OAT_STOPS, RECIPES, SUMMARIES, build, sample_stops

quick = settings(max_examples=60, deadline=None)
stop_sets = st.sampled_from([OAT_STOPS, (0.0, 1.0), (0.0, 0.5, 1.0), (0.2, 0.7), (0.0,), (0.5,)])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def data(channels=1, size=8, classes=3):
    pair = torch.rand(6, channels, size, size, generator=rng()), torch.arange(6) % classes
    return from_tensors("small", pair, pair, pair, [f"class {i}" for i in range(classes)])


# ---- λ of a batch -------------------------------------------------------------------------------------------------


def assert_published_counts(sampler, stops, n, seed=0):
    """ceil(n/|S|) n_clean at the front and none behind them; without λ = 0 in S, no n_clean at all."""
    stop, n_clean = sampler(stops, n, rng(seed))
    assert stop.shape == (n,) and stop.dtype == torch.int64
    assert n_clean == (math.ceil(n / len(stops)) if stops[0] == 0 else 0)
    lam = torch.tensor(stops)[stop]
    assert (lam[:n_clean] == 0).all() and (lam[n_clean:] > 0).all()


@quick
@given(stop_sets, st.integers(1, 300), st.integers(0, 1000))
def test_a_batch_starts_with_its_share_of_zeros(stops, n, seed):
    assert_published_counts(sample_stops, stops, n, seed)


def independent_draws(stops, n, generator):
    stop = torch.randint(len(stops), (n,), generator=generator).sort().values
    return stop, int((stop == 0).sum())


def rounding_down(stops, n, generator):
    stop, _ = sample_stops(stops, n, generator)
    n_clean = n // len(stops)
    return torch.cat([stop[:n_clean], stop[n_clean:].clamp(min=1)]), n_clean


@pytest.mark.parametrize("fault", [independent_draws, rounding_down])
def test_planted_faults_in_the_sampling_are_caught(fault):
    with pytest.raises(AssertionError):
        assert_published_counts(fault, OAT_STOPS, 128)


def test_a_batch_of_128_is_22_clean_and_106_attacked():
    stop, n_clean = sample_stops(OAT_STOPS, 128, rng())
    assert (n_clean, len(stop) - n_clean) == (22, 106)


@pytest.mark.parametrize("n, n_clean", [(1, 1), (5, 1), (6, 1), (7, 2), (13, 3)])
def test_small_and_odd_batches(n, n_clean):
    stop, found = sample_stops(OAT_STOPS, n, rng())
    assert (len(stop), found) == (n, n_clean)


def assert_uniform(sampler, stops, n=60_000):
    """The attacked samples fall on the non-zero stops alike (χ², one in a million)."""
    stop, n_clean = sampler(stops, n, rng())
    counts = torch.bincount(stop[n_clean:], minlength=len(stops)).double()
    counts = counts[1:] if stops[0] == 0 else counts
    expected = counts.sum() / len(counts)
    limit = {2: 23.9, 3: 27.6, 4: 30.7, 5: 33.4}[len(counts)]
    assert ((counts - expected) ** 2 / expected).sum() < limit


@pytest.mark.parametrize("stops", [OAT_STOPS, (0.0, 0.5, 1.0), (0.2, 0.7)])
def test_the_other_samples_are_uniform_over_the_other_stops(stops):
    assert_uniform(sample_stops, stops)


def test_a_sampler_that_prefers_a_stop_is_caught():
    def rounded(stops, n, generator):
        stop = (torch.rand(n, generator=generator) * (len(stops) - 1)).round().long()
        return stop.sort().values, int((stop == 0).sum())

    with pytest.raises(AssertionError):
        assert_uniform(rounded, OAT_STOPS)


def test_the_same_generator_gives_the_same_draw():
    a, b, c = (sample_stops(OAT_STOPS, 50, rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


# ---- losses -------------------------------------------------------------------------------------------------------


def batch(n, n_clean, seed=0, classes=4):
    generator = rng(seed)
    clean = torch.randn(n, classes, dtype=torch.float64, generator=generator).requires_grad_()
    attacked = torch.randn(n - n_clean, classes, dtype=torch.float64, generator=generator).requires_grad_()
    lam = torch.rand(n, dtype=torch.float64, generator=generator)
    lam[:n_clean] = 0
    return clean, attacked, torch.randint(classes, (n,), generator=generator), lam


def nll(row, label):
    return math.log(sum(math.exp(v) for v in row)) - row[label]


def assert_hybrid_by_hand(loss, n, n_clean, seed=0):
    clean, attacked, y, lam = batch(n, n_clean, seed)
    total = 0.0
    for i in range(n):
        total += (1 - lam[i].item()) * nll(clean[i].tolist(), y[i].item())
        if i >= n_clean:
            total += lam[i].item() * nll(attacked[i - n_clean].tolist(), y[i].item())
    assert loss(clean, attacked, Labels(y, lam, n_clean)).item() == pytest.approx(total / n, rel=1e-10)


@quick
@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 1000))
def test_hybrid_by_hand(n, n_clean, seed):
    assert_hybrid_by_hand(hybrid, n, min(n_clean, n), seed)


def shifted_by_the_zeros(clean, attacked, labels):
    """Takes the λ of the first samples for the attacked ones."""
    m, y, lam, n_clean = len(attacked), labels.y, labels.lam, labels.n_clean
    ce = F.cross_entropy(clean, y, reduction="none"), F.cross_entropy(attacked, y[n_clean:], reduction="none")
    return (((1 - lam) * ce[0]).sum() + (lam[:m] * ce[1]).sum()) / len(y)


def two_means(clean, attacked, labels):
    y, lam, n_clean = labels.y, labels.lam, labels.n_clean
    ce = F.cross_entropy(clean, y, reduction="none"), F.cross_entropy(attacked, y[n_clean:], reduction="none")
    return ((1 - lam) * ce[0]).mean() + (lam[n_clean:] * ce[1]).mean()


@pytest.mark.parametrize("fault", [shifted_by_the_zeros, two_means])
def test_planted_faults_in_hybrid_are_caught(fault):
    with pytest.raises(AssertionError):
        assert_hybrid_by_hand(fault, 7, 3)


def test_each_sample_is_pulled_only_by_its_own_terms():
    clean, attacked, y, lam = batch(6, 2)
    lam[3], lam[4] = 1.0, 0.0
    hybrid(clean, attacked, Labels(y, lam, 2)).backward()
    assert (clean.grad[3] == 0).all() and (clean.grad[0] != 0).all()  # λ = 1: the clean image has no weight
    assert (attacked.grad[4 - 2] == 0).all() and (attacked.grad[3 - 2] != 0).all()


def assert_trades_by_hand(loss, beta):
    clean, attacked, y, lam = batch(5, 0)
    reference = F.cross_entropy(clean, y) + beta * F.kl_div(
        attacked.log_softmax(1), clean.softmax(1), reduction="batchmean"
    )
    found = loss(clean, attacked, Labels(y, lam, 0, beta))
    torch.testing.assert_close(found, reference, rtol=1e-10, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(found, (clean, attacked)), torch.autograd.grad(reference, (clean, attacked)), strict=True
    ):
        assert a.abs().min() > 0
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("beta", [1.0, 6.0])
def test_trades_is_ce_and_kl_with_gradients_through_both(beta):
    assert_trades_by_hand(trades, beta)


def detached(clean, attacked, labels):
    y, beta = labels.y, labels.beta
    return F.cross_entropy(clean, y) + beta * kl(attacked, clean.detach().log_softmax(1)).mean()


def other_way_round(clean, attacked, labels):
    y, beta = labels.y, labels.beta
    return F.cross_entropy(clean, y) + beta * kl(clean, attacked.log_softmax(1)).mean()


@pytest.mark.parametrize("fault", [detached, other_way_round])
def test_planted_faults_in_trades_are_caught(fault):
    with pytest.raises(AssertionError):
        assert_trades_by_hand(fault, 6.0)


def test_kl_is_zero_only_between_equals():
    a = torch.randn(4, 5, generator=rng())
    assert kl(a, a.log_softmax(1)).abs().max() < 1e-6
    assert (kl(a, a.flip(1).log_softmax(1)) > 0).all()


# ---- rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_row_builds_and_runs(recipe):
    net = build(recipe, data())
    x, stop = data().test.x, net.spec.stops[-1]
    with torch.no_grad():
        assert net(x, stop, noise=torch.Generator()).shape == net.at(stop)(x).shape == (6, 3)
    assert net.spec.recipe == recipe and net.spec.loss in TRAINING_LOSSES


def test_every_row_has_one_line_in_words_and_the_page_of_recipes_begins_with_it():
    assert SUMMARIES.keys() == RECIPES.keys()
    page = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
    for recipe, summary in SUMMARIES.items():
        assert f"| `{recipe}` | {summary}" in page, recipe
        assert len(summary) <= 90 and summary[-1] not in ".;:", summary


@pytest.mark.parametrize("backbone", BACKBONES)
def test_oat_builds_on_every_backbone(backbone):
    net = build("oat", data(), backbone)
    assert (net.spec.backbone, net.spec.shape, len(net.spec.classes)) == (backbone, (1, 8, 8), 3)
    with torch.no_grad():
        assert net(data().test.x, torch.tensor([0.0, 1.0, 0.1, 0.2, 0.3, 0.4])).shape == (6, 3)


def parts(net):
    kinds = [type(part) for part in net.modules()]
    return FiLM in kinds, any(isinstance(part, DualBN) and part.adv is not None for part in net.modules())


def test_rows_have_the_parts_of_their_paper():
    assert parts(build("oat", data())) == (True, True)
    for recipe in ("standard", "pgd-at", "trades"):
        assert parts(build(recipe, data())) == (False, False)
    assert RECIPES["oat"]["stops"] == (0.0, 0.1, 0.2, 0.3, 0.4, 1.0) and RECIPES["trades"]["beta"] == 6.0


def test_options_replace_the_row_and_leave_the_table_alone():
    before = {name: dict(row) for name, row in RECIPES.items()}
    net = build("oat", data(), stops=[0, 0.5, 1], codes="onehot", film_start="paper")
    assert net.spec.stops == (0.0, 0.5, 1.0) and net.codes.shape == (3, 3) and net.spec.film_start == "paper"
    assert build("pgd-at", data(), lam=0.3).spec.stops == (0.3,)
    assert before == RECIPES


def test_a_network_remembers_its_data():
    source = replace(data(), name="shapes", options={"seed": 4})
    net = build("oat", source)
    assert net.spec.data == {"name": "shapes", "options": {"seed": 4}} and net.spec.classes == source.classes
    source.options["seed"] = 5
    assert net.spec.data["options"] == {"seed": 4}


def test_the_same_seed_gives_the_same_bits():
    a, b, other = (build("oat", data(), seed=seed).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["body.head.each.0.weight"], other["body.head.each.0.weight"])


def test_building_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    build("oat", data())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("arguments, options, error, words", [
    (("oatt",), {}, ValueError, ["'oatt'", "did you mean 'oat'", "standard, pgd-at, trades"]),
    (("oat", "tinny"), {}, ValueError, ["'tinny'", "did you mean 'tiny'", "resnet18, resnet34"]),
    (("oat",), {"code_dims": 3}, TypeError, ["'code_dims'", "did you mean 'code_dim'", "film_start"]),
    (("oat",), {"lam": 0.3}, ValueError, ["lam=", "pgd-at", "'oat'", "0.4"]),
    (("standard",), {"lam": 0.3}, ValueError, ["lam=", "pgd-at", "'standard'"]),
    (("trades",), {"lam": 0.3}, ValueError, ["lam=", "pgd-at", "'trades'"]),
    (("pgd-at",), {"lam": 1.5}, ValueError, ["1.5", "[0, 1]"]),
    (("oat",), {"stops": (0.3, 0.1)}, ValueError, ["ascending", "0.3, 0.1"]),
    (("oat",), {"stops": (0.0, 0.0, 1.0)}, ValueError, ["ascending", "0, 0, 1"]),
    (("oat",), {"stops": (0.0, float("nan"))}, ValueError, ["every entry of stops must be a number", "nan"]),
    (("oat",), {"stops": ()}, ValueError, ["ascending"]),
    (("pgd-at",), {"lam": "high"}, ValueError, ["list of λ", "high"]),
    (("oat",), {"stops": 0.3}, ValueError, ["list of λ", "0.3"]),
    (("oat",), {"stops": ("low", "high")}, ValueError, ["list of λ", "low"]),
    (("oat",), {"code_dim": 5}, ValueError, ["code_dim=5", "6"]),
    (("oat",), {"codes": "random"}, ValueError, ["'random'", "rand, onehot"]),
    (("oat",), {"film_start": "zero"}, ValueError, ["'zero'", "identity, paper"]),
    (("oat",), {"loss": "hybird"}, ValueError, ["'hybird'", "did you mean 'hybrid'", "trades"]),
    (("trades",), {"stops": (0.0, 1.0)}, ValueError, ["trades", "one stop above 0"]),
    (("oat",), {"loss": "trades"}, ValueError, ["trades", "one stop above 0"]),
])  # fmt: skip
def test_errors_say_what_was_given_and_what_is_valid(arguments, options, error, words):
    recipe, *backbone = arguments
    with pytest.raises(error) as caught:
        build(recipe, data(), *backbone, **options)
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))
