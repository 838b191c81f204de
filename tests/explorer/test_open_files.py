"""The networks that come with oatlib, and the page that opens them."""

import json
import shutil

import pytest

import oatlib
from bench import ship
from oatlib.attacks.suite import default_attack
from oatlib.explorer import app, open_files, server, shipped, surface
from oatlib.explorer.measure import measure

pytestmark = pytest.mark.slow


def test_all_are_there_and_small():
    assert [path.stem for path in shipped.shipped()] == list(shipped.MEMBERS)
    assert all(path.stat().st_size < 1e6 for path in shipped.FOLDER.iterdir())


@pytest.mark.parametrize("name", shipped.MEMBERS)
def test_each_fits_its_row_and_its_measurements(name):
    path, (recipe, options) = shipped.FOLDER / f"{name}.safetensors", shipped.MEMBERS[name]
    nets, data = open_files.opened([path])
    net = nets[name]
    assert net.spec == oatlib.build(recipe, data, **options).spec
    assert net.trained[0]["status"] == "finished" and net.trained[0]["seed"] == 0
    grid = open_files.measured([path], nets, data)[name]
    assert not grid.missing(1.0, 8.0, everywhere=True), "measured with other weights: python -m bench.ship"
    assert not grid.planned(), "the suite and PGD-20, too"
    # PGD-20 is recorded at full width, the quick suite at the narrowest one
    full, at_8 = len(grid.widths) - 1, surface.EPS.index(8.0)
    *_, last = measure(net, grid.panel, grid.lams[-1], grid.widths[full], oatlib.PGD(8 / 255, 20))
    assert abs(grid.clean[full][-1] - last["clean"]) <= 2.01 / open_files.N, "another machine rounds differently"
    assert abs(grid.robust["pgd-20"][full][at_8][-1] - last["robust"]) <= 4.01 / open_files.N
    if full:
        *_, last = measure(net, grid.panel, grid.lams[-1], grid.widths[0], default_attack(8 / 255))
        assert abs(grid.clean[0][-1] - last["clean"]) <= 2.01 / open_files.N
        assert abs(grid.robust["quick"][0][at_8][-1] - last["robust"]) <= 4.01 / open_files.N


def test_the_dedicated_networks_belong_to_the_same_images():
    data = oatlib.load_data("shapes", seed=0)
    marks = open_files.marks(data)
    assert [mark["lam"] for mark in marks] == [0.0, 0.1, 0.2, 0.3, 0.4, 1.0]
    assert all(len(mark["robust"]) == len(mark["eps"]) == len(surface.EPS) for mark in marks)
    assert open_files.marks(oatlib.load_data("shapes", seed=1)) == []


def test_networks_of_different_data_are_not_shown_together(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        data = oatlib.load_data("shapes", seed=seed, n_train=8, n_val=8, n_test=8)
        oatlib.save(oatlib.build("blend", data), tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="b and a were trained on different data"):
        open_files.opened([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])


def test_two_files_of_one_name_are_told_apart(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(shipped.FOLDER / "blend.safetensors", tmp_path / folder)
    nets, _ = open_files.opened([tmp_path / "one" / "blend.safetensors", tmp_path / "two" / "blend.safetensors"])
    assert list(nets) == ["blend", "blend'"]


def test_without_the_ready_networks_it_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(oatlib.RecordError, match=r"python -m bench\.ship"):
        shipped.shipped()


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Few images, a short training, and an attack of one step instead of each."""
    whole = oatlib.load_data
    monkeypatch.setattr(oatlib, "load_data", lambda *a, **k: whole(*a, **k, n_train=64, n_val=16, n_test=8))
    monkeypatch.setitem(oatlib.PRESETS, "fast", oatlib.Preset(epochs=1, batch=32, steps=1, panel=16))
    monkeypatch.setattr(surface, "attack_named", lambda name, eps: oatlib.PGD(eps, 1 if eps else 0))
    monkeypatch.setattr(open_files, "N", 16)
    monkeypatch.setattr(ship, "KEPT", tmp_path / "kept")


def test_ship_makes_what_is_missing_and_only_that(small, tmp_path, monkeypatch):
    assert ship.ship("pgd-at", tmp_path).startswith("pgd-at: ")
    weights = (tmp_path / "pgd-at.safetensors").read_bytes()
    assert json.loads((tmp_path / "pgd-at.json").read_text(encoding="utf-8"))["lams"] == [1.0]
    monkeypatch.setattr(oatlib, "train", None)
    monkeypatch.setattr(surface, "measure", None)
    ship.ship("pgd-at", tmp_path)
    assert (tmp_path / "pgd-at.safetensors").read_bytes() == weights


def test_ship_goes_on_where_it_was_interrupted_and_mixes_two_ends(small, tmp_path, monkeypatch):
    after, taken = surface.measure, []

    def counted(*arguments):
        if len(taken) == 7:
            raise KeyboardInterrupt
        taken.append(arguments[2:4])
        return after(*arguments)

    monkeypatch.setattr(surface, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        ship.ship("blend", tmp_path)
    record = json.loads((tmp_path / "blend.json").read_text(encoding="utf-8"))
    assert sum(share is not None for rows in record["robust"].values() for row in rows[0] for share in row) == 7
    monkeypatch.setattr(oatlib, "train", None)
    monkeypatch.setattr(surface, "measure", after)
    ship.ship("blend", tmp_path, train=False)
    record = json.loads((tmp_path / "blend.json").read_text(encoding="utf-8"))
    assert [point[0] for point in record["mixed"]["points"]] == list(surface.MIXING_WEIGHTS)
    assert None not in record["robust"]["suite"][0][2] and None not in record["robust"]["quick"][0][3]
    with pytest.raises(SystemExit, match="leave --only-surfaces out"):
        ship.ship("oat", tmp_path, train=False)


def test_dedicated_networks_are_trained_once_each(small, tmp_path, monkeypatch):
    monkeypatch.setattr(ship, "OAT_STOPS", (0.0, 1.0))
    assert "2 networks" in ship.dedicated(tmp_path)
    monkeypatch.setattr(oatlib, "train", None)
    ship.dedicated(tmp_path)
    record = json.loads((tmp_path / open_files.MARKS).read_text(encoding="utf-8"))
    assert [mark["lam"] for mark in record["marks"]] == [0.0, 1.0] and record["n"] == 16
    assert record["marks"][1]["attacks"] == ["quick", "quick", "suite", "quick"]


def test_two_processes_never_make_the_same_network(tmp_path):
    claims = [ship.claimed(name, tmp_path) for name in ("oat", "oat", "blend")]
    with claims[0] as first, claims[1] as second, claims[2] as other:
        assert (first, second, other) == (True, False, True)
    with ship.claimed("oat", tmp_path) as again:
        assert again
    assert not list(tmp_path.iterdir())


def test_the_page_is_told_what_to_show(monkeypatch):
    asked = {"weights": [str(shipped.FOLDER / "blend.safetensors")], "state": "lam=0.25&eps=4"}
    monkeypatch.setenv(server.HANDED_OVER, json.dumps(asked))
    made = app.show()
    assert list(made.nets) == ["blend"] and made.controls["lam"] == 0.25 and made.description["page"] is True
    assert not made.grids["blend"].missing(1.0, 8.0)
    made.close()


def test_bad_input_ends_before_a_server_starts(monkeypatch):
    monkeypatch.setattr(server, "_voila", None)
    with pytest.raises(oatlib.RecordError, match="there is no file"):
        server.serve(["nothing.safetensors"], "", 0, False)
    with pytest.raises(ValueError, match="lam must lie in"):
        server.serve([str(shipped.FOLDER / "blend.safetensors")], "lam=3", 0, False)
