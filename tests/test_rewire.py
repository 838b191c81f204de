"""Rewiring: counts stay, the smallest go, the most pushed grow, experts move apart from each other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oatlib
from oatlib.networks.network import masked_units
from oatlib.training.rewire import _drop, allocate, clear, rewire

pytestmark = pytest.mark.slow

DATA = oatlib.load_data("shapes", seed=0, n_train=256, n_val=64, n_test=64)


def build(**options):
    return oatlib.build("floats", DATA, **options)


def optimizer(net, seed=0):
    """SGD with random momentum, as after some steps."""
    made, source = torch.optim.SGD(net.parameters(), 0.1, 0.9), torch.Generator().manual_seed(seed)
    for p in net.parameters():
        made.state[p]["momentum_buffer"] = torch.randn(p.shape, generator=source)
    return made


def kept(net):
    return [[m.sum().item() for m in unit.masks.each] for unit in masked_units(net)]


# ---- how many grow where ------------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.lists(st.tuples(st.floats(0, 10), st.integers(0, 100)), min_size=1, max_size=8))
def test_allocate_hands_out_everything_there_is_room_for(total, layers):
    shares, room = [s for s, _ in layers], [r for _, r in layers]
    given_out = allocate(total, shares, room)
    assert sum(given_out) == min(total, sum(room))
    assert all(0 <= g <= r for g, r in zip(given_out, room, strict=True))


def test_allocate_is_in_proportion_and_overflow_goes_on():
    assert allocate(100, [1.0, 3.0], [100, 100]) == [25, 75]
    assert allocate(100, [1.0, 3.0], [100, 60]) == [40, 60]
    assert allocate(3, [0.0, 0.0], [5, 5]) in ([2, 1], [1, 2])


# ---- one rewiring -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"mask_of": "channels", "density": 0.5}, {"masks": "overlapping"}, {"density": 0.999}, {"density": 0.01}],
)
def test_the_total_stays_exact_and_everything_absent_is_zero(options):
    net = build(**options)
    before, masks = kept(net), [unit.masks.clean.clone() for unit in masked_units(net)]
    rewire(net, optimizer(net), 0.0)
    for path in range(len(before[0])):
        assert sum(k[path] for k in kept(net)) == sum(k[path] for k in before)
    assert all(k >= 1 for layer in kept(net) for k in layer)
    assert any(not torch.equal(m, unit.masks.clean) for m, unit in zip(masks, masked_units(net), strict=True))
    for unit in masked_units(net):
        assert not (unit.conv.weight * ~unit.masks.union()).any()


def test_the_smallest_go_and_the_most_pushed_grow():
    net = build(density=0.4)
    made = optimizer(net)
    before = [(unit.masks.clean.clone(), unit.conv.weight.detach().clone()) for unit in masked_units(net)]
    rewire(net, made, 0.5)  # a quarter of the kept weights goes
    for unit, (keep, weight) in zip(masked_units(net), before, strict=True):
        size, pushed = weight.abs(), made.state[unit.conv.weight]["momentum_buffer"].abs()
        limit = size[keep].sort().values[-(-keep.sum() // 4)]  # the first that is large enough to stay
        stays = keep & (size >= limit)
        assert unit.masks.clean[stays].all()
        grown, absent = unit.masks.clean & ~stays, ~unit.masks.clean
        assert grown.any() and pushed[grown].min() >= pushed[absent].max()
        assert not unit.conv.weight[grown].any(), "what grows starts at 0, also where it has just been dropped"


def test_layers_with_more_momentum_grow_more():
    counts = []
    for factor in (1, 100):
        net = build(density=0.3)
        made = optimizer(net)
        made.state[masked_units(net)[3].conv.weight]["momentum_buffer"] *= factor
        rewire(net, made, 0.0)
        counts.append([k[0] for k in kept(net)])
    assert counts[1][3] > 2 * counts[0][3]
    assert all(b <= a for i, (a, b) in enumerate(zip(*counts, strict=True)) if i != 3)


def test_a_weight_that_the_other_expert_keeps_is_not_cleared():
    net = build(masks="overlapping", density=0.5)
    before = [(u.conv.weight.detach().clone(), u.masks.clean.clone(), u.masks.adv.clone()) for u in masked_units(net)]
    for unit, (value, clean, adv) in zip(masked_units(net), before, strict=True):
        _drop(unit, 0, 0.5)
        left = clean & ~unit.masks.clean  # by the clean expert
        assert torch.equal(unit.masks.adv, adv) and (left & adv).any() and (left & ~adv).any()
        assert torch.equal(unit.conv.weight[left & adv], value[left & adv])
        assert not unit.conv.weight[left & ~adv].any()


@pytest.mark.parametrize("options", [{"density": 1.0}, {"masks": "complementary", "density": 0.5}])
def test_full_and_fixed_masks_do_not_move(options):
    net = build(**options)
    before = {name: t.clone() for name, t in net.state_dict().items()}
    rewire(net, optimizer(net), 0.0)
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


@pytest.mark.parametrize("options", [{"mask_of": "channels", "density": 0.8}, {"density": 0.99}])
def test_a_layer_that_has_filled_up_can_lose_again(options):
    net, ever = build(**options), set()
    for i in range(8):
        before = [unit.masks.clean.clone() for unit in masked_units(net)]
        rewire(net, optimizer(net, i), 0.0)
        if i >= 4:
            pairs = zip(before, masked_units(net), strict=True)
            ever |= {k for k, (m, unit) in enumerate(pairs) if not torch.equal(m, unit.masks.clean)}
    assert ever == set(range(len(before)))


def test_without_momentum_nothing_tells_where_to_grow():
    with pytest.raises(ValueError, match="momentum must be above 0"):
        oatlib.train(build(), DATA, momentum=0.0)
    oatlib.train(oatlib.build("smart", DATA), DATA, epochs=1, momentum=0.0, progress=False)  # fixed masks do not mind


def test_at_the_end_of_training_nothing_is_rewired():
    net = build()
    before = [unit.masks.clean.clone() for unit in masked_units(net)]
    rewire(net, optimizer(net), 1.0)
    assert all(torch.equal(m, unit.masks.clean) for m, unit in zip(before, masked_units(net), strict=True))


# ---- in training --------------------------------------------------------------------------------------------------


def absent_weights(net):
    return max((unit.conv.weight * ~unit.masks.union()).abs().max().item() for unit in masked_units(net))


@pytest.mark.parametrize(("recipe", "options"), [("floats", {"density": 0.1}), ("smart", {"masks": "overlapping"})])
def test_training_keeps_density_and_zeros_and_moves_the_masks(recipe, options):
    net = oatlib.build(recipe, DATA, **options)
    before, first = kept(net), [unit.masks.clean.clone() for unit in masked_units(net)]
    oatlib.train(net, DATA, epochs=3, watch=4, progress=False)
    for path in range(len(before[0])):
        assert sum(k[path] for k in kept(net)) == sum(k[path] for k in before)
    assert absent_weights(net) == 0
    assert any(not torch.equal(m, u.masks.clean) for m, u in zip(first, masked_units(net), strict=True))


def test_without_clearing_after_each_step_absent_weights_would_grow(monkeypatch):
    """A planted fault that the test above must see."""
    import sys

    monkeypatch.setattr(sys.modules["oatlib.training.loop"], "clear", lambda net: None)
    net = build()
    oatlib.train(net, DATA, epochs=1, progress=False)
    assert absent_weights(net) > 0
    clear(net)
    assert absent_weights(net) == 0


def test_a_resumed_sparse_run_ends_with_the_same_bits(tmp_path):
    whole, parted, path = build(), build(), tmp_path / "run.safetensors"
    oatlib.train(whole, DATA, epochs=3, watch=4, progress=False)

    class Stop(Exception):
        pass

    def stop_after_two(row):
        raise Stop

    train = oatlib.Training
    original = train.save

    def save(self, where):
        original(self, where)
        if self.epoch == 2:
            raise Stop

    train.save = save
    try:
        with pytest.raises(Stop):
            oatlib.train(parted, DATA, epochs=3, watch=4, progress=False, checkpoint=path)
    finally:
        train.save = original
    fresh = build()
    oatlib.train(fresh, DATA, epochs=3, watch=4, progress=False, checkpoint=path, resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, fresh.state_dict()[name]), name
