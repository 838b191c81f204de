"""The Python on the pages runs as it stands there, with fewer images and shorter training."""

import re
import shutil

import pytest
import torch

import oatlib
from tests.pages import ROOT, blocks

pytestmark = pytest.mark.slow


def run_block(page, code):
    """Run an example of a page. Return its names."""
    names = {}
    exec(compile(code, page, "exec"), names)
    return names


@pytest.fixture
def small_world(tmp_path, monkeypatch):
    """A folder with the networks that come with oatlib, few images, and short training."""
    whole = oatlib.load_data
    monkeypatch.setattr(oatlib, "load_data", lambda *a, **k: whole(*a, **k, n_train=32, n_val=16, n_test=16))
    monkeypatch.setitem(oatlib.PRESETS, "fast", oatlib.Preset(epochs=1, batch=16, steps=1, panel=16))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "data" / "explorer", tmp_path / "data" / "explorer")
    return tmp_path


def test_the_readmes_python_runs(small_world):
    (one,) = blocks("README.md", "python")
    names = run_block("README.md", one)
    assert names["history"].status == "finished" and len(names["table"]) == 6
    assert names["logits"].shape == (8, 8) and isinstance(names["net"], oatlib.Network)
    assert len([line for line in one.splitlines() if line]) == 10


def test_the_python_of_the_guide_runs(small_world):
    page = "docs/guide.md"
    widths, noise, baselines, audit, rerun, speed = blocks(page, "python")
    assert "min_clean=0.9" in widths  # more than eight images of training can give
    names = run_block(page, widths.replace("min_clean=0.9", "min_clean=0"))
    assert len(names["table"]) == 18 and names["best"].width == 0.5
    names = run_block(page, noise)
    assert names["net"].slider[-1] == 1 and names["middle"](names["data"].test.x).shape == (16, 8)
    names = run_block(page, baselines.replace("128", "16"))
    assert len(names["systems"]) == 3
    names = run_block(page, re.sub(r"\b(128|64)\b", "16", audit))
    assert names["report"].n == 16 and names["table"][0].attack["name"] == "suite"
    names = run_block(page, rerun)
    assert names["run"].record.is_file() and 0 <= names["run"].results["robust"] <= 1
    quick = speed.replace("Compiler()", 'Compiler("aot_eager")').replace("128", "16")
    assert run_block(page, quick)["history"].compiled == "yes"


def test_the_script_for_several_processes_runs_in_one(small_world):
    (code,) = blocks("docs/many_machines.md", "python")
    run_block("docs/many_machines.md", code)
    assert oatlib.load("oat.safetensors").trained[0]["status"] == "finished"


def test_the_python_of_the_explorers_page_runs(small_world):
    parts, ready, code = blocks("docs/explorer.md", "python")
    net = run_block("docs/explorer.md", ready)["net"]
    assert net.spec.recipe == "float" and "bench.photographs" in net.trained[-1]["command"]
    names = run_block("docs/explorer.md", parts)
    whole = (names["drawn"] + names["texture"] + names["noise"]).clamp(0, 1)
    assert torch.equal(whole, names["panel"].x) and names["effect"].erased.shape == (8,)
    explorer = run_block("docs/explorer.md", code)["explorer"]
    explorer.flush()
    assert explorer.live["key"] == ["blend", 0.6, 1.0, 4.0, "quick"] and not explorer.error
    assert (small_world / "explorer.html").stat().st_size > 1e5
    explorer.close()
