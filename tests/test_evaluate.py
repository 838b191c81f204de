import contextlib
import json
import math
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import oatlib
from oatlib._html import html_table
from oatlib.attacks.apgd import APGD
from oatlib.attacks.pgd import FGSM, PGD
from oatlib.attacks.square import Square
from oatlib.attacks.suite import Suite, default_attack
from oatlib.data.load import Split
from oatlib.evaluation.evaluate import evaluate
from oatlib.evaluation.results import Result, Table, wilson
from oatlib.networks.network import Network
from oatlib.networks.spec import Spec
from oatlib.record import RecordError

STOPS = (0.0, 0.5, 1.0)
EPS = 8 / 255
quick = settings(max_examples=100, deadline=None)


def split(n=12, channels=1, classes=3, size=8, name="test"):
    x = torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))
    return Split(x, torch.arange(n) % classes, name)


def network(seed=0, **options):
    row = {"dual": True, "film": True, "codes": "onehot"} | options
    net = Network(
        Spec(
            recipe="oat",
            backbone="tiny",
            shape=(1, 8, 8),
            classes=("a", "b", "c"),
            stops=STOPS,
            data={"name": "digits"},
            **row,
        ),
        seed,
    )
    with torch.no_grad():  # so that the λ stops differ
        for i, part in enumerate(p for p in net.modules() if isinstance(p, nn.BatchNorm2d)):
            part.running_mean.copy_(torch.randn(len(part.running_mean), generator=torch.Generator().manual_seed(i)) / 3)
        net.body.head.each[0].bias.sub_(net(split(60).x, 0.5).mean(0))  # and the answers, too
    return net


def measure(f, data, attack=None, **options):
    return evaluate(f, data, attack or PGD(EPS, 3), progress=False, **options)


# ---- against a network whose robustness is known ------------------------------------------------------------------


def brightness(x):
    """Class 1 if the mean pixel is above one half: an attack of size eps moves the mean by eps at most."""
    z = 20 * (x.mean((1, 2, 3)) - 0.5)
    return torch.stack([-z, z], 1)


def bright(margins, wrong=0):
    """One grey image per margin to the threshold, all but the first `wrong` rightly labelled."""
    means = torch.tensor(margins, dtype=torch.float64) + 0.5
    texture = torch.linspace(-0.2, 0.2, 16, dtype=torch.float64).view(1, 1, 4, 4)  # of mean zero
    y = (means > 0.5).long()
    y[:wrong] = 1 - y[:wrong]
    return Split(means.view(-1, 1, 1, 1) + texture, y, "test")


def assert_counted(measured, margins, eps, wrong=0):
    """Clean accuracy is the share of right labels; an image stays right if its margin is larger than eps."""
    (row,) = measured(bright(margins, wrong), PGD(eps, 10))
    n = len(margins)
    right = [i for i in range(n) if i >= wrong]
    assert (row.n, row.clean) == (n, len(right) / n)
    assert row.robust == sum(abs(margins[i]) > eps for i in right) / n


MARGINS = [0.2, 0.001, -0.01, 0.0299, 0.0301, -0.0299, -0.0301, 0.1, -0.25, 0.031]


@pytest.mark.parametrize("eps", [0.0, 0.0005, 0.03, 0.05, 0.15])
@pytest.mark.parametrize("wrong", [0, 3])
@pytest.mark.parametrize("batch", [1, 4, 256])
def test_accuracies_are_exact_where_the_truth_is_known(eps, wrong, batch):
    assert_counted(lambda data, attack: measure(brightness, data, attack, batch_size=batch), MARGINS, eps, wrong)


def last_batch_dropped(data, attack):
    return measure(brightness, replace(data, x=data.x[:8], y=data.y[:8]), attack)


def weak_attack(data, attack):
    return measure(brightness, data, replace(attack, eps=attack.eps / 2))


def accuracies_swapped(data, attack):
    (row,) = measure(brightness, data, attack)
    return Table([replace(row, clean=row.robust, robust=row.clean)])


@pytest.mark.parametrize("fault", [last_batch_dropped, weak_attack, accuracies_swapped])
def test_planted_faults_are_caught(fault):
    with pytest.raises(AssertionError):
        assert_counted(fault, MARGINS, 0.03)


def test_without_an_attack_radius_robust_is_clean():
    for row in measure(network(), split(30), PGD(0.0, 3)):
        assert row.robust == row.clean and (row.robust_low, row.robust_high) == (row.clean_low, row.clean_high)


# ---- what a result says -------------------------------------------------------------------------------------------


def test_a_result_carries_all_that_is_needed_to_repeat_it():
    net = network()
    net.trained.append({"seed": 1})
    table = measure(net, split(name="val"), PGD(EPS, 3, restarts=2), seed=5)
    assert [r.lam for r in table] == list(STOPS)
    for r in table:
        assert (r.n, r.split, r.seed, r.width) == (12, "val", 5, 1.0)
        assert [r.attack[key] for key in ("name", "eps", "steps", "restarts")] == ["PGD", EPS, 3, 2]
        assert (r.clean_low, r.clean_high) == wilson(round(r.clean * 12), 12)
        assert (r.robust_low, r.robust_high) == wilson(round(r.robust * 12), 12)
        assert r.about["recipe"] == "oat" and r.about["backbone"] == "tiny" and r.about["data"] == {"name": "digits"}
        assert r.about["trained"] == [{"seed": 1}] and r.about["stops"] == list(STOPS)
        assert "torch" in r.about["versions"]
    net.trained.append({"seed": 2})  # trained on: the old result keeps its own history
    assert table[0].about["trained"] == [{"seed": 1}]


def test_the_default_attack_is_the_quick_suite_at_8():
    (row,) = evaluate(brightness, bright(MARGINS), progress=False)
    assert row.attack == default_attack().describe() | {"text": str(default_attack())}
    assert (row.attack["name"], row.attack["budget"], row.attack["eps"]) == ("suite", "quick", 8 / 255)
    assert row.robust == sum(abs(margin) > 8 / 255 for margin in MARGINS) / len(MARGINS)
    assert row.lam is None and row.about == {} and row.seconds >= 0


def test_any_lam_can_be_asked_for_as_tensor_or_list(tmp_path):
    table = measure(network(), split(), lams=torch.tensor([0.25, 0.75]))
    assert [r.lam for r in table] == [0.25, 0.75] and all(type(r.lam) is float for r in table)
    table.save(tmp_path / "t.json")
    listed = measure(network(), split(), lams=[0.25, 0.75])
    assert [(r.clean, r.robust) for r in listed] == [(r.clean, r.robust) for r in table]


def test_tables_survive_the_file(tmp_path):
    path = tmp_path / "table.json"
    for table in (measure(network(), split(), FGSM(EPS)), Table()):
        table.save(path)
        back = Table.load(path)
        assert back == table and isinstance(back, Table) and str(back) == str(table)
        assert json.loads(path.read_text()).keys() == {"results"}


def test_files_of_earlier_versions_are_read(tmp_path):
    """They say `draws` for `noise_samples`."""
    table, path = Table([row(0.9, 0.3, noise_samples=4)]), tmp_path / "table.json"
    rows = [{"draws" if name == "noise_samples" else name: v for name, v in r.items()} for r in table.as_json()]
    path.write_text(json.dumps({"results": rows}))
    assert Table.load(path) == table


def test_data_or_split_may_be_given_and_the_result_names_the_part():
    data = oatlib.from_tensors("three", *[(split(n).x, split(n).y) for n in (6, 9, 12)], classes=("a", "b", "c"))
    net = network()
    (of_data,), (of_split,) = (measure(net, images, lams=[0.5]) for images in (data, data.val))
    assert [(r.split, r.n) for r in (of_data, of_split)] == [("test", 12), ("val", 9)]
    with pytest.raises(TypeError, match=r"such as data\.test, got Tensor"):
        measure(net, data.test.x)


# ---- tables for people and for pandas -------------------------------------------------------------------------------


def test_html_shows_what_text_shows_and_escapes_it():
    attack = {"name": "PGD", "eps": EPS, "text": "<b>PGD & co</b>"}
    about = {"recipe": "<script>", "stops": [0.0, 1.0]}
    table = Table([row(0.9, 0.1, lam=0.0, attack=attack, about=about), row(0.8, 0.3, lam=1.0, attack=attack)])
    page = ElementTree.fromstring(f"<div>{table._repr_html_()}</div>")  # well-formed, or this raises
    assert [cell.text for cell in page.iter("th")] == ["λ", "width", "clean", "robust", "multiply-adds"]
    cells = [cell.text for cell in page.iter("td")]
    assert len(cells) == 10 and cells[5] == "1" and cells[7].startswith("80.0% [") and cells[8].startswith("30.0% [")
    lines = [text for text in page.find("p").itertext()]
    assert lines == str(table).splitlines()[3:] and "<b>PGD & co</b>" in lines[0] and "<script>: trained" in lines[-1]
    assert "<script>" not in table._repr_html_() and Table()._repr_html_() == "<p>(no results)</p>"


def test_to_pandas_has_a_row_per_result(monkeypatch):
    frames = SimpleNamespace(DataFrame=lambda rows, columns: [tuple(each[name] for name in columns) for each in rows])
    monkeypatch.setitem(sys.modules, "pandas", frames)
    table = measure(network(), split(), lams=[0.0, 1.0])
    table += measure(brightness, bright(MARGINS))
    names = [name for name in Result.__dataclass_fields__ if name != "about"]
    found = [dict(zip([*names, "recipe"], values, strict=True)) for values in table.to_pandas()]
    assert [(r["lam"], r["recipe"]) for r in found] == [(0.0, "oat"), (1.0, "oat"), (None, None)]
    assert all(r["attack"] == str(PGD(EPS, 3)) for r in found) and found[1]["robust"] == table[1].robust


def test_with_pandas_itself():
    pandas = pytest.importorskip("pandas")
    table = measure(network(), split(), lams=[0.0, 1.0])
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame["lam"]) == [0.0, 1.0] and frame["split"][0] == "test"


def test_without_pandas_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="Table.to_pandas needs pandas: pip install pandas"):
        Table([row(0.9, 0.3)]).to_pandas()


@pytest.mark.parametrize("content", ["[]", "{}", '{"results": [{"lam": 1}]}', '{"results": [3]}', '{"results": null}'])
def test_a_file_without_results_is_named(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=r"table\.json holds no results of oatlib"):
        Table.load(path)


def row(clean, robust, lam=0.5, **changes):
    values = {
        "lam": lam,
        "width": 1.0,
        "n": 200,
        "clean": clean,
        "clean_low": clean - 0.05,
        "clean_high": clean + 0.05,
        "robust": robust,
        "robust_low": robust - 0.05,
        "robust_high": robust + 0.05,
        "attack": {"text": "PGD-20"},
        "split": "test",
        "seed": 0,
        "seconds": 1.0,
    }
    return Result(**values | changes)


def test_a_table_reads_as_a_table():
    text = str(Table([row(0.95, 0.1, 0.0), row(0.9, 0.55, 1.0)]))
    lines = text.splitlines()
    assert len(lines) == 5 and len({len(line) for line in lines[:3]}) == 1  # aligned
    assert lines[0].split() == ["λ", "width", "clean", "robust", "multiply-adds"]
    assert lines[1].split() == ["0", "1", "95.0%", "[90.0%,", "100.0%]", "10.0%", "[5.0%,", "15.0%]", "-"]
    assert "n = 200 (test), PGD-20, attack seed 0; 95 % intervals" in lines[3]
    assert repr(Table([row(0.9, 0.5)])) == str(Table([row(0.9, 0.5)])) and str(Table()) == "(no results)"


def test_one_result_is_a_line_of_text_and_a_table_in_notebooks():
    result = row(0.9, 0.5, 0.3, about={"recipe": "oat", "data": {"name": "shapes"}})
    assert repr(result) == str(result) == "Result(λ 0.3, width 1: clean 90.0%, robust 50.0%, n = 200)"
    assert repr(row(0.9, 0.5, None)).startswith("Result(width 1: clean")
    assert result._repr_html_() == Table([result])._repr_html_() and "{" not in result._repr_html_()


def test_names_in_a_table_for_notebooks_are_no_markup():
    assert html_table(["a<b"], [["&"]], ["<i>"]) == (
        "<table><thead><tr><th>a&lt;b</th></tr></thead><tbody><tr><td>&amp;</td></tr></tbody></table><p>&lt;i&gt;</p>"
    )


def test_a_table_of_two_measurements_names_both():
    text = str(Table([row(0.9, 0.5), row(0.8, 0.6, n=50, attack={"text": "FGSM"}), row(0.8, 0.7)]))
    assert "n = 200 (test), PGD-20" in text and "n = 50 (test), FGSM" in text and text.count("n = ") == 2


# ---- the same again -----------------------------------------------------------------------------------------------


def facts(table):
    return [replace(r, seconds=0.0) for r in table]


class Soft(nn.Module):
    """Not saturated and not linear, so that where an attack ends depends on where it began."""

    def forward(self, x):
        z = (torch.sin(40 * x)).flatten(1)
        return torch.stack([z[:, ::2].mean(1), z[:, 1::2].mean(1)], 1)


def test_a_seed_gives_the_same_table_and_another_seed_another():
    data = split(400, classes=2, size=4)
    attack = PGD(0.1, 1, step_size=0.01)
    a, b, other = (measure(Soft().eval(), data, attack, seed=seed) for seed in (1, 1, 2))
    assert facts(a) == facts(b) and a[0].robust != other[0].robust


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_batch_size_does_not_matter(batch):
    """Images draw their random starts one after another. (Later restarts do depend on the batch.)"""
    data = split(100, classes=2, size=4)
    attack = PGD(0.1, 1, step_size=0.01)
    some, all_ = (measure(Soft().eval(), data, attack, batch_size=size) for size in (batch, 100))
    assert facts(some) == facts(all_) and 0 < some[0].robust < 1


def test_the_global_random_state_is_neither_read_nor_written():
    before = torch.get_rng_state()
    first = measure(network(), split())
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert facts(measure(network(), split())) == facts(first)


# ---- images are dropped once they are misclassified, where that changes no number -----------------------------------


def both_ways(f, data, attack, batch=256):
    """(clean, robust) of `evaluate`, and by hand from the attacked images of every batch."""
    (row,) = measure(f, data, attack, batch_size=batch)
    source, right, holds = torch.Generator().manual_seed(0), 0, 0
    for x, y in zip(data.x.split(batch), data.y.split(batch), strict=True):
        x_adv = attack(f, x, y, source)
        with torch.no_grad():
            correct = f(x).argmax(1) == y
            right, holds = right + correct.sum(), holds + (correct & (f(x_adv).argmax(1) == y)).sum()
    return (row.clean, row.robust), (right.item() / len(data), holds.item() / len(data))


@pytest.mark.parametrize("batch", [64, 200])
@pytest.mark.parametrize("attack", [
    PGD(0.01, 3, step_size=0.002), PGD(0.01, 3, step_size=0.002, best=False), PGD(0.01, 2, restarts=3), FGSM(0.01),
    PGD(0.02, 4, norm="l2"), APGD(0.01, 4, targets=1), Square(0.02, 20), Suite(0.01, budget="quick"),
    Suite(0.02, "l2", budget="quick"),
], ids=str)  # fmt: skip
def test_dropping_images_gives_the_same_numbers_as_attacking_all(attack, batch):
    if isinstance(attack, Square):  # it draws at every query: where it ends early, the next batch draws other squares
        batch = 200
    f, data = Soft().eval(), split(200, classes=2, size=4)
    truth = f(data.x).argmax(1)
    data = replace(data, y=torch.where(torch.arange(200) % 5 > 0, truth, 1 - truth))
    found, wanted = both_ways(f, data, attack, batch)
    assert found == pytest.approx(wanted) and found[0] == 0.8 and 0.05 < found[1] < 0.75


class Costly(Soft):
    """Counts the images that it is asked about."""

    def __init__(self):
        super().__init__()
        self.images = 0

    def forward(self, x):
        self.images += len(x)
        return super().forward(x)


def test_dropping_images_saves_compute():
    data, f = split(200, classes=2, size=4), Costly().eval()
    (row,) = measure(f, data, PGD(0.3, 20))
    assert row.robust < 0.2 and f.images < 200 * 10, "all images for all of the 21 points would be 4,200"


def test_a_function_that_answers_at_random_is_not_fooled_by_being_asked_often():
    source, data = torch.Generator().manual_seed(0), split(400, classes=2, size=4)

    def fickle(x):  # right nine times out of ten, whatever the image
        y = (torch.arange(len(x)) % 2) if len(x) <= 400 else (torch.arange(len(x)) % 400) % 2
        wrong = torch.rand(len(x), generator=source) < 0.1
        return nn.functional.one_hot(torch.where(wrong, 1 - y, y), 2).float() + 0 * x.sum()

    (row,) = measure(fickle, data, PGD(EPS, 20, best=True))
    assert row.clean > 0.85 and row.robust > 0.75, "of the images, not of the 22 answers to each"


def test_an_attack_that_keeps_its_last_iterate_is_measured_at_it():
    """Its best iterate is another number, and would be another attack than the record says."""
    data, attack = split(200, classes=2, size=4), PGD(0.1, 6, step_size=0.15)
    last, best = (measure(Soft().eval(), data, replace(attack, best=best))[0].robust for best in (False, True))
    assert best < last


# ---- hands off ----------------------------------------------------------------------------------------------------


def state(f):
    modes = [part.training for part in f.modules()]
    return modes, [p.requires_grad for p in f.parameters()], {k: t.clone() for k, t in f.state_dict().items()}


def assert_untouched(f, use):
    """Modes, gradient flags, weights and buffers are as before, also when `use` raises; no gradients are left."""
    modes, wants, tensors = state(f)
    with contextlib.suppress(RuntimeError):
        use(f)
    now = state(f)
    assert now[:2] == (modes, wants)
    assert all(torch.equal(t, tensors[name]) for name, t in now[2].items())
    assert all(p.grad is None for p in f.parameters())


@dataclass(frozen=True)
class Broken(PGD):
    """Fails in its second step."""

    name = "broken"

    def walk(self, *arguments, **options):
        walk = super().walk(*arguments, **options)
        assert walk.advance()
        walk.advance = self.fail
        return walk

    def fail(self):
        raise RuntimeError("attack failed")


@dataclass(frozen=True)
class Stirring(PGD):
    """Puts the network in train mode, so that its BatchNorms take in what the attack sends through."""

    name = "stirring"

    def walk(self, f, *arguments, **options):
        def stirred(images):
            if isinstance(f, nn.Module):
                f.train()
            return f(images)

        return super().walk(stirred, *arguments, **options)


class Careless:
    """Such an attack without the care that all attacks of the house take."""

    best = False

    def __call__(self, f, x, y, generator):
        f.train()(x)
        return x

    def describe(self):
        return {"name": "careless"}


def plain_module():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    net[0].weight.requires_grad_(False)
    return net


ATTACKS = [PGD(EPS, 2), Broken(EPS, 2), Stirring(EPS, 2)]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
@pytest.mark.parametrize("make", [network, plain_module])
def test_the_network_is_left_as_it_was(make, attack):
    assert_untouched(make(), lambda f: measure(f, split(), attack))


def test_a_network_in_training_stays_in_training():
    assert_untouched(network().train(), lambda f: measure(f, split()))


def test_an_attack_that_writes_statistics_is_caught():
    with pytest.raises(AssertionError):
        assert_untouched(plain_module(), lambda f: measure(f, split(), Careless()))
    assert_untouched(network(), lambda f: measure(f, split(), Careless()))  # a network with dials is out of its reach


def test_each_lam_is_attacked_by_itself():
    """What the attack sees is `net.at` of the very λ that is measured."""
    seen, net, data = [], network(), split()

    class Spy(PGD):
        def survivors(self, f, x, y, generator=None):
            with torch.no_grad():
                seen.append(f(data.x))
            return super().survivors(f, x, y, generator)

    lams = [0.0, 0.3, 1.0]
    measure(net, data, Spy(EPS, 2), lams=lams)
    with torch.no_grad():
        expected = [net.at(lam)(data.x) for lam in lams]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))
    assert not torch.equal(expected[0], expected[1]) and not torch.equal(expected[1], expected[2])


class Never(PGD):
    """An attack that must not be reached."""

    def __call__(self, *_, **__):
        raise AssertionError("work was done before the check")

    survivors = __call__


@pytest.mark.parametrize("data, options, words", [
    (split(channels=3), {}, ["(1, 8, 8)", "(3, 8, 8)"]),
    (split(size=16), {}, ["(1, 8, 8)", "(1, 16, 16)"]),
    (split(classes=4), {}, ["takes images (1, 8, 8) with labels 0 to 2", "with labels 0 to 3"]),
    (split(0), {}, ["test split is empty"]),
    (split(), {"lams": [0.0, 1.5]}, ["1.5", "[0, 1]"]),
    (split(), {"lams": [0.0, float("nan")]}, ["nan", "[0, 1]"]),
    (split(), {"widths": [1.0, 0.5]}, ["0.5", "widths are 1"]),
])  # fmt: skip
def test_what_cannot_be_measured_is_refused_before_any_work(data, options, words):
    with pytest.raises(ValueError) as caught:
        measure(network(), data, Never(EPS), **options)
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))


def test_a_plain_function_has_no_dials():
    with pytest.raises(ValueError, match="are for an oatlib network"):
        measure(brightness, bright(MARGINS), lams=[0.1])


@pytest.mark.parametrize("part", [slice(None), 1])
def test_a_module_in_train_mode_is_refused(part):
    f = plain_module()
    (f if part == slice(None) else f[part]).train()
    with pytest.raises(ValueError, match="train mode"):
        measure(f, split(), Never(EPS))


# ---- statistics ---------------------------------------------------------------------------------------------------


def assert_wilson(interval, right, n):
    """Both ends solve (p - share)² = z² p (1 - p) / n, the score equation."""
    z, share = 1.96, right / n
    a, b, c = 1 + z * z / n, -(2 * share + z * z / n), share * share
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    low, high = interval(right, n)
    assert low == pytest.approx((-b - root) / (2 * a), abs=1e-9) and high == pytest.approx(
        (-b + root) / (2 * a), abs=1e-9
    )
    assert 0 <= low <= share <= high <= 1


@quick
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_solves_the_score_equation(pair):
    assert_wilson(wilson, *pair)


@pytest.mark.parametrize("right, n, low, high", [
    (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (8, 10, 0.4901, 0.9433), (5, 10, 0.2366, 0.7634),
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718),
])  # fmt: skip
def test_wilson_gives_published_values(right, n, low, high):
    """The last three: Newcombe 1998, Statistics in Medicine 17, table I."""
    assert wilson(right, n) == pytest.approx((low, high), abs=6e-5)


def wald(right, n):
    half = 1.96 * math.sqrt(right / n * (1 - right / n) / n)
    return max(0.0, right / n - half), min(1.0, right / n + half)


def test_the_textbook_interval_is_caught():
    with pytest.raises(AssertionError):
        assert_wilson(wald, 8, 10)


@pytest.mark.parametrize("right, n", [(-1, 5), (6, 5), (0, 0)])
def test_wilson_refuses_what_is_no_count(right, n):
    with pytest.raises(ValueError, match=f"got right={right} and n={n}"):
        wilson(right, n)


tenths = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), max_size=7)


@quick
@given(tenths)
def test_the_frontier_is_what_nothing_beats(points):
    table = Table(row(x / 10, y / 10) for x, y in points)
    kept = {(r.clean, r.robust) for r in table.frontier}

    def beaten(p):
        return any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)

    assert kept == {(x / 10, y / 10) for x, y in points if not beaten((x, y))}
    clean = [r.clean for r in table.frontier]
    assert clean == sorted(clean, reverse=True) and len(clean) == len(kept)


# ---- how often the dials are resolved ----


def test_each_setting_is_resolved_and_folded_once(monkeypatch):
    net = network(widths=(0.5, 1.0))
    calls = {"position": 0, "_fold_body": 0}

    def counted(name):
        method = getattr(Network, name)

        def call(*args, **options):
            calls[name] += 1
            return method(*args, **options)

        return call

    for name in calls:
        monkeypatch.setattr(Network, name, counted(name))
    table = measure(net, split(4), PGD(EPS, 1))
    assert len(table) == 2 * len(STOPS) and calls == {"position": len(table), "_fold_body": len(table)}
