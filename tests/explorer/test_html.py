"""The explorer as one file: whole, small, quiet."""

import errno
import json
import re

import pytest

import oatlib
from oatlib.explorer import html, surface
from oatlib.explorer.measure import measure

DATA = oatlib.load_data("shapes", n_train=16, n_val=24, n_test=8)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(surface, "EPS", (0.0, 8.0, 16.0))
    monkeypatch.setattr(surface, "GAP", 0.5)
    monkeypatch.setattr(html, "SHOTS", 3)


def values(path):
    """What the page knows."""
    found = re.search(r"^const values = (.*);$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return json.loads(found[1])


def test_it_holds_everything_that_it_shows(tmp_path, small):
    net = oatlib.build("oats", DATA, stops=(0.0, 1.0))
    path = tmp_path / "explorer.html"
    size = oatlib.export_explorer(path, {"mine": net}, DATA, "lam=0.3&width=0.5", progress=False)
    assert size == path.stat().st_size < 3e6
    known = values(path)
    assert known["description"]["live"] is False and known["controls"]["lam"] == 0.3
    table = known["surfaces"]["mine"]
    assert not any(cell is None for plane in table["robust"]["quick"] for row in plane for cell in row)
    *_, last = measure(net, DATA.val.panel(24), 1.0, 0.5, oatlib.Suite(8 / 255, budget="quick"))
    assert (table["clean"][0][-1], table["robust"]["quick"][0][1][-1]) == (last["clean"], last["robust"])
    assert known["description"]["captions"][0].startswith("class: ") and known["description"]["reference"]["best"][
        0
    ] == [1.0, 0.0]
    shots = known["gallery"]["mine"]
    assert shots["lams"] == [0.0, 0.5, 1.0] and len(shots["rows"]) == 3 and len(shots["rows"][0][0]) == 6


def test_it_asks_nothing_of_any_other_machine(tmp_path, small):
    path = tmp_path / "explorer.html"
    oatlib.export_explorer(path, oatlib.build("blend", DATA), DATA, progress=False)
    text = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in text, "the browser itself forbids it"
    assert set(re.findall(r"https?://[^\"'\s)<]+", text)) == {"http://www.w3.org/2000/svg"}, "a name, not an address"
    assert "precomputed" in text


def test_names_cannot_break_out_of_the_page(tmp_path, small):
    odd = oatlib.from_tensors("odd", *[(DATA.val.x, DATA.val.y)] * 3, classes=[*"abcdefg", "</script><b>&"])
    path = tmp_path / "explorer.html"
    oatlib.export_explorer(path, {"<i>'": oatlib.build("standard", odd)}, odd, progress=False)
    text = path.read_text(encoding="utf-8")
    assert text.count("</script>") == 1 and "<title>oatlib explorer: &lt;i&gt;&#x27;</title>" in text
    assert values(path)["description"]["classes"][-1] == "</script><b>&"


def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "explore", None)
    with pytest.raises(oatlib.RecordError, match="does not exist"):
        oatlib.export_explorer(tmp_path / "no" / "a.html", oatlib.build("blend", DATA), DATA)


def test_a_full_disk_leaves_the_old_page(tmp_path, small, monkeypatch):
    """The page is lost, and the measurements with it: the same command makes it again."""
    path = tmp_path / "explorer.html"
    path.write_text("old")

    def full(target, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(html, "_values", lambda *_: {})
    monkeypatch.setattr(oatlib.record, "_replace", full)
    with pytest.raises(oatlib.RecordError, match=r"cannot write .*explorer.html: No space left on device \(it needs"):
        oatlib.export_explorer(path, oatlib.build("blend", DATA), DATA)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
