"""A learner's folder with solved parts: they are found, trained, copied into oatlib, and explored."""

import re
from datetime import date

import jupytext
import pytest
import torch

import oatlib
from authoring import lessons
from oatlib.course import dials, exercises, keeping, parts
from oatlib.course.dials import dial_points

PARTS = {"pgd": "01_attack", "DualBN": "03_dual_bn", "FiLM": "04_film", "Block": "04_film"}
STEP = ["draw_stops", "hybrid_loss", "oat_step"]
SOLUTION = re.compile(r"<summary>Solution</summary>\s*```python\n(.*?)```", re.DOTALL)


def solution(lesson, name):
    """What a lesson folds away under an exercise."""
    text = lessons.sources()[lesson].read_text(encoding="utf-8")
    found = [code for cell in jupytext.reads(text, "py:percent").cells for code in SOLUTION.findall(cell.source)]
    (code,) = [code for code in found if re.findall(r"^(?:def|class) (\w+)\(", code, re.MULTILINE)[-1] == name]
    return code


@pytest.fixture
def folder(tmp_path):
    """A folder with `my_oatlib.py`, written as a learner's notebooks write it."""
    for name, lesson in [*PARTS.items(), *[(name, "05_oat") for name in STEP]]:  # in the order of the lessons
        keeping.keep(name, lesson[:2], [solution(lesson, name)], tmp_path)
    return tmp_path


@pytest.fixture
def data():
    return oatlib.load_data("shapes", seed=0, n_train=256, n_val=64, n_test=8, size=8, classes=3)


def mine(folder):
    return {name: exercises.mine(name, folder) for name in [*PARTS, *STEP]}


def trained(built, data, steps=4):
    """A few steps of lesson 05 with the learner's code only."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = parts.DialNet(built["Block"], classes=3, generator=generator, norm=built["DualBN"], film=built["FiLM"])
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(steps):
        stop, n_clean = built["draw_stops"](net.stops, 32, generator)
        index = torch.randint(len(data.train), (32,), generator=generator)

        def attack(f, x, y):
            return built["pgd"](f, x, y, 8 / 255, 2, 4 / 255, generator)

        optimizer.zero_grad()
        built["oat_step"](net, data.train.x[index], data.train.y[index], stop, n_clean, attack, built["hybrid_loss"])
        optimizer.step()
    return net.eval()


def test_all_parts_come_from_the_folder(folder):
    assert {section.name for section in keeping.sections(folder)} >= {*PARTS, *STEP}
    assert date.today().isoformat() in (folder / keeping.FILE).read_text(encoding="utf-8")
    for name, part in mine(folder).items():
        assert part is not exercises.find(name).answer, f"{name} is not the learner's"


def test_a_dial_of_the_learners_parts_is_a_network_of_oatlib(folder, data):
    net = trained(mine(folder), data)
    copied = parts.as_network(net, data)
    x = data.val.x[:16]
    for stop, lam in enumerate(net.stops):
        with torch.no_grad():
            want = net(x, torch.full((16,), stop))
            assert torch.allclose(copied(x, lam), want, atol=1e-4)
            assert torch.allclose(copied.at(lam)(x), want, atol=1e-3)


def test_the_explorer_and_the_suite_take_it(folder, data):
    copied = parts.as_network(trained(mine(folder), data), data)
    points = dial_points(copied, data, n=16)
    assert [point["lam"] for point in points] == list(copied.spec.stops)
    explorer = oatlib.explore({"Ada": copied}, data, n=16)
    assert list(explorer.nets) == ["Ada"]
    explorer.halt()


def test_without_a_folder_the_references_make_the_same_dial(tmp_path, data):
    net = trained(mine(tmp_path), data, steps=1)
    assert isinstance(net.blocks[0].norm, parts.DualBN) and isinstance(net.blocks[0].film, parts.FiLM)


def test_a_second_dial_of_the_learners_parts_is_a_network_of_oatlib(folder, data):
    names = ["sliced_conv", "SwitchBN", "SlimBlock", "oats_step"]
    for name in names:
        keeping.keep(name, "06", [solution("06_slimming", name)], folder)
    built = {name: exercises.mine(name, folder) for name in [*names, "hybrid_loss"]}
    assert all(built[name] is not exercises.find(name).answer for name in names)
    net = parts.SlimDialNet(built["SlimBlock"], widths=(0.5, 1.0), classes=3)
    x, y = data.train.x[:24], data.train.y[:24]
    stop = torch.arange(24) // 4
    built["oats_step"](net, x, y, stop, 4, lambda f, x, y: (x + 0.02).clamp(0, 1), built["hybrid_loss"])
    torch.optim.SGD(net.parameters(), 0.1).step()
    net.eval()
    copied = parts.as_slim_network(net, data)
    for index, width in enumerate(net.widths):
        with torch.no_grad():
            want = net(x, stop, index)
            assert torch.allclose(copied(x, torch.tensor(net.stops)[stop], width), want, atol=1e-4)


def test_the_recorded_dials_are_trained_as_the_lesson_trains(data):
    """The cells of lesson 05 that make and train the network, with the library's parts, against `live_dial`."""
    names = ("pgd", "DualBN", "FiLM", "Block", "draw_stops", "more_at_last_stop", "hybrid_loss", "oat_step")
    space = {name: exercises.find(name).answer for name in names} | {"data": data, "epochs": 3, "seed": 1}
    space |= {"torch": torch, "nn": torch.nn, "parts": parts, "RADIUS": 8 / 255}
    cells = jupytext.read(lessons.sources()["05_oat"]).cells
    for start in ("torch.manual_seed(seed)", "BATCH, TOTAL ="):
        (source,) = [cell.source for cell in cells if cell.cell_type == "code" and cell.source.startswith(start)]
        exec(source, space)
    for _ in space["train_dial"]():
        pass
    recorded = dials.live_dial(data, epochs=3, seed=1).state_dict()
    for key, value in space["net"].state_dict().items():
        assert torch.allclose(value, recorded[key], atol=1e-6), key
