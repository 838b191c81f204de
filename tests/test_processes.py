"""Training in several processes: the result of one process, the same weights in all, and none that waits for ever.

Batches are small and few, and attacks take the sign of gradients. So rounding errors grow by a factor of ten per step,
in one process as well: results are compared after two steps.
"""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oatlib
from oatlib._processes import Processes
from oatlib.attacks.aimed import AimedPGD
from oatlib.training.lambda_batch import LEAST_OF_A_KIND, LambdaBatch
from tests import many

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes"),
]

# recipe, options of build, changes of the preset, steps
CASES = {
    "oat": ("oat", {}, {}, 2),
    "oats": ("oats", {}, {}, 2),
    "float": ("float", {}, {}, 2),
    "float, new noise at every forward": ("float", {"redraw": "forward", "loss": "as-coded"}, {"aimed": 0.0}, 2),
    "oat, sampled loss": ("oat", {"loss": "sampled"}, {}, 2),
    "trades": ("trades", {}, {}, 1),  # it starts where the gradient is almost zero
    "us-snn": ("us-snn", {}, {}, 2),
    "parts of unequal size": ("pgd-at", {}, {"batch": 31}, 2),
    "too few images to divide": ("oat", {}, {"batch": 8}, 1),
}
TOLERANCE = 3e-4  # of weights and statistics, whose changes are larger than 1e-2


def distance(states):
    """Return the largest difference between two states of a network."""
    one, other = states
    assert one.keys() == other.keys()
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


@pytest.fixture(scope="module")
def alone():
    return {name: many.train(*case) for name, case in CASES.items()}


def together(names, sync):
    answers = many.run(many.train_together, [CASES[name] for name in names], sync)
    assert not any(isinstance(answer, str) for answer in answers), answers
    return {name: [answer[number] for answer in answers] for number, name in enumerate(names)}


@pytest.fixture(scope="module")
def synchronised():
    return together(CASES, sync=True)


@pytest.fixture(scope="module")
def own_statistics():
    return together(["oat", "oats", "float", "too few images to divide"], sync=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_with_synchronised_statistics_two_processes_give_the_result_of_one(alone, synchronised, name):
    state, loss, _ = alone[name]
    for its_state, its_loss, _ in synchronised[name]:
        assert distance([state, its_state]) < TOLERANCE
        assert its_loss == pytest.approx(loss, abs=1e-4)
    # Or the test would pass on a training that stands still.
    recipe, options, *_ = CASES[name]
    start = oatlib.build(recipe, many.data(), **options).state_dict()
    assert distance([state, start]) > 30 * TOLERANCE


def test_all_processes_have_the_same_bits(synchronised, own_statistics):
    for results in (*synchronised.values(), *own_statistics.values()):
        states = [state for state, _, _ in results]
        assert distance(states) == 0
        assert results[0][1] == results[1][1]


def test_with_statistics_of_their_own_only_batchnorm_differs(alone, own_statistics):
    """The parts of a batch have other means and variances than the batch: noise in the result, but no bias.

    Without that difference (too few images to divide) the result is the same.
    """
    for name in ("oat", "oats", "float"):
        state, loss, _ = alone[name]
        [(its_state, its_loss, _), _] = own_statistics[name]
        assert 10 * TOLERANCE < distance([state, its_state]) < 0.2
        assert its_loss == pytest.approx(loss, rel=0.05)
    name = "too few images to divide"
    assert distance([alone[name][0], own_statistics[name][0][0]]) < 1e-6


@pytest.mark.parametrize("fault", ["no share", "own random starts", "local clipping"])
def test_wrong_sums_are_caught(alone, fault):
    """The comparison above is strict enough to see what a wrong division of the work does."""
    [(state, loss, _), _] = many.run(many.with_fault, CASES["oat"], fault)
    right, right_loss, _ = alone["oat"]
    assert distance([right, state]) > 3 * TOLERANCE or abs(right_loss - loss) > 0.1


@pytest.mark.slow
def test_masks_move_alike_and_a_resumed_training_has_the_same_bits(tmp_path):
    path = tmp_path / "run.safetensors"
    changes = {"epochs": 2, "lr": 0.2}
    answers = many.run(many.resume_together, "floats", changes, path)
    (whole, resumed), (other_whole, _) = answers
    assert distance([whole, other_whole]) == 0
    assert distance([whole, resumed]) == 0
    masks = {name for name in whole if name.endswith("masks.clean")}
    start = oatlib.build("floats", many.data()).state_dict()
    assert any((whole[name] != start[name]).any() for name in masks)
    assert all(whole[name].sum() == start[name].sum() for name in masks if "head" in name)
    # Another number of processes is another training.
    with pytest.raises(
        oatlib.RecordError, match="training in 2 processes, and this training has 1.*--nproc-per-node 2"
    ):
        many.train("floats", {}, changes, checkpoint=path, resume=True)


def test_nan_in_one_process_stops_all_in_words():
    """Inside of an epoch: at its beginning all get the weights of the first."""
    answers = many.run(many.with_a_nan, "oat", 2)
    for status, note in answers:
        assert status == "stopped"
        assert "NaN" in note


def test_a_process_that_is_killed_ends_the_others():
    survivor, victim = many.run(many.killed, "standard")
    assert victim is None
    assert "ProcessesError: another process of this training has ended" in survivor


WORDS = ["train", "standard", "--n-train", "64", "--epochs", "1", "--out", "net.safetensors"]


def test_one_process_prints_and_writes(tmp_path):
    (code, out, err), (other_code, other_out, other_err) = many.run(many.shell, WORDS, tmp_path)
    assert (code, other_code) == (0, 0), err + other_err
    assert "net.safetensors: written" in out
    assert "step" in err  # the progress bar
    assert not other_out + other_err
    assert os.listdir(tmp_path) == ["net.safetensors"]
    net = oatlib.load(tmp_path / "net.safetensors")
    assert (net.trained[0]["processes"], net.trained[0]["sync_batchnorm"]) == (2, False)


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_in_one_process_is_told_once_and_ends_all(tmp_path, rank):
    answers = many.run(many.shell, WORDS, tmp_path, rank)
    (code, out, err), (other_code, *other_output) = answers
    where = "process 1 of 2: " if rank else ""
    assert (code, other_code) == (2, 2)
    assert err == f"oatlib train: {where}no such folder\n"
    assert not out and not any(other_output)
    assert os.listdir(tmp_path) == []


def test_wrong_words_are_told_once(tmp_path):
    answers = many.run(many.shell, [*WORDS, "--preset", "fastt"], tmp_path)
    assert [code for code, _, _ in answers] == [2, 2]
    assert answers[0][2].count("\n") == 1 and "fastt" in answers[0][2]
    assert not answers[1][2]
    answers = many.run(many.shell, ["eval", "net.safetensors"], tmp_path)
    assert [code for code, _, _ in answers] == [2, 2]
    assert "only train works in several processes" in answers[0][2]
    assert not answers[1][2]


def test_other_arguments_in_another_process_are_named():
    answers = many.run(many.other_seed)
    for answer in answers:
        assert "the arguments of the training to be equal, but it differs in process 1 of 2" in answer


def test_synchronised_statistics_need_several_processes(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with (
        pytest.raises(oatlib.ProcessesError, match="needs several processes: start them with torchrun"),
        oatlib.join_processes(sync_batchnorm=True),
    ):
        pass


@pytest.mark.slow
def test_torchrun_trains(tmp_path):
    """The command of the documentation, with everything in it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "oatlib"]
    words = ["train", "oat", "--n-train", "64", "--epochs", "1", "--sync-batchnorm", "--out", "oat.safetensors"]
    done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "oat.safetensors: written" in done.stdout
    assert oatlib.load(tmp_path / "oat.safetensors").trained[0]["sync_batchnorm"] is True


# --- the parts of a batch ---


@given(st.integers(1, 40), st.integers(2, 4), st.integers(0, 2**20))
def test_the_parts_of_a_batch_are_the_batch(n, count, seed):
    generator = torch.Generator().manual_seed(seed)
    stops = (0.0, 0.5, 1.0)
    lambda_stop = torch.randint(3, (n,), generator=generator)
    attacked = (torch.rand(n, generator=generator) < 0.7) & (lambda_stop > 0)
    images = torch.arange(n).float()[:, None, None, None].expand(n, 1, 2, 2)
    batch = LambdaBatch(images, torch.arange(n), lambda_stop, stops, attacked)
    parts = [batch.part(Processes(rank, count)) for rank in range(count)]
    assert sum(part.share for part in parts) == pytest.approx(1)
    kinds = {(a, s > 0) for a, s in zip(attacked.tolist(), lambda_stop.tolist(), strict=True)}
    if parts[0].rows is None:
        assert all(torch.equal(part.labels, batch.labels) for part in parts)
        return
    assert torch.equal(torch.cat([part.labels for part in parts]).sort().values, torch.arange(n))
    for part in parts:
        labels = part.labels.tolist()
        assert part.images[:, 0, 0, 0].tolist() == labels
        assert part.lambda_stop.tolist() == [lambda_stop[label] for label in labels]
        assert part.lam.tolist() == [stops[stop] for stop in part.lambda_stop]
        assert [attacked[label] for label in labels] == [False] * part.n_clean + [True] * (len(part) - part.n_clean)
        whole = batch.labels[batch.attacked]
        assert torch.equal(whole[part.attacked_rows], part.labels[part.attacked])
        for kind in kinds:
            own = [(attacked[label].item(), lambda_stop[label].item() > 0) for label in labels]
            assert own.count(kind) >= LEAST_OF_A_KIND


@pytest.mark.parametrize("attack", [AimedPGD(0.1, 3), oatlib.PGD(0.1, 2, restarts=2), oatlib.PGD(0.1, 2, norm="l2")])
def test_rows_are_attacked_as_if_all_were(attack):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(6, 1, 3, 3, generator=generator)
    y = torch.randint(4, (6,), generator=generator)
    weight = torch.randn(4, 9, generator=generator)
    rows = torch.tensor([1, 2, 5])

    def f(images):
        return images.flatten(1) @ weight.T

    everything = attack(f, x, y, torch.Generator().manual_seed(1))
    part = attack(f, x, y, torch.Generator().manual_seed(1), rows)
    assert torch.allclose(part, everything[rows], atol=1e-6)
    assert not torch.allclose(part, attack(f, x[rows], y[rows], torch.Generator().manual_seed(1)), atol=1e-3)
