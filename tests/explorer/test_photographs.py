"""Networks whose images are only named: recorded curves without the images, live on the user's copy."""

import json
import threading

import pytest
import torch
from PIL import Image

import oatlib
from bench import ship_photographs
from oatlib.explorer import app, open_files, own_copy, server, shipped
from oatlib.explorer.surface import EPS, Surface
from oatlib.networks.history import facts_of, results_of
from tests import small_photographs as small


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return small.folder(tmp_path_factory.mktemp("photographs") / "copy")


@pytest.fixture(scope="module")
def net(copy):
    return small.network(copy)


@pytest.fixture(scope="module")
def weights(copy, net, tmp_path_factory):
    data = own_copy.own_copy(f"folder:{copy}", net.spec)
    return small.saved(tmp_path_factory.mktemp("weights") / "blend.safetensors", net, data)


# --- without the images ---


def test_without_its_images_the_page_shows_the_record_and_measures_nothing(weights):
    before = threading.active_count()
    made = oatlib.explore(**app._arguments([str(weights)], "lam=0.5", False, None))
    about = made.description
    assert about["live"] is False and about["hide"] == ["training"] and made.live == {}
    assert (about["data"], about["split"], about["n"]) == (small.TITLE, "test", 18)
    assert about["images"] == [] and "--data folder:DIR" in about["missing"]
    assert about["networks"]["blend"]["results"]["rows"][0] == ["0", "1", "60.0 %", "30.0 %", "25.0 %"]
    made.controls = made.controls | {"lam": 1.0}
    made.flush()
    assert made.live == {} and threading.active_count() == before and made.error == ""
    # no network here has 90 %, so the search begins with a limit that can be met
    assert made.controls["min_clean"] == 0.65
    made.close()


def test_the_exported_page_needs_no_images(weights, tmp_path):
    assert app.write(tmp_path / "a.html", [str(weights)], "") < 300_000
    assert small.TITLE in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_without_images_and_without_a_record_it_says_what_to_do(weights, net, tmp_path):
    oatlib.save(net, tmp_path / "alone.safetensors")
    with pytest.raises(ValueError, match="no measurements lie beside.*--data folder:DIR"):
        app._arguments([str(tmp_path / "alone.safetensors")], "", False, None)
    with pytest.raises(ValueError, match="no recorded curve of 'blend' in `surfaces`"):
        oatlib.explore(net, None)


# --- with the user's copy ---


def test_with_a_copy_it_measures_live_on_test_images(weights, copy):
    made = oatlib.explore(**app._arguments([str(weights)], "lam=1&attack=pgd-1", False, f"folder:{copy}"))
    made.flush()
    assert made.live["phase"] == "settled" and made.live["n"] == 18
    assert made.panel.name == "test" and made.description["data"] == "folder copy"
    table = made.surfaces["blend"]
    assert table["recorded"] is False and table["clean"][0][0] == 0.7, "the same images: the record stays"
    made.close()


def test_the_curve_of_another_copy_is_shown_and_not_mixed_with_it(weights, net, tmp_path):
    other = small.folder(tmp_path / "other", seed=1)
    nets, data = open_files.opened([weights], f"folder:{other}")
    grid = open_files.measured([weights], nets, data)["blend"]
    assert grid.table()["recorded"] is True and grid.n == 18 and grid.clean[0][0] == 0.7
    grid.robust["quick"][0][1][0] = None
    assert grid.missing(1.0, 4.0) == [] and list(grid.fill(1.0, 4.0)) == []


def test_one_changed_pixel_makes_another_copy(copy, net, tmp_path):
    digests = set()
    for change in (0, 1):
        top = small.folder(tmp_path / str(change))
        path = top / "test" / "dog" / "0.png"
        image = Image.open(path)
        image.putpixel((3, 3), (change, 5, 5))
        image.save(path)
        digests.add(own_copy.digest(own_copy.own_copy(f"folder:{top}", net.spec).test))
    assert len(digests) == 2


def test_other_images_are_refused_before_a_server_starts(weights, copy, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "_voila", None)
    cases = {
        "classes": ({"classes": ("cat", "cow", "ship")}, r"other classes than Small.*lacks dog; it also has cow"),
        "size": ({"size": 10}, r"with 10x10 pixels, but the network was trained on 8x8 pixels"),
        "parts": ({"parts": ()}, "does not exist"),
    }
    for name, (options, message) in cases.items():
        top = small.folder(tmp_path / name, **options)
        with pytest.raises(ValueError, match=message):
            server.serve([str(weights)], "", 0, False, False, f"folder:{top}")
    with pytest.raises(ValueError, match="no folders train and test"):
        server.serve([str(weights)], "", 0, False, False, f"folder:{copy / 'test'}")
    with pytest.raises(ValueError, match="digits has other classes"):
        server.serve([str(weights)], "", 0, False, False, "digits")


def test_the_notebook_is_told_the_absolute_path(weights, copy, monkeypatch):
    monkeypatch.setattr(server, "_voila", lambda *_: 0)
    monkeypatch.setenv(server.HANDED_OVER, "")
    monkeypatch.setenv("JUPYTER_PATH", "")
    monkeypatch.chdir(copy.parent)
    server.serve([str(weights)], "", 0, False, False, "folder:copy")
    assert json.loads(server.os.environ[server.HANDED_OVER])["data"] == f"folder:{copy.resolve()}"


# --- what the file says ---


def test_a_network_says_how_it_was_made(net, weights):
    words = dict(facts_of(oatlib.load(weights)))
    assert words["images"].startswith("18 training images of Small photographs: 3x8x8 in [0, 1]")
    assert words["time"] == "90 s on 1 thread (a small machine)"
    assert words["training"] == "2 epochs, batches of 8, learning rate 0.1, PGD-3 at eps 8/255, seed 0"
    results = results_of(net)
    assert len(results["rows"]) == 2 and results["title"] == "n = 18 test images; suite: quick suite"
    bare = oatlib.build("standard", oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8))
    assert [word for word, _ in facts_of(bare)] == ["recipe", "dials", "images"] and results_of(bare) is None


def test_half_precision_rounds_filters_only(net, tmp_path):
    oatlib.save(net, tmp_path / "full.safetensors")
    oatlib.save(net, tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.65 * sizes[1]
    for name, tensor in oatlib.load(tmp_path / "half.safetensors").state_dict().items():
        exact = net.state_dict()[name]
        wanted = exact.half().float() if exact.ndim > 1 and exact.is_floating_point() else exact
        assert tensor.dtype == exact.dtype and torch.equal(tensor, wanted), name
    huge = oatlib.load(tmp_path / "full.safetensors")
    with torch.no_grad():
        next(p for p in huge.parameters() if p.ndim > 1).fill_(1e6)
    with pytest.raises(ValueError, match="half=False"):
        oatlib.save(huge, tmp_path / "huge.safetensors", half=True)


# --- the shipped ones ---

SHIPPED = [name for name in shipped.PHOTOGRAPH_MEMBERS if (shipped.PHOTOGRAPHS / f"{name}.safetensors").is_file()]


def test_they_are_small():
    sizes = [path.stat().st_size for path in shipped.PHOTOGRAPHS.iterdir()]
    assert max(sizes) < 5e6 and sum(sizes) < 8e6


@pytest.mark.parametrize("name", SHIPPED)
def test_each_has_a_whole_curve_and_says_how_it_was_made(name):
    net = oatlib.ready(f"photographs/{name}")
    assert net.spec.data == {"name": "CIFAR-10, JPEG"} and len(net.spec.classes) == 10
    grid = Surface(net, None)
    assert grid.restore(shipped.PHOTOGRAPHS / f"{name}.json"), "measured with other weights"
    assert grid.n == 256 and all(None not in row for plane in grid.robust["quick"] for row in plane)
    words = dict(facts_of(net))
    assert {"images", "training", "time", "command", "versions"} <= words.keys()
    assert results_of(net)["rows"] and "/" not in words["command"], "no path"


def test_their_dedicated_networks_are_marks():
    marks = open_files.marks_of({"name": "CIFAR-10, JPEG"})
    assert {mark["lam"] for mark in marks} <= {0.0, 0.2, 1.0} and all(mark["eps"] == list(EPS) for mark in marks)


def test_a_shipped_file_keeps_the_record_and_no_path(copy, tmp_path):
    data = oatlib.load_data(f"folder:{copy}", size=8, n_train=3, n_val=3, cache=False)
    net = oatlib.build("blend", data, "plain")
    net.trained.append({"seed": 0, "seconds": 90.0, "epochs_done": 12, "threads": 1})
    point = {"lam": 0.0, "width": 1.0, "n": 64, "clean": 0.5, "pgd": 0.3, "robust": 0.25, "clean_low": 0.4}
    run = {"network": "dedicated 0.2", "seed": 0, "n_train": 3, "cpu_seconds": None, "points": [point]}
    ship_photographs.described(net, run, {"images": small.TITLE}, "a small machine")
    oatlib.save(net, tmp_path / "a.safetensors", half=True)
    assert str(copy).encode() not in (tmp_path / "a.safetensors").read_bytes()
    words = dict(facts_of(oatlib.load(tmp_path / "a.safetensors")))
    command = "python -m bench.photographs FOLDER --title 'Small photographs' --systems 'dedicated 0.2' --seeds 0"
    assert words["command"] == command and words["time"] == "90 s on 1 thread (a small machine)"
    assert results_of(net)["rows"] == [["0", "1", "50.0 %", "30.0 %", "25.0 %"]]
