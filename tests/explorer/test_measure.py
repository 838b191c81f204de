"""A setting measured for all to see: the numbers are those of `evaluate`, the gallery is what was measured."""

import base64
import json
import threading

import pytest
import torch

import oatlib
from oatlib.attacks.losses import cross_entropy
from oatlib.explorer import measure as live
from oatlib.explorer.measure import HELPER, head, measure, refine
from oatlib.explorer.shipped import FOLDER

pytestmark = pytest.mark.slow

DATA = oatlib.load_data("shapes", n_train=8, n_val=300, n_test=8)  # 300: more than one batch


@pytest.fixture(scope="module")
def net():
    return oatlib.load(FOLDER / "oats.safetensors")  # one that comes with oatlib: training takes 20 s


def frames(net, lam=0.5, width=1.0, eps=8, steps=6, panel=DATA.val, watched=range(6)):
    return list(measure(net, panel, lam, width, oatlib.PGD(eps / 255, steps), watched))


@pytest.mark.parametrize(("lam", "width", "eps", "steps"), [(0.0, 1.0, 2, 5), (1.0, 0.5, 4, 5), (0.15, 0.75, 1, 2)])
def test_the_settled_numbers_are_those_of_evaluate(net, lam, width, eps, steps):
    last = frames(net, lam, width, eps, steps)[-1]
    attack = oatlib.PGD(eps / 255, steps)
    (result,) = oatlib.evaluate(net, DATA.val, attack, [lam], [width], progress=False)
    assert last["phase"] == "settled" and last["n"] == result.n
    assert last["clean"] == result.clean and 0 < result.robust < result.clean
    assert abs(last["robust"] - result.robust) <= 1.01 / 300, "batches of other sizes round differently: one image"
    assert last["nonzero"] == oatlib.cost(net, lam, width).nonzero


def test_clean_comes_first_then_robust_falls_step_by_step(net):
    shown = frames(net)
    assert [frame["phase"] for frame in shown] == ["clean"] + ["walk"] * 6 + ["settled"]
    assert [frame["step"] for frame in shown] == list(range(-1, 7))
    robust = [frame["robust"] for frame in shown]
    assert robust == sorted(robust, reverse=True) and robust[0] == shown[0]["clean"] > robust[-1]
    assert all(frame["ms"] > 0 for frame in shown)
    json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_numbers_do_not_depend_on_the_number_of_threads(net, threads, monkeypatch):
    expected = frames(net)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = frames(net)
    assert [f["clean"] for f in found] == [f["clean"] for f in expected]
    assert abs(found[-1]["robust"] - expected[-1]["robust"]) <= 1.01 / 300
    assert [row["before"]["said"] for row in found[-1]["gallery"]] == [
        row["before"]["said"] for row in expected[-1]["gallery"]]  # fmt: skip


def helpers():
    return [each for each in threading.enumerate() if each.name.startswith(HELPER)]


@pytest.mark.parametrize("end", ["settled", "abandoned", "failed"])
def test_its_helpers_go_with_the_walk_and_leave_the_number_of_threads_as_it_was(net, end, monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    calls = []

    def fails_later(logits, y):
        calls.append(len(y))  # once per batch at the start of the attack
        return logits if len(calls) > 2 else cross_entropy(logits, y)

    loss = fails_later if end == "failed" else "ce"
    walk = measure(net, DATA.val, 0.5, 1.0, oatlib.PGD(8 / 255, 6, loss=loss))
    next(walk), next(walk)
    first = helpers()
    assert len(first) == 2, "else the test does not see them"
    if end == "abandoned":
        assert next(walk) and helpers() == first, "one pair for the whole walk"
        walk.close()
    elif end == "settled":
        assert list(walk)
    else:
        with pytest.raises(ValueError, match="one value per image"):
            list(walk)
    assert not helpers()
    monkeypatch.undo()
    assert torch.get_num_threads() == threads


def test_a_suite_leaves_what_it_leaves_when_it_runs_at_once(net):
    """A misclassified image stays so across the members, and the number of steps is an upper bound."""
    members = oatlib.APGD(4 / 255, steps=3), oatlib.APGD(4 / 255, steps=2, targets=2), oatlib.Square(4 / 255, 5)
    panel, suite = DATA.val.panel(60), oatlib.Suite(4 / 255, members=members)
    shown = list(measure(net, panel, 1.0, 1.0, suite))
    direct = suite.run(net.at(1.0), panel.x, panel.y, torch.Generator().manual_seed(0), progress=False)
    assert shown[-1]["phase"] == "settled" and shown[-1]["clean"] == pytest.approx(direct.clean)
    assert shown[-1]["robust"] == pytest.approx(direct.robust, abs=1.01 / 60)
    robust = [frame["robust"] for frame in shown]
    assert robust == sorted(robust, reverse=True) and shown[-1]["step"] <= shown[-1]["steps"]
    assert [frame["phase"] == "settled" for frame in shown].count(True) == 1


class Uneven:
    """An attack whose walk on a second batch ends at once, though images are left."""

    def walk_length_for(self, classes):
        return 4

    def survivors(self, f, x, y, generator):
        index, logits = torch.arange(len(y)), torch.nn.functional.one_hot(y, 8).float()
        for _ in range(2 if len(y) < 150 else 5):
            yield index, x, logits


def test_a_batch_that_ends_early_keeps_its_survivors(net, monkeypatch):
    monkeypatch.setattr(live, "BATCH", 200)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    shown = list(measure(net, DATA.val, 1.0, 1.0, Uneven()))
    assert [frame["robust"] for frame in shown] == [1.0] * 5 and shown[-1]["phase"] == "settled"


def test_an_attack_that_ends_before_its_bound_is_settled(net):
    few = DATA.val.panel(100)
    shown = list(measure(net, few, 1.0, 1.0, Uneven()))
    assert [frame["phase"] for frame in shown] == ["clean", "walk", "settled"] and shown[-1]["robust"] == 1.0


def test_without_an_attack_robust_is_clean(net):
    last = frames(net, eps=0, steps=0)[-1]
    assert last["phase"] == "settled" and last["robust"] == last["clean"]


def test_it_ends_when_nobody_stands(net):
    wrong = type(DATA.val)(DATA.val.x, (net.at(0.0)(DATA.val.x).argmax(1) + 1) % 8, "val")
    shown = frames(net, 0.0, panel=wrong)
    assert len(shown) == 1 and shown[0]["phase"] == "settled" and shown[0]["robust"] == shown[0]["clean"] == 0


def refined(net, first, lam, eps, steps, panel=DATA.val):
    """The frames of the first images, and those of the others."""
    attack = oatlib.PGD(eps / 255, steps)
    shown = list(measure(net, head(panel, first), lam, 1.0, attack, range(6)))
    return shown, list(refine(net, panel, lam, 1.0, attack, shown[-1]))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("first", [1, 128, 250])
def test_the_refined_numbers_are_those_of_evaluate_on_all_images(net, first, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    shown, more = refined(net, first, 0.15, 2, 4)
    last = more[-1]
    (result,) = oatlib.evaluate(net, DATA.val, oatlib.PGD(2 / 255, 4), [0.15], [1.0], progress=False)
    assert last["n"] == result.n == 300 and last["clean"] == result.clean and 0 < result.robust < result.clean
    assert abs(last["robust"] - result.robust) <= 1.01 / 300, "batches of other sizes round differently: one image"
    assert last["gallery"] == shown[-1]["gallery"] and last["phase"] == "settled" and not helpers()


class Coin:
    """An attack that fools the network where the first random number of an image is large."""

    def walk_length_for(self, classes):
        return 1

    def survivors(self, f, x, y, generator):
        index, right = torch.arange(len(y)), torch.nn.functional.one_hot(y, 8).float()
        yield index, x, right
        heads = torch.rand(x.shape, generator=generator).flatten(1)[:, :1] < 0.5
        yield index, x, torch.where(heads, right, -right)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("first", [1, 100, 257])
def test_the_other_images_get_the_random_numbers_of_one_run_over_all(net, first, threads, monkeypatch):
    *_, whole = measure(net, DATA.val, 0.5, 1.0, Coin())
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    *_, settled = measure(net, head(DATA.val, first), 0.5, 1.0, Coin())
    *_, last = refine(net, DATA.val, 0.5, 1.0, Coin(), settled)
    assert last["correct"] == whole["correct"] and 100 < last["correct"][1] < 200


def test_a_refinement_reports_after_every_part_and_attacks_no_image_twice(net, monkeypatch):
    monkeypatch.setattr(live, "PART", 80)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    attacked, survivors = [], oatlib.PGD.survivors

    def noting(self, f, x, y, generator=None):
        attacked.append(len(y))
        return survivors(self, f, x, y, generator)

    monkeypatch.setattr(oatlib.PGD, "survivors", noting)
    shown, more = refined(net, 80, 0.5, 4, 3)
    assert attacked == [80, 80, 80, 60]
    numbers = [frame["n"] for frame in more]
    assert sorted(set(numbers)) == [80, 160, 240, 300] and numbers == sorted(numbers)
    assert len(numbers) > 9, "the caller can stop after every step"
    for frame in more:
        correct = frame["correct"]
        assert correct == sorted(correct, reverse=True) and correct[-1] == round(frame["robust"] * frame["n"])
        assert frame["n"] > 80 or frame == shown[-1], "until a part is finished nothing changes"
    assert list(refine(net, DATA.val, 0.5, 1.0, oatlib.PGD(4 / 255, 3), more[-1])) == [], "nothing is left"


def test_a_part_whose_attack_ends_early_keeps_its_last_number(net):
    """The first images are all misclassified before the attack; the others stand."""
    right = net.at(0.0)(DATA.val.x).argmax(1)
    labels = torch.where(torch.arange(300) < 100, (right + 1) % 8, right)
    panel = type(DATA.val)(DATA.val.x, labels, "val")
    shown, more = refined(net, 100, 0.0, 0, 2, panel)
    assert shown[-1]["correct"] == [0] and more[-1]["correct"] == [200] * 4
    assert (more[-1]["step"], more[-1]["clean"], more[-1]["robust"]) == (2, 2 / 3, 2 / 3)


def test_an_abandoned_refinement_leaves_no_thread(net, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    attack = oatlib.PGD(8 / 255, 6)
    *_, last = measure(net, head(DATA.val, 64), 0.5, 1.0, attack)
    more = refine(net, DATA.val, 0.5, 1.0, attack, last)
    next(more), next(more)
    assert len(helpers()) == 2
    more.close()
    assert not helpers()


def test_the_first_images_of_a_panel_hold_all_classes_equally():
    panel = DATA.val.panel(200)
    first = head(panel, 64)
    assert torch.bincount(first.y).tolist() == [8] * 8 and torch.equal(first.x, panel.x[:64])
    assert len(head(panel, 500)) == 200 and first.facts.keys() == panel.facts.keys()


def test_noisy_weights_are_one_frozen_draw():
    noisy = oatlib.build("float", DATA)
    first, second = (frames(noisy, 1.0, steps=2)[-1] for _ in range(2))
    assert first["gallery"] == second["gallery"] and first["robust"] == second["robust"]


def pixels(text):
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8).view(16, 16, 3).permute(2, 0, 1)


def test_the_gallery_shows_what_was_measured(net):
    watched = [3, 250, 299]
    shown = frames(net, watched=watched)
    f, x, y = net.at(0.5), DATA.val.x[watched], DATA.val.y[watched]
    before = f(x).softmax(1)
    for i, row in enumerate(shown[-1]["gallery"]):
        assert row["before"]["said"] == before[i].argmax() and row["before"]["right"] == (before[i].argmax() == y[i])
        assert row["before"]["sure"] == pytest.approx(before[i].max().item(), abs=1e-3)
        change = pixels(row["image"]).float() - x[i] * 255
        assert change.abs().max() <= 8 + 0.51
        assert ("fell" in row) == (not row["now"]["right"])
    assert torch.equal(pixels(shown[0]["gallery"][0]["image"]), (x[0] * 255).round().byte())


def test_who_has_fallen_stays_as_he_fell(net):
    shown = frames(net, watched=range(60), steps=10)
    fallen = [i for i, row in enumerate(shown[-1]["gallery"]) if 0 < row.get("fell", -1) < 10]
    assert fallen, "some fall on the way"
    for i in fallen:
        at = shown[-1]["gallery"][i]["fell"]
        assert shown[at + 1]["gallery"][i] == shown[-1]["gallery"][i]
        assert "fell" not in shown[at]["gallery"][i], "frames that were shown do not change later"
