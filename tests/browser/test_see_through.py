"""See-through images: the page finds in a change what Python finds, and says it below the image."""

import base64
import json
import re

import numpy as np
import pytest
import torch

import oatlib
from oatlib.data.scenes import effect_of, scene_of
from oatlib.data.shapes import CONSTANT_TRUST
from oatlib.explorer import app, html, open_files, surface
from oatlib.explorer.description import one_of_each_class
from oatlib.explorer.front_end import script
from oatlib.explorer.see_through import see_through

from . import conftest

NETS, DATA = open_files.opened([conftest.WEIGHTS])
TOGGLE = ".oat .see-through button"
EFFECTS = """([seeThrough, shape, changes]) =>
  changes.map((change, i) => new Cues(seeThrough, i, shape).effect(change))"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "explorer.html"
    app.write(path, [str(conftest.WEIGHTS)], "lam=0.1")
    return path


def opened(chromium, path, **options):
    shown = conftest.Screen(chromium, **options)
    shown.page.goto(path.as_uri())
    shown.page.wait_for_selector(".oat .big")
    return shown


@pytest.fixture
def screen(chromium, file):
    shown = opened(chromium, file)
    yield shown
    shown.context.close()
    assert shown.faults == []


@pytest.mark.parametrize("world", [{}, CONSTANT_TRUST, {"classes": 5, "size": 8}, {"paired": False, "size": 20}])
def test_the_page_finds_what_python_finds(chromium, world):
    data = oatlib.load_data("shapes", n_train=8, n_val=24, n_test=8, **world)
    scene = scene_of(data, data.val)
    generator = torch.Generator().manual_seed(0)
    # changes of whole bytes, as the page knows them: the attacks of all kinds, and one that is none
    other = scene.take(torch.randperm(24, generator=generator))
    noise = 0.02 * torch.randn(scene.x.shape, generator=generator)
    drawn = scene.mask[:, None] * scene.contrast[:, :, None, None]
    change = noise + other.texture - scene.texture * torch.rand(24, 1, 1, 1, generator=generator) - 0.1 * drawn
    change = (255 * change).round()
    change[0] = 0
    expected = effect_of(scene, change / 255)

    page = chromium.new_page()
    told = [see_through(data, data.val), list(data.shape), change.permute(0, 2, 3, 1).flatten(1).tolist()]
    found = page.evaluate(f"(given) => {{ {script('effect.js')}\nreturn ({EFFECTS})(given); }}", told)
    page.close()
    for i, effect in enumerate(found):
        assert effect["faded"] == pytest.approx(expected.faded[i].item(), abs=0.01)
        assert effect["erased"] == pytest.approx(expected.erased[i].item(), abs=0.01)
        assert effect["forged"] == pytest.approx(expected.forged[i].tolist(), abs=0.01)
        assert effect["restShare"] == pytest.approx(expected.rest_share[i].item(), abs=0.01)
        parts = torch.tensor([effect[name] for name in ("drawn", "texture", "rest")])
        assert torch.allclose(parts.sum(0), torch.tensor(told[2][i]), atol=1e-3)
        exact = torch.stack([getattr(expected, name)[i] for name in ("drawn", "texture", "rest")])
        assert (parts - 255 * exact.permute(0, 2, 3, 1).flatten(1)).abs().max() < 0.2, "of 255"


def canvases(screen):
    return screen.page.locator(".oat canvas:visible").count()


def test_it_is_off_until_a_key_turns_it_on_and_then_stays_on(screen):
    page = screen.page
    assert page.get_attribute(TOGGLE, "aria-pressed") == "false" and canvases(screen) == 18
    assert page.inner_text(".oat .see-through span").startswith("shows what each image is made of")
    page.focus('.oat [aria-label="explain six images under attack"]')  # the last control above the images
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "see-through"
    page.keyboard.press("Space")
    assert page.get_attribute(TOGGLE, "aria-pressed") == "true" and canvases(screen) == 54
    assert "100 % forged is as strong as its own texture was" in page.inner_text(".oat .see-through")
    before = page.locator(".oat .effect").all_inner_texts()
    screen.dial("lam").focus()
    page.keyboard.press("End")
    assert canvases(screen) == 54 and page.locator(".oat .effect").all_inner_texts() != before
    page.focus(TOGGLE)
    page.keyboard.press("Enter")
    assert canvases(screen) == 18 and page.locator(".oat .effect:visible").count() == 0


def numbers(words):
    """The per cent of each sentence: {"shape": 2, "its texture": 105, "disc": 32, ..., "rest": 43}."""
    words = words.replace("\u00a0", " ")
    found = {name: int(value) for name, value in re.findall(r"(\w[\w ]*): (\d+) % (?:erased|of the change)", words)}
    found |= {name: -int(value) for name, value in re.findall(r"(\w[\w ]*): (\d+) % stronger", words)}
    found |= {name: 0 for name in re.findall(r"(\w[\w ]*): unchanged", words)}
    forged = re.search(r"forged: (.*)", words)[1]
    return found, dict((name, int(value)) for name, value in re.findall(r"(\w+) (\d+) %", forged))


def shots_of(screen):
    """What the exported page knows of its galleries."""
    text = re.search(r"^const values = (.*);$", screen.page.content(), re.MULTILINE)[1]
    return json.loads(text)["gallery"]["oats"]


@pytest.mark.parametrize("lam", [0.0, 0.1, 1.0])
def test_the_sentences_are_those_of_a_direct_computation(screen, lam):
    panel = DATA.val.panel(conftest.N)
    watched = panel.take(one_of_each_class(panel))
    scene = scene_of(DATA, watched)
    screen.page.fill(".oat input.state", f"lam={lam}")
    screen.page.keyboard.press("Enter")
    screen.page.click(TOGGLE)
    shots = shots_of(screen)
    rows = shots["rows"][-1][min(range(len(shots["lams"])), key=lambda i: abs(shots["lams"][i] - lam))]
    attacked = [np.frombuffer(base64.b64decode(row["image"]), np.uint8).reshape(16, 16, 3) for row in rows]
    x_adv = torch.tensor(np.stack(attacked)).permute(0, 3, 1, 2) / 255
    effect = effect_of(scene, x_adv - scene.x)
    texts = screen.page.locator(".oat .effect").all_inner_texts()
    assert len(texts) == 6
    for i, words in enumerate(texts):
        if rows[i].get("fell") == -1:
            assert words == "no change: misclassified without an attack"
            continue
        found, forged = numbers(words)
        wanted = {"shape": effect.faded[i], "its texture": effect.erased[i], "rest": effect.rest_share[i]}
        assert found == pytest.approx({name: 100 * value.item() for name, value in wanted.items()}, abs=2)
        strengths = {DATA.classes[j]: 100 * effect.forged[i, j].item() for j in range(8)}
        assert forged == pytest.approx({name: strengths[name] for name in forged}, abs=2)
        left_out = [value for name, value in strengths.items() if name not in forged]
        assert len(forged) == 2 or max(left_out) < 12
        assert not forged or max(left_out) <= min(forged.values()) + 2
    if lam == 0:  # the network reads textures only
        assert effect.erased.mean() > 0.7 and effect.faded.abs().max() < 0.1


def test_captions_say_which_shapes_lie(screen):
    panel = DATA.val.panel(conftest.N)
    shapes = panel.facts["shape"][one_of_each_class(panel)]
    labels = panel.y[one_of_each_class(panel)]
    texts = screen.page.locator(".oat .truth").all_inner_texts()
    assert [text.endswith("lies") for text in texts] == (shapes != labels).tolist() and (shapes != labels).any()


def test_nothing_is_cut_off_in_any_size(chromium, file):
    for scheme, width, height in (("light", 1280, 800), ("dark", 1280, 800), ("light", 800, 600), ("dark", 390, 844)):
        shown = opened(chromium, file, color_scheme=scheme, viewport={"width": width, "height": height})
        shown.page.click(TOGGLE)
        cut = shown.page.evaluate(
            """() => [...document.querySelectorAll('.oat .images *')].filter((element) => {
              const box = element.getBoundingClientRect();
              const card = (element.closest('.card') ?? document.body).getBoundingClientRect();
              return box.width && (box.left < card.left - 1 || box.right > card.right + 1);
            }).map((element) => element.outerHTML)"""
        )
        assert cut == [], width
        shown.page.locator(".oat .images").scroll_into_view_if_needed()
        shown.shot(f"see-through, {scheme}, {width}")
        shown.context.close()


def test_other_data_has_no_toggle(chromium, tmp_path, monkeypatch):
    monkeypatch.setattr(surface, "EPS", (0.0, 8.0, 16.0))
    monkeypatch.setattr(surface, "GAP", 0.5)
    monkeypatch.setattr(html, "SHOTS", 2)
    digits = oatlib.load_data("digits", n_train=20, n_val=20, n_test=10)
    oatlib.export_explorer(tmp_path / "a.html", oatlib.build("standard", digits), digits, progress=False)
    shown = opened(chromium, tmp_path / "a.html")
    assert shown.page.locator(".oat .gallery canvas").count() == 18
    assert shown.page.locator(".oat .see-through").count() == 0 and shown.faults == []
    assert not any("lies" in text for text in shown.page.locator(".oat .truth").all_inner_texts())
    shown.page.get_by_text("tour", exact=True).click()
    for _ in range(3):
        shown.page.keyboard.press("Enter")
    tour = shown.page.locator(".oat .tour").inner_text()
    assert "Six images, the change" in tour and "texture" not in tour
    shown.context.close()
