"""The measured grid behind the sliders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oatlib
from oatlib.lab import surface as module
from oatlib.lab.live import measure
from oatlib.lab.surface import Surface, _ends_first
from oatlib.record import RecordError

DATA = oatlib.load_data("shapes", n_train=64, n_val=40, n_test=8)
SOURCE = ["shapes", DATA.options, "val", 40]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "EPS", (0.0, 4.0, 8.0))
    monkeypatch.setattr(module, "ATTACK_STEPS", 2)
    monkeypatch.setattr(module, "POSITIONS", (0.0, 0.5, 1.0))


def made(recipe="oats", source=SOURCE, **options):
    return Surface(oatlib.build(recipe, DATA, **options), DATA.val, source)


def filled(surface):
    assert any(list(surface.fill(1.0, 8.0, everywhere=True)))
    return surface


def test_the_grid_holds_what_is_measured_there():
    surface = filled(made(stops=(0.0, 0.4, 1.0)))
    assert surface.lams == [0.0, 0.4, 0.5, 1.0] and not surface.missing(1.0, 8.0, everywhere=True)
    for w, e, i in [(0, 2, 3), (2, 0, 1), (1, 1, 2)]:
        eps = module.EPS[e]
        attack = oatlib.PGD(eps / 255, 2 if eps else 0)
        *_, last = measure(surface.net, DATA.val, surface.lams[i], surface.widths[w], attack)
        assert (surface.clean[w][i], surface.robust[w][e][i]) == (last["clean"], last["robust"])


def test_what_is_needed_first_is_measured_first():
    surface = made()
    cells = surface.missing(0.5, 4.0)
    assert {e for _, e, _ in cells} == {1}, "this eps only"
    assert [w for w, _, _ in cells] == sorted(w for w, _, _ in cells), "the nearest width first"
    assert [i for _, _, i in cells][:2] == [0, len(surface.lams) - 1], "the ends first"
    assert {e for _, e, _ in surface.missing(0.5, 5.0)} == {1, 2}, "both sides of an eps between"
    steps = surface.fill(0.5, 4.0)
    while not next(steps):
        pass
    assert cells[0] not in surface.missing(0.5, 4.0) and len(surface.missing(0.5, 4.0)) == len(cells) - 1


def test_the_table_is_a_copy_and_ready_for_the_browser():
    surface = made("blend")
    before = surface.table()
    filled(surface)
    assert before["robust"][0][0] == [None] * 3 and surface.table()["robust"][0][0] != [None] * 3


def test_a_network_of_one_lambda_has_a_grid_of_one():
    assert made("pgd-at", lam=0.3).lams == [0.3]


@given(st.integers(1, 40))
def test_ends_first_is_an_order_of_all(n):
    assert sorted(range(n), key=_ends_first(n))[: min(n, 2)] == [0, n - 1][: min(n, 2)]
    assert sorted(sorted(range(n), key=_ends_first(n))) == list(range(n))


def test_a_saved_surface_comes_back_for_the_same_weights_and_images_only(tmp_path):
    path, surface = tmp_path / "oats.json", filled(made())
    surface.save(path)
    again = made()
    assert again.restore(path) and again.table() == surface.table()
    others = {
        "weights": made(seed=1),
        "images": made(source=[*SOURCE[:3], 39]),
        "slider": made(),
        "unnamed images": made(source=None),
    }
    others["slider"].net.slider = (0.0, 0.3, 1.0)
    for what, other in others.items():
        assert not other.restore(path), what
        assert other.missing(1.0, 8.0), "nothing was taken over"
    assert not made().restore(tmp_path / "none.json")


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(RecordError, match=r"broken.json is not a JSON file"):
        made().restore(tmp_path / "broken.json")


def test_a_surface_with_gaps_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="no gaps"):
        made().save(tmp_path / "a.json")
    with pytest.raises(ValueError, match="what its images are"):
        filled(made("blend", source=None)).save(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())
