"""What lesson 09 prunes, repairs and counts."""

import pytest
import torch

import oatlib
from oatlib.course import sparse
from oatlib.networks.network import masked_units


@pytest.fixture(scope="module")
def data():
    return oatlib.load_data("shapes", seed=0, n_train=64, n_test=8)


def test_a_magnitude_mask_keeps_the_largest_weights():
    weight = torch.tensor([[3.0, -4.0, 0.1], [0.2, 1.0, -0.3]])
    assert sparse.magnitude_mask(weight, 1 / 3).tolist() == [[True, True, False], [False] * 3]
    assert sparse.magnitude_mask(torch.zeros(2, 2), 0.01).sum() == 1


def test_pruning_keeps_the_other_tensors_and_does_not_change_the_network(data):
    net = oatlib.build("blend", data, "plain", seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    cut = sparse.pruned(net, 0.1)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(unit.masks.moves for unit in masked_units(cut))
    for unit in masked_units(cut):
        assert (unit.conv.weight != 0).float().mean() == pytest.approx(0.1, abs=0.01)
    after = cut.state_dict()
    others = [name for name in before if "conv.weight" not in name]
    assert others and all(torch.equal(before[name], after[name]) for name in others)


def test_new_statistics_change_statistics_only(data):
    net = sparse.pruned(oatlib.build("blend", data, "plain", seed=0), 0.3)
    renewed = sparse.recalibrated(net, data)
    changed = {
        name.rpartition(".")[2]
        for name, tensor in renewed.state_dict().items()
        if not torch.equal(tensor, net.state_dict()[name])
    }
    assert {"running_mean", "running_var"} <= changed
    assert changed <= {"running_mean", "running_var", "num_batches_tracked"}
    assert not renewed.training


def test_the_toy_learns_its_matrix_where_the_mask_is_right():
    truth, keep, inputs = sparse.toy_matrix(torch.Generator().manual_seed(0))
    assert keep.sum() == (truth != 0).sum() == 6
    weight, momentum = torch.zeros(6, 3), torch.zeros(6, 3)
    for _ in range(5):
        weight, momentum, error = sparse.toy_training(weight, momentum, truth != 0, truth, inputs)
    assert error < 1e-4 and torch.allclose(weight, truth, atol=0.01)


def test_the_small_networks_have_about_as_many_weights_as_the_sparse_ones(data):
    for counts in sparse.weights(data).values():
        assert counts["sparse"] <= counts["small"] < 1.1 * counts["sparse"]
