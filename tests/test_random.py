"""Seeding PyTorch's global generator leaves no trace."""

import pytest
import torch

from oatlib._random import global_seed


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    def drawn(seed):
        with global_seed(seed):
            return torch.rand(3)

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))


def test_the_global_generator_continues_where_it_was():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with global_seed(1):
        torch.rand(7)
    assert torch.equal(torch.rand(2), expected)


def test_it_is_restored_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(KeyError), global_seed(1):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)
