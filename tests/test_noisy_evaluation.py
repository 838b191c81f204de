"""Random weights can flatter: how noisy networks are attacked and measured, and each way the published evaluation of
such networks made them look better than they are."""

import dataclasses
import warnings

import pytest
import torch
import torch.nn.functional as F

import oatlib
from oatlib.networks.network import Network

pytestmark = pytest.mark.slow

DATA = oatlib.load_data("shapes", seed=0, n_train=128, n_val=64, n_test=96)
EOT = oatlib.PGD(8 / 255, 3, eot_samples=3)


@pytest.fixture(scope="module")
def net():
    """A float network that knows a little, whose noise at λ = 1 is large enough to matter."""
    made = oatlib.build("float", DATA)
    oatlib.train(made, DATA, epochs=4, lr=0.1, watch=9, progress=False)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if name.endswith("alpha"):
                p.fill_(0.6)
    return made


def noisy_line(n=512, seed=0):
    """A linear classifier of two classes that is right about every image, with much noise on its weights: each draw
    has a slope of its own. Images (n, 20) within 0.5 ± 0.1 are told apart by the sign of their sum."""
    source = torch.Generator().manual_seed(seed)
    x = 0.5 + 0.1 * (2 * torch.rand(n, 20, generator=source) - 1)
    y = ((x - 0.5).sum(1) > 0).long()
    x = x + 0.02 * (2 * y[:, None] - 1)
    draws = torch.Generator().manual_seed(1)

    def f(images):
        slope = 1 + 2 * torch.randn(20, generator=draws)
        out = ((images - 0.5) * slope).sum(1, keepdim=True)
        return torch.cat([-out, out], 1)

    return f, x, y


def right(x, y):
    """Share of images on which the classifier of `noisy_line` without its noise is right."""
    return (((x - 0.5).sum(1) > 0).long() == y).float().mean().item()


# ---- item 1: an attack that follows one draw at a time is weak ------------------------------------------------------


def test_eot_lowers_robustness():
    f, x, y = noisy_line()
    accuracy = []
    for draws in (1, 4, 32):
        attack = oatlib.PGD(0.04, 5, step_size=0.01, best=False, eot_samples=draws)
        accuracy.append(right(attack(f, x, y, torch.Generator().manual_seed(0)), y))
    assert accuracy[0] > accuracy[1] > accuracy[2]
    assert accuracy[0] - accuracy[2] > 0.1  # 512 images: five standard errors


def test_eot_is_the_mean_gradient_over_draws():
    f, x, y = noisy_line(8)
    seen = []

    def spy(images):
        seen.append(images.detach().clone())
        return f(images)

    moved = oatlib.PGD(0.04, 1, step_size=0.01, start="none", best=False, eot_samples=5)(spy, x, y)
    assert len(seen) == 5 and all(torch.equal(s, x) for s in seen)
    g, _, _ = noisy_line(8)  # the same draws again
    leaf = x.clone().requires_grad_()
    sum(F.cross_entropy(g(leaf), y, reduction="sum") for _ in range(5)).backward()
    torch.testing.assert_close(moved, x + 0.01 * leaf.grad.sign())


def test_one_draw_is_what_it_was_before_there_was_eot():
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 8))
    x, y = DATA.test.x[:8], DATA.test.y[:8]
    for best in (True, False):
        one = oatlib.PGD(8 / 255, 4, best=best)(plain, x, y)
        many = oatlib.PGD(8 / 255, 4, best=best, eot_samples=3)(plain, x, y)
        torch.testing.assert_close(one, many)


@pytest.mark.parametrize("kind", [oatlib.PGD, oatlib.FGSM, oatlib.FGSMRS])
def test_eot_samples_are_recorded(kind):
    attack = kind(eot_samples=7)
    assert attack.describe()["eot_samples"] == 7 and "EOT over 7 samples" in str(attack)
    with pytest.raises(ValueError, match="eot_samples=.*must be a whole number, 1 or more"):
        dataclasses.replace(attack, eot_samples=0)


def test_a_noisy_network_without_eot_warns_and_says_what_to_do(net):
    with pytest.warns(UserWarning, match=r"λ = 1 .*PGD .*overestimated.*eot_samples=10"):
        oatlib.evaluate(net, DATA.test, oatlib.PGD(8 / 255, 1), [1.0], progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        oatlib.evaluate(net, DATA.test, oatlib.PGD(8 / 255, 1), [0.0], progress=False)  # not noisy there
        oatlib.evaluate(net, DATA.test, EOT, [1.0], progress=False)


def test_by_default_noise_is_attacked_with_eot(net, monkeypatch):
    used, whole = [], oatlib.Suite.survivors

    def watched(self, f, x, y, g):
        used.append((self.budget, self.eot_samples))
        return whole(self, f, x, y, g)

    monkeypatch.setattr(oatlib.Suite, "survivors", watched)
    call = lambda self, f, x, y, g: used.append((self.budget, self.eot_samples)) or x  # noqa: E731
    monkeypatch.setattr(oatlib.Suite, "__call__", call)
    oatlib.evaluate(net, DATA.test.panel(16), lams=[0.0, 1.0], progress=False)
    assert used == [("quick", 1), ("quick", 10)]


def test_the_quick_suite_is_not_weaker_than_pgd_20_on_random_weights(net):
    """With EOT no image is dropped: its strongest point counts, not the first that one look found to be wrong."""
    panel = DATA.test.panel(48)
    pgd = oatlib.PGD(8 / 255, 20, eot_samples=10)
    quick, slow = (oatlib.evaluate(net, panel, attack, [1.0], progress=False)[0] for attack in (None, pgd))
    assert quick.noise_samples == 10 and "EOT over 10 samples" in quick.attack["text"]
    assert quick.robust <= slow.robust + 0.03


# ---- items 2 and 4: the attack sees the setting that is measured ----------------------------------------------------


@pytest.mark.parametrize("dial", ["interpolate", "outputs", "rule-a", "rule-b"])
@pytest.mark.parametrize("lam", [0.0, 0.3, 0.7, 1.0])
def test_attack_and_measurement_meet_the_same_network(net, dial, lam, monkeypatch):
    """Also for λ between the ends, where the published code attacked at λ = 1 whatever was evaluated, and for λ = 0,
    where it attacked noisy weights and measured noise-free ones."""
    twin = Network(dataclasses.replace(net.spec, dial=dial))
    twin.load_state_dict(net.state_dict())
    built, attacked, original = [], [], Network.fold

    def spy(self, position, generator=None, resample=False):
        built.append((position, resample, original(self, position, generator, resample)))
        return built[-1][2]

    monkeypatch.setattr(Network, "fold", spy)
    whole = oatlib.PGD.survivors
    monkeypatch.setattr(oatlib.PGD, "__call__", lambda self, f, x, y, g: attacked.append(f) or x)
    monkeypatch.setattr(oatlib.PGD, "survivors", lambda self, f, *rest: attacked.append(f) or whole(self, f, *rest))
    oatlib.evaluate(twin, DATA.test, EOT, [lam], progress=False)
    noisy = twin.position(lam).noisy
    assert noisy == (lam > 0)
    assert len(built) == 1
    position, resample, network = built[0]
    expected = twin.position(lam)
    assert torch.equal(position.weights, expected.weights) and position.noise_levels == expected.noise_levels
    assert resample == noisy and attacked == [network]


def test_at_zero_the_attack_meets_clean_norms_without_noise(net):
    alone = oatlib.evaluate(net.at(0.0), DATA.test, oatlib.PGD(8 / 255, 3), progress=False)[0]
    found = oatlib.evaluate(net, DATA.test, oatlib.PGD(8 / 255, 3), [0.0], progress=False)[0]
    assert (found.clean, found.robust, found.noise_samples, found.clean_spread) == (alone.clean, alone.robust, 1, 0.0)


# ---- item 3: accuracies of random networks are means, with a spread -------------------------------------------------


def test_measured_is_the_mean_over_draws_with_its_spread(net):
    found = oatlib.evaluate(net, DATA.test, EOT, [1.0], progress=False, seed=4, noise_samples=5)[0]
    f = net.noisy(1.0, generator=torch.Generator().manual_seed(4))
    x, y = DATA.test.x, DATA.test.y
    attacked = EOT(f, x, y, torch.Generator().manual_seed(4))
    clean, robust = [], []
    with torch.no_grad():
        for _ in range(5):
            correct, holds = (f(torch.cat([x, attacked])).argmax(1) == torch.cat([y, y])).chunk(2)
            clean.append(correct.float().mean())
            robust.append((correct & holds).float().mean())
    clean, robust = torch.stack(clean), torch.stack(robust)
    assert found.clean == pytest.approx(clean.mean().item()) and found.robust == pytest.approx(robust.mean().item())
    assert found.clean_spread == pytest.approx(clean.std(correction=0).item()) and found.clean_spread > 0
    assert found.robust_spread == pytest.approx(robust.std(correction=0).item(), abs=1e-7)
    assert found.clean_low < found.clean < found.clean_high and found.noise_samples == 5


def test_without_an_attack_robust_is_clean(net):
    """Two draws of noise, one for each, would make random answers look less robust than they are."""
    found = oatlib.evaluate(net, DATA.test, oatlib.PGD(0.0, 1, eot_samples=2), [1.0], progress=False)[0]
    assert 0.1 < found.clean < 0.95 and found.robust == found.clean


def test_the_same_seed_measures_the_same(net):
    one, two = (oatlib.evaluate(net, DATA.test, EOT, [0.5, 1.0], progress=False, noise_samples=2) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert dataclasses.replace(a, seconds=0) == dataclasses.replace(b, seconds=0)
    assert "means over 2 noise samples" in str(one)


def test_a_setting_does_not_depend_on_those_before_it(net):
    both = oatlib.evaluate(net, DATA.test, EOT, [0.5, 1.0], progress=False, noise_samples=2)
    alone = oatlib.evaluate(net, DATA.test, EOT, [1.0], progress=False, noise_samples=2)
    assert both[1].robust == alone[0].robust and both[1].clean == alone[0].clean


def test_draws_must_be_some(net):
    with pytest.raises(ValueError, match="noise_samples=0: must be a whole number, 1 or more"):
        oatlib.evaluate(net, DATA.test, EOT, [1.0], noise_samples=0)


# ---- items 5 to 7 ---------------------------------------------------------------------------------------------------


def test_noise_without_a_second_batchnorm_works():
    """The published code crashes there."""
    single = oatlib.build("float", DATA, dual=False)
    oatlib.train(single, DATA, epochs=1, progress=False)
    assert single.position(1.0).noisy and single.at(1.0)(DATA.test.x).isfinite().all()


def test_the_size_of_the_noise_is_logged_per_layer(net):
    """Weight decay can shrink it to nothing, and then the dial has come off."""
    fresh = oatlib.build("float", DATA)
    history = oatlib.train(fresh, DATA, epochs=2, progress=False)
    sizes = [p.item() for name, p in fresh.named_parameters() if name.endswith("alpha")]
    assert history.rows[-1]["alpha"] == pytest.approx(sizes, abs=1e-4) and len(sizes) == 9
    assert "alpha" not in oatlib.train(oatlib.build("blend", DATA), DATA, epochs=1, progress=False).rows[-1]
