import pytest
import torch
import torch.nn.functional as F

from oatlib.layers.folded import Folded, FoldPlan
from oatlib.layers.setting import ADV, CLEAN, Position, Setting
from oatlib.layers.unit import Dials, Unit, UnitOptions

STOPS = 4
BRANCH = torch.tensor([CLEAN, ADV, ADV, ADV])
STOP = torch.tensor([2, 0, 3, 0, 1, 2])  # six samples, in no order
KINDS = {  # kernel, stride, norm, film: every use that backbones make of a unit
    "stem": (3, 1, True, True),
    "down": (3, 2, True, True),
    "shortcut": (1, 2, True, False),
    "enter": (0, 1, True, True),
    "last": (0, 1, True, False),
    "bare": (3, 1, False, True),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make(kind, unit=Unit, dual=True, film=True):
    """A unit in eval mode in which every number is random."""
    kernel, stride, norm, place = KINDS[kind]
    made = unit(UnitOptions(dual, film, STOPS), 3, 5 if kernel else 3, kernel, stride, norm, place).double().eval()
    with torch.no_grad():
        for i, (name, tensor) in enumerate(made.state_dict().items()):
            if tensor.is_floating_point():
                tensor.copy_(noise(*tensor.shape, seed=i) * 0.5)
                if name.endswith("running_var"):
                    tensor.exp_()
    return made


def by_hand(unit, x, stop):
    """One sample at a time: convolve, normalise with its branch, then γ·x + β."""
    rows = []
    for sample, s in zip(x, stop.tolist(), strict=True):
        out = sample[None]
        if unit.conv is not None:
            out = F.conv2d(out, unit.conv.weight, None, unit.conv.stride, unit.conv.padding)
        if unit.norm is not None:
            pair = unit.norm.pairs[0]
            bn = pair.clean if BRANCH[s] == CLEAN or pair.adv is None else pair.adv
            mean, var, weight, bias = (v[:, None, None] for v in (bn.running_mean, bn.running_var, bn.weight, bn.bias))
            out = (out - mean) / (var + 1e-5).sqrt() * weight + bias
        if unit.film is not None:
            gamma, beta = unit.film(torch.eye(STOPS, dtype=torch.float64)[s])
            out = out * gamma[:, None, None] + beta[:, None, None]
        rows.append(out[0])
    return torch.stack(rows).detach()


def plan(mix):
    return FoldPlan(Position(mix), BRANCH, torch.eye(STOPS, dtype=torch.float64))


def unfolded(unit, x):
    route = Setting(STOP, BRANCH[STOP], (len(STOP),)).route(STOPS, x)
    return route.leave(unit(route.enter(x), Dials(route, torch.eye(STOPS, dtype=torch.float64))))


def folded(unit, x):
    mix = F.one_hot(STOP, STOPS).double()
    return unit.fold(plan(mix))(x.clone())


def folded_one_by_one(unit, x):
    mixes = F.one_hot(STOP, STOPS).double()
    return torch.cat([unit.fold(plan(m[None]))(s[None]) for m, s in zip(mixes, x, strict=True)])


FORMS = [unfolded, folded, folded_one_by_one]


def assert_by_hand(unit, form):
    x = noise(len(STOP), 3, 6, 6, seed=99)
    torch.testing.assert_close(form(unit, x).detach(), by_hand(unit, x, STOP), rtol=1e-9, atol=1e-10)


@kinds
@pytest.mark.parametrize("dual", [True, False])
@pytest.mark.parametrize("film", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_a_unit_are_the_sum_by_hand(kind, dual, film, form):
    assert_by_hand(make(kind, dual=dual, film=film), form)


class ForgetsGammaOnTheShift(Unit):
    def affine(self, codes, branch, width):
        scale, shift = (table[branch] for table in self.norm.pairs[0].affine())
        gamma, beta = self.film(codes)
        return gamma * scale, beta + shift


class OneBranch(Unit):
    def affine(self, codes, branch, width):
        return super().affine(codes, torch.full_like(branch, ADV), width)


@pytest.mark.parametrize("form", [folded, folded_one_by_one])
@pytest.mark.parametrize("fault", [ForgetsGammaOnTheShift, OneBranch])
def test_planted_faults_in_folding_are_caught(fault, form):
    with pytest.raises(AssertionError):
        assert_by_hand(make("stem", fault), form)


def test_film_before_the_norm_is_caught():
    class Early(Unit):
        def forward(self, x, dials):
            gamma, beta = (dials.route.pick @ table for table in self.film(dials.codes))
            x = self.conv(x, self.conv.weight) * gamma[..., None, None] + beta[..., None, None]
            return self.norm.pairs[0](x, dials.route.segments)

    with pytest.raises(AssertionError):
        assert_by_hand(make("stem", Early), unfolded)


@pytest.mark.parametrize("kind", ["stem", "enter"])
@pytest.mark.parametrize("t", [0.25, 0.5])
def test_between_stops_scale_and_shift_are_interpolated(kind, t):
    """The output is linear in scale and shift, so it is interpolated, too."""
    unit, x = make(kind), noise(2, 3, 6, 6)
    ends = [unit.fold(plan(F.one_hot(torch.tensor([s]), STOPS).double()))(x) for s in (0, 1)]
    mix = torch.tensor([[1 - t, t, 0, 0]], dtype=torch.float64)
    for rows in (mix, mix.repeat(2, 1)):
        found = unit.fold(plan(rows))(x.clone())
        torch.testing.assert_close(found, torch.lerp(*ends, t), rtol=1e-9, atol=1e-10)


@kinds
def test_a_folded_unit_has_no_parameters_and_leaves_the_unit_alone(kind):
    unit = make(kind)
    before = {name: t.clone() for name, t in unit.state_dict().items()}
    plain = unit.fold(plan(torch.eye(STOPS, dtype=torch.float64)[:1]))
    plain(noise(2, 3, 6, 6))
    assert isinstance(plain, Folded) and not list(plain.parameters())
    assert all(torch.equal(t, before[name]) for name, t in unit.state_dict().items())


@kinds
@pytest.mark.parametrize("images", [1, 5])
def test_a_unit_bound_to_other_images_is_an_error(kind, images):
    plain = make(kind).fold(plan(torch.eye(STOPS, dtype=torch.float64)))
    if kind == "bare":  # has nothing that depends on λ
        assert len(plain(noise(images, 3, 6, 6))) == images
    else:
        with pytest.raises(ValueError, match=f"4 values of λ.*{images} images"):
            plain(noise(images, 3, 6, 6))
