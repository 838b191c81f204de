"""The explorer as one file, opened from disk: its sliders move, and it says that it is precomputed."""

import re

import pytest

from oatlib import export_explorer
from oatlib.lab import app, explorer, family
from oatlib.lab.state import read

from . import conftest

NETS, DATA = family.opened([conftest.WEIGHTS])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "explorer.html"
    app.write(path, [str(conftest.WEIGHTS)], "lam=0.3")
    return path


@pytest.fixture
def screen(chromium, file):
    shown = conftest.Screen(chromium)
    shown.page.goto(file.as_uri())
    shown.page.wait_for_selector(".oat .big")
    yield shown
    shown.context.close()
    assert shown.faults == []


def expected(text):
    """(clean, robust) in per cent at a state, on straight lines between the measured points."""
    state, grid = read(text, NETS), family.measured([conftest.WEIGHTS], NETS, DATA)["oats"]
    w = grid.widths.index(state.width)
    rows = [line(grid.lams, row, state.lam) for row in grid.robust[w]]
    return 100 * line(grid.lams, grid.clean[w], state.lam), 100 * line(grid.table()["eps"], rows, state.eps)


def line(xs, ys, x):
    right = next(i for i, at in enumerate(xs) if at >= x)
    if xs[right] == x:
        return ys[right]
    share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + share * (ys[right] - ys[right - 1])


def assert_from_the_surface(screen):
    shown, wanted = screen.numbers(), expected(screen.state)
    assert shown == pytest.approx(wanted, abs=0.051), screen.state


def test_it_says_that_it_is_precomputed_and_offers_nothing_that_needs_a_kernel(screen):
    assert "precomputed, without a kernel" in screen.page.inner_text(".oat .top")
    assert screen.page.inner_text(".oat .readout .phase").startswith("precomputed: PGD-20, n = 512")
    for gone in ("pause", "+1", "start"):
        assert screen.page.locator(f".oat button:text-is('{gone}')").count() == 0 or not screen.page.locator(
            f".oat button:text-is('{gone}')").is_visible()  # fmt: skip


def test_its_sliders_move_by_keys_and_mouse(screen):
    assert_from_the_surface(screen)
    screen.dial("lam").focus()
    for _ in range(5):
        before = screen.place
        screen.page.keyboard.press("ArrowRight")
        assert screen.place != before
        assert_from_the_surface(screen)
    screen.dial("eps").focus()
    screen.page.keyboard.press("ArrowLeft")
    assert_from_the_surface(screen)
    screen.page.click('.oat [data-part="width"] label:has-text("0.5")')
    assert_from_the_surface(screen)
    box = screen.dial("lam").bounding_box()
    screen.page.mouse.click(box["x"] + 0.15 * box["width"], box["y"] + box["height"] / 2)
    assert_from_the_surface(screen)


HIDDEN = """() => {
  const place = (shape) => shape.getBoundingClientRect(), legend = place(document.querySelector('.oat .legend rect'));
  const points = [...document.querySelectorAll('.oat .plot circle:not(.here circle, .legend circle)')].map(place);
  const under = (r) => r.right > legend.left && r.left < legend.right && r.bottom > legend.top && r.top < legend.bottom;
  return [points.length, points.filter(under).length, legend.top];
}"""


def test_the_legend_hides_no_point_of_the_curve(screen):
    places = set()
    for width in ("0.5", "1"):
        for eps in (2, 4, 8, 12, 16):
            screen.page.fill(".oat input.state", f"lam=0.5&width={width}&eps={eps}")
            screen.page.keyboard.press("Enter")
            points, hidden, top = screen.page.evaluate(HIDDEN)
            assert points > 5 and hidden == 0, (width, eps)
            places.add(top)
    assert len(places) == 2, "below where there is room, else above"
    screen.shot("file, large attack")


def test_the_gallery_follows_the_dials_and_says_where_it_was_taken(screen):
    def shown():
        return screen.page.evaluate("[...document.querySelectorAll('.oat canvas')].map((c) => c.toDataURL())")

    first = shown()
    screen.dial("lam").focus()
    screen.page.keyboard.press("End")
    assert len(first) == 18 and shown() != first
    assert screen.page.get_attribute(".oat .gallery", "data-note") == "attacked at λ = 1, ε = 8/255"


def test_choose_works_without_a_kernel(screen):
    screen.page.fill(".oat .choose input >> nth=0", "95")
    screen.page.click(".oat button:text-is('choose for me')")
    state = read(screen.state, NETS)
    assert expected(screen.state)[0] >= 95 and 0 <= state.lam < 0.3


def test_its_address_holds_the_state(screen):
    screen.dial("lam").focus()
    screen.page.keyboard.press("End")
    address, numbers = screen.page.url, screen.numbers()
    assert re.search(r"#.*lam=1&", address)
    screen.page.reload()
    assert screen.numbers() == numbers and screen.page.url == address


def test_an_address_that_names_no_state_is_said(chromium, file):
    shown = conftest.Screen(chromium)
    shown.page.goto(f"{file.as_uri()}#lam=0.2&speed=9")
    assert 'a state has no "speed"' in shown.page.inner_text(".oat .error")
    assert shown.faults == []
    shown.context.close()


@pytest.mark.parametrize("hide", [explorer.PARTS, ("network", "choose", "price", "state"), ("gallery",)])
def test_hidden_parts_are_not_there_and_the_rest_works(chromium, tmp_path, hide):
    known = family.measured([conftest.WEIGHTS], NETS, DATA)
    export_explorer(tmp_path / "a.html", NETS, DATA, surfaces=known, hide=hide, progress=False)
    shown = conftest.Screen(chromium)
    shown.page.goto((tmp_path / "a.html").as_uri())
    shown.page.wait_for_selector(".oat .here")
    parts = shown.page.evaluate("[...document.querySelectorAll('.oat [data-part]')].map((e) => e.dataset.part)")
    assert parts == [p for p in ("network", "lam", "width", "eps", "attack", "choose") if p not in hide]
    for part, place in (("gallery", ".gallery"), ("price", ".price"), ("state", "input.state")):
        assert (shown.page.locator(f".oat {place}").count() == 0) == (part in hide)
    if "lam" in parts:
        before = shown.place
        shown.dial("lam").focus()
        shown.page.keyboard.press("End")
        assert shown.place != before
    assert shown.faults == []
    shown.context.close()


def test_light_dark_and_small(chromium, file):
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 420)):
        shown = conftest.Screen(chromium, color_scheme=scheme, viewport={"width": width, "height": 800})
        shown.page.goto(file.as_uri())
        shown.page.wait_for_selector(".oat .big")
        assert shown.page.get_attribute(".oat", "data-theme") == scheme
        across, down = shown.page.evaluate("[document.body.scrollWidth, document.documentElement.scrollHeight]")
        assert across <= width and (down <= 800 or width < 1280)
        shown.shot(f"file, {scheme}, {width}")
        shown.context.close()
