from dataclasses import fields

import pytest
import torch

import oatlib
from oatlib.networks.cost import Cost
from oatlib.networks.network import Network
from oatlib.networks.spec import Spec

pytestmark = pytest.mark.slow

QUARTERS = (0.25, 0.5, 0.75, 1.0)
TEN = tuple("abcdefghij")


def net(backbone="resnet34", shape=(3, 32, 32), film=False, **options):
    row = {"dual": True, "film": True, "codes": "rand", "code_dim": 128} if film else {}
    stops = (0.0, 1.0) if film else (0.0,)
    return Network(
        Spec(
            recipe="snn",
            backbone=backbone,
            shape=shape,
            classes=TEN,
            stops=stops,
            **{"widths": QUARTERS} | row | options,
        )
    )


# parameters and multiply-adds (in millions, to 1 M) from the shapes of the published networks
PUBLISHED = {0.25: (1_334_618, 73), 0.5: (5_326_506, 290), 0.75: (11_975_674, 653), 1.0: (21_282_122, 1159)}


def test_slimmable_resnet34_costs_what_was_published():
    network = net()
    for width, (parameters, mega) in PUBLISHED.items():
        found = oatlib.cost(network, width=width)
        assert found.active == parameters
        assert found.macs / 1e6 == pytest.approx(mega, abs=0.6)


@pytest.mark.parametrize(("width", "parameters"), [(0.5, 8.844e6), (0.75, 19.141e6), (1.0, 33_355_466)])
def test_oats_resnet34_has_the_published_active_parameters(width, parameters):
    assert oatlib.cost(net(film=True), 0.0, width).active == pytest.approx(parameters, abs=600)


@pytest.mark.parametrize(("backbone", "shape", "width", "mega"), [
    ("wrn-16-8", (3, 32, 32), 0.5, 387), ("wrn-16-8", (3, 32, 32), 0.75, 871), ("wrn-40-2", (3, 96, 96), 0.5, 738),
])  # fmt: skip
def test_slimmable_wide_resnets_cost_what_was_published(backbone, shape, width, mega):
    assert oatlib.cost(net(backbone, shape), width=width).macs / 1e6 == pytest.approx(mega, abs=1.1)


@pytest.mark.parametrize("k", [4, 8])
def test_heads_of_their_own_cost_what_was_published(k):
    shared, own = (net(widths=tuple(i / k for i in range(1, k + 1)), own_heads=h) for h in (False, True))
    extra = oatlib.cost(own).stored - oatlib.cost(shared).stored
    assert extra == {4: 7_710, 8: 17_990}[k]
    assert oatlib.cost(own, width=0.5).macs == oatlib.cost(shared, width=0.5).macs


@pytest.mark.parametrize("backbone", ["tiny", "mobilenetv2", "wrn-40-2"])
def test_a_network_of_one_width_uses_all_it_stores(backbone):
    found = oatlib.cost(net(backbone, (3, 16, 16), film=True, widths=(1.0,)), 1.0)
    assert found.active == found.stored


def test_the_cost_of_a_plain_network_is_that_of_its_tensors():
    network = net("tiny", (3, 16, 16), film=True)
    for width in QUARTERS:
        found = oatlib.cost(network, 1.0, width)
        assert found.plain == sum(b.numel() for b in network.at(1.0, width).buffers())
        assert (found.width, found.stored) == (width, sum(p.numel() for p in network.parameters()))


def test_multiply_adds_by_hand():
    """tiny at full width on 16x16: every conv has cout·cin·k² multiply-adds for each output pixel."""
    convs = [(16, 3, 9, 256), (16, 16, 9, 256), (16, 16, 9, 256), (32, 16, 9, 64), (32, 32, 9, 64), (32, 16, 1, 64),
             (64, 32, 9, 16), (64, 64, 9, 16), (64, 32, 1, 16)]  # fmt: skip
    expected = sum(a * b * k * p for a, b, k, p in convs) + 64 * 10
    assert oatlib.cost(net("tiny", (3, 16, 16))).macs == expected


def test_depthwise_convs_are_counted_by_group():
    network = net("mobilenetv2", (3, 8, 8), widths=(1.0,))
    hooked = []
    plain = network.at()
    for part in plain.modules():
        if hasattr(part, "groups") and part.weight is not None:
            part.register_forward_hook(lambda m, i, o: hooked.append(o.shape[2] * o.shape[3] * m.weight.numel()))
    plain(torch.zeros(1, 3, 8, 8))
    assert oatlib.cost(network).macs == sum(hooked) + 1280 * 10


# ---- noise and masks ------------------------------------------------------------------------------------------------


def ends(backbone="resnet34", shape=(3, 32, 32), **options):
    return Network(
        Spec(recipe="x", backbone=backbone, shape=shape, classes=TEN, stops=(0.0, 1.0), dual=True, **options)
    )


@pytest.mark.parametrize(("backbone", "shape", "dual", "convs"), [
    ("resnet34", (3, 32, 32), 21_299_146, 36), ("wrn-16-8", (3, 32, 32), 10_968_570, 16),
    ("wrn-40-2", (3, 96, 96), 2_248_954, 40),
])  # fmt: skip
def test_float_stores_one_number_per_conv_more_than_dual_batchnorm(backbone, shape, dual, convs):
    assert oatlib.cost(ends(backbone, shape)).stored == dual
    assert oatlib.cost(ends(backbone, shape, noise=True), 1.0).stored == dual + convs


def test_a_cost_is_a_table_in_notebooks():
    cost = Cost(width=0.5, stored=186696, active=62432, plain=19720, nonzero=19672, macs=809216, nonzero_macs=1)
    page = cost._repr_html_()
    assert page.count("<th>") == page.count("<td>") == len(fields(Cost)) and "<td>186,696</td>" in page


def test_an_expert_of_resnet34_uses_what_the_paper_suggests():
    """Half of the weights of the convs in the last two stages, and everything else."""
    network = ends(masks="complementary", density=0.5, mask_in="late")
    blocks = [block for i, block in enumerate(network.body.blocks) if i >= 3 + 4]  # of 3, 4, 6, 3
    late = sum(m.weight.numel() for b in blocks for m in b.modules() if isinstance(m, torch.nn.Conv2d))
    dual = 21_299_146
    for lam in (0.0, 1.0):
        found = oatlib.cost(network, lam)
        assert found.stored == dual and found.active == dual - late // 2
        assert found.active == pytest.approx(11.34e6, abs=0.02e6)  # as estimated from the published prototype
    assert oatlib.cost(network, 0.5).active == dual


@pytest.mark.parametrize("density", [0.3, 0.1])
def test_a_sparse_network_stores_and_multiplies_what_it_keeps(density):
    network, full = ends("tiny", (3, 16, 16), masks="shared", density=density), ends("tiny", (3, 16, 16))
    convs = [m.weight for m in full.modules() if isinstance(m, torch.nn.Conv2d)]
    kept = sum(round(density * w.numel()) for w in convs)
    absent = sum(w.numel() for w in convs) - kept
    sparse, dense = oatlib.cost(network, 1.0), oatlib.cost(full, 1.0)
    assert sparse.stored == sparse.active == dense.stored - absent
    assert (sparse.plain, sparse.macs) == (dense.plain, dense.macs), "zeros are still there, and multiplied"
    assert kept < sparse.nonzero <= dense.plain - absent  # biases may be 0 before training
    weights = [p.weight for p in network.at(1.0).modules() if getattr(p, "weight", None) is not None]
    assert sum(w.count_nonzero().item() for w in weights if w.dim() == 4) == kept


def test_dense_multiply_adds_are_those_of_pytorchs_counter():
    from torch.utils.flop_counter import FlopCounterMode

    for network in (ends("tiny", (3, 16, 16)), net("mobilenetv2", (3, 32, 32), widths=(0.5, 1.0)), net("wrn-16-8")):
        for width in network.spec.widths:
            plain = network.at(0.0, width)
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                plain(torch.zeros(1, *network.spec.shape))
            found = oatlib.cost(network, 0.0, width)
            assert found.macs == found.nonzero_macs == counter.get_total_flops() // 2
