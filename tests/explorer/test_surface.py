"""The measured grid behind the sliders."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oatlib
from oatlib.explorer import surface as module
from oatlib.explorer.measure import measure
from oatlib.explorer.surface import Surface, _ends_first
from oatlib.record import RecordError

DATA = oatlib.load_data("shapes", n_train=64, n_val=40, n_test=8)
SOURCE = ["shapes", DATA.options, "val", 40]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "EPS", (0.0, 4.0, 8.0))
    monkeypatch.setattr(module, "GAP", 0.5)
    monkeypatch.setattr(module, "attack_named", weak)


def weak(name, eps):
    """Attacks that are told apart and take no time."""
    return oatlib.PGD(eps, {"suite": 3, "quick": 2, "pgd-20": 1}[name] if eps else 0)


def made(recipe="oats", source=SOURCE, **options):
    return Surface(oatlib.build(recipe, DATA, **options), DATA.val, source)


def filled(surface):
    assert any(list(surface.fill(1.0, 8.0, everywhere=True)))
    return surface


def test_the_grid_holds_what_is_measured_there():
    surface = filled(made(stops=(0.0, 0.4, 1.0)))
    assert surface.lams == [0.0, 0.4, 0.7, 1.0] and not surface.missing(1.0, 8.0, everywhere=True)
    for w, e, i in [(0, 2, 3), (2, 0, 1), (1, 1, 2)]:
        attack = weak("quick", module.EPS[e] / 255)
        *_, last = measure(surface.net, DATA.val, surface.lams[i], surface.widths[w], attack)
        assert (surface.clean[w][i], surface.robust["quick"][w][e][i]) == (last["clean"], last["robust"])


def test_the_grid_has_every_stop_and_no_wide_gap_on_the_slider():
    net = oatlib.build("oat", DATA)
    net.slider = (0.0, 0.05, 0.1, 0.3, 1.0)
    lams = Surface(net, DATA.val).lams
    assert set(net.spec.stops) <= set(lams) and lams == sorted(set(lams))
    places = [module._place(net, lam) for lam in lams]
    assert max(b - a for a, b in pairwise(places)) <= module.GAP + 1e-9
    assert [net.lam(place) for place in places] == pytest.approx(lams)


def test_what_is_needed_first_is_measured_first():
    surface = made()
    cells = surface.missing(0.5, 4.0)
    assert {e for _, _, e, _ in cells} == {1}, "this eps only"
    assert [w for _, w, _, _ in cells] == sorted(w for _, w, _, _ in cells), "the nearest width first"
    assert [i for *_, i in cells][:2] == [0, len(surface.lams) - 1], "the ends first"
    assert {e for _, _, e, _ in surface.missing(0.5, 5.0)} == {1, 2}, "both sides of an eps between"
    steps = surface.fill(0.5, 4.0)
    while not next(steps):
        pass
    assert cells[0] not in surface.missing(0.5, 4.0) and len(surface.missing(0.5, 4.0)) == len(cells) - 1


def test_what_is_recorded_ahead_is_the_suite_at_full_width_with_pgd_beside_it_and_the_quick_suite():
    surface = made()
    plan, dial, full = surface.planned(), len(surface.lams), len(surface.widths) - 1
    quick = 2 * dial * (full + 1) + dial * full  # at two other eps everywhere, and at 8/255 where it is narrow
    assert [attack for attack, *_ in plan] == ["suite"] * dial + ["pgd-20"] * dial + ["quick"] * quick
    assert {(w, e) for attack, w, e, _ in plan if attack != "quick"} == {(full, 2)}
    assert (full, 2) not in {(w, e) for attack, w, e, _ in plan if attack == "quick"}
    for cell in plan[:dial]:
        assert list(surface.measure(cell))[-1] is True
    assert surface.attack_at(full, 2) == "suite" and surface.attack_at(full, 1) is None
    at_full_width = {e for _, w, e, _ in surface.missing(1.0, 8.0, everywhere=True) if w == full}
    assert at_full_width == {0, 1}, "the suite is enough at 8/255"
    for cell in surface.planned():
        list(surface.measure(cell))
    assert surface.planned() == surface.missing(1.0, 8.0, everywhere=True) == []
    _, w, e, i = plan[dial - 1]
    *_, last = measure(surface.net, DATA.val, surface.lams[i], surface.widths[w], weak("suite", module.EPS[e] / 255))
    assert surface.robust["suite"][w][e][i] == last["robust"]


def test_a_row_with_gaps_is_no_curve():
    surface = filled(made("blend"))
    assert surface.attack_at(0, 2) == "quick"
    list(surface.measure(("suite", 0, 2, 0)))
    assert surface.attack_at(0, 2) == "quick", "one point of the suite is no curve by the suite"


def test_mixed_outputs_are_those_of_the_two_ends():
    surface = made("oats", stops=(0.2, 0.6, 1.0))
    for cell in surface.planned():
        list(surface.measure(cell))
    assert surface.unmixed() == list(module.MIXING_WEIGHTS) and surface.table()["mixed"] is None
    for weight in (1.0, 0.6, 0.0):
        surface.mix(weight)
    assert [point[0] for point in surface.mixed] == [0.0, 0.6, 1.0] and surface.unmixed() == [0.5, 0.7, 0.8, 0.9]
    assert surface.mixed[0][1:] == (surface.clean[-1][0], surface.robust["suite"][-1][2][0])
    ends = [surface.net.at(lam)(DATA.val.x).softmax(1) for lam in (0.2, 1.0)]
    right = ((0.4 * ends[0] + 0.6 * ends[1]).argmax(1) == DATA.val.y).double().mean().item()
    assert surface.mixed[1][1] == pytest.approx(right) and surface.mixed[1][2] <= right
    assert made("pgd-at").unmixed() == []


def test_the_table_is_a_copy_and_ready_for_the_browser():
    surface = made("blend")
    before = surface.table()
    filled(surface)
    assert before["robust"]["quick"][0][0] == [None] * 3 and None not in surface.table()["robust"]["quick"][0][0]
    json.dumps(surface.table(), allow_nan=False)


def test_a_network_of_one_lambda_has_a_grid_of_one():
    assert made("pgd-at", lam=0.3).lams == [0.3]


@given(st.integers(1, 40))
def test_ends_first_is_an_order_of_all(n):
    assert sorted(range(n), key=_ends_first(n))[: min(n, 2)] == [0, n - 1][: min(n, 2)]
    assert sorted(sorted(range(n), key=_ends_first(n))) == list(range(n))


def test_a_saved_surface_comes_back_for_the_same_weights_and_images_only(tmp_path):
    path, surface = tmp_path / "oats.json", filled(made())
    surface.mixed = [(0.5, 0.75, 0.25)]
    surface.save(path)
    again = made()
    assert again.restore(path) and again.table() == surface.table() and again.mixed == surface.mixed
    others = {
        "weights": made(seed=1),
        "images": made(source=[*SOURCE[:3], 39]),
        "slider": made(),
        "unnamed images": made(source=None),
    }
    net = oatlib.build("oats", DATA)
    net.slider = (0.0, 0.3, 1.0)
    others["slider"] = Surface(net, DATA.val, SOURCE)
    for what, other in others.items():
        assert not other.restore(path), what
        assert other.missing(1.0, 8.0), "nothing was taken over"
    assert not made().restore(tmp_path / "none.json")


def test_what_was_measured_by_another_attack_of_the_same_name_is_left_out(tmp_path, monkeypatch):
    surface = filled(made("blend"))
    list(surface.measure(("suite", 0, 2, 0)))
    surface.mixed = [(0.5, 0.75, 0.25)]
    surface.save(tmp_path / "a.json")
    monkeypatch.setattr(
        module, "attack_named", lambda name, eps: oatlib.PGD(eps, 9) if name == "suite" else weak(name, eps)
    )
    again = made("blend")
    assert again.restore(tmp_path / "a.json") and again.robust["quick"] == surface.robust["quick"]
    assert again.robust["suite"][0][2] == [None] * 3 and again.mixed == []


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(RecordError, match=r"broken.json is not a JSON file"):
        made().restore(tmp_path / "broken.json")


def test_a_file_of_an_earlier_version_is_left_alone(tmp_path):
    (tmp_path / "old.json").write_text('{"of": {"attack": "PGD-20"}, "robust": []}', encoding="utf-8")
    assert not made().restore(tmp_path / "old.json")


def test_a_surface_with_gaps_is_saved_and_goes_on_from_there(tmp_path):
    surface = made("blend")
    first, second, *_ = surface.planned()
    list(surface.measure(first))
    surface.save(tmp_path / "a.json")
    again = made("blend")
    assert again.restore(tmp_path / "a.json") and again.planned()[0] == second
    with pytest.raises(ValueError, match="cannot save a surface without `source`"):
        made("blend", source=None).save(tmp_path / "b.json")
