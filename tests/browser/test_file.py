"""The explorer as one file, opened from disk: its sliders move, and it says that it is precomputed."""

import re

import pytest

from oatlib import export_explorer
from oatlib.explorer import app, open_files, widget
from oatlib.explorer.state import read

from . import conftest

NETS, DATA = open_files.opened([conftest.WEIGHTS])


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
    state, grid = read(text, NETS), open_files.measured([conftest.WEIGHTS], NETS, DATA)["oats"]
    w, table = grid.widths.index(state.width), grid.table()
    rows = [table["robust"][grid.attack_at(w, e)][w][e] for e in range(len(table["eps"]))]
    robust = line(table["eps"], [line(grid.lams, row, state.lam) for row in rows], state.eps)
    return 100 * line(grid.lams, grid.clean[w], state.lam), 100 * robust


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
    assert f"{conftest.N} validation images" in screen.page.inner_text(".oat .top"), "those of the curves"
    assert screen.page.inner_text(".oat .readout .phase").startswith("precomputed")
    assert screen.page.input_value('.oat [data-part="attack"] select') == "suite"
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
  const all = (kind) => [...document.querySelectorAll(`.oat ${kind}`)].map((shape) => shape.getBoundingClientRect());
  const meet = (a, b) => a.right > b.left && a.left < b.right && a.bottom > b.top && a.top < b.bottom;
  const points = all('.plot circle:not(.here circle), .plot .mark, .plot rect');
  const words = all('.plot .end'), ofCurves = all('.plot .end:not(.of-mark)').length;
  const [plot] = all('.plot'), [legend] = all('.legend');
  const inside = (r) => r.left >= plot.left && r.right <= plot.right && r.top >= plot.top && r.bottom <= plot.bottom;
  return { points: points.length, words: ofCurves, legend: meet(legend, plot),
    cut: words.filter((w) => !inside(w)).length,
    hidden: points.filter((p) => words.some((w) => meet(w, p))).length,
    clash: words.filter((w, i) => words.some((v, k) => k < i && meet(v, w))).length };
}"""


def test_words_hide_no_point_and_none_is_cut(screen):
    for width in ("0.5", "1"):
        for eps in (2, 4, 8, 12, 16):
            screen.page.fill(".oat input.state", f"lam=0.5&width={width}&eps={eps}")
            screen.page.keyboard.press("Enter")
            seen = screen.page.evaluate(HIDDEN)
            assert seen["points"] > 4 and seen["words"] == 4, "λ at both ends, and the two other widths"
            assert not any(seen[what] for what in ("legend", "cut", "hidden", "clash")), (width, eps, seen)
    screen.shot("file, large attack")


def test_the_picture_names_its_attack_and_what_it_compares_with(screen):
    legend = screen.page.locator(".oat .legend")
    weak = screen.page.locator(".oat .plot path.weak")
    for eps, attack, beside in ((8, "suite", 1), (4, "quick suite", 0)):
        screen.page.fill(".oat input.state", f"lam=0.5&width=1&eps={eps}")
        screen.page.keyboard.press("Enter")
        assert f"oats, by the {attack}" in legend.inner_text() and weak.count() == beside
        named = attack if attack == "suite" else f"{attack}, an upper bound"
        assert screen.page.inner_text(".oat .number:has([data-number=robust])").endswith(named)
        assert f"n = {conftest.N} · 95 %: " in screen.page.inner_text(".oat .number:has([data-number=robust])")
        assert screen.page.locator(".oat .plot path.best").count() == (eps >= 8)
    assert "coin: one of its two ends at random" in legend.inner_text()


def test_the_gain_over_the_coin_is_the_distance_from_the_straight_line_between_the_ends(screen):
    for width in (0.5, 1.0):
        ends = [expected(f"network=oats&lam={lam}&width={width}&eps=8") for lam in (0.0, 1.0)]
        screen.page.fill(".oat input.state", f"lam=0.4&width={width:g}&eps=8")
        screen.page.keyboard.press("Enter")
        clean, robust = expected(screen.state)
        (c0, r0), (c1, r1) = ends
        gain = robust - (r0 + (c0 - clean) / (c0 - c1) * (r1 - r0))
        side = "below" if gain < 0 else "above"
        assert screen.page.inner_text(".oat .gain") == f"curve here: {abs(gain):.1f} points {side} the coin"


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


def test_an_address_of_an_earlier_version_is_read_and_a_contradiction_is_said(chromium, file):
    shown = conftest.Screen(chromium)
    shown.page.goto(f"{file.as_uri()}#lam=0.2&steps=20")
    assert "attack=pgd-20&" in shown.state and shown.page.locator(".oat .error").is_hidden()
    shown.page.fill(".oat input.state", "lam=0.2&steps=20&attack=quick")
    shown.page.keyboard.press("Enter")
    assert "a state has either steps or attack, not both" in shown.page.inner_text(".oat .error")
    shown.page.fill(".oat input.state", "lam=0.2&steps=7")
    shown.page.keyboard.press("Enter")
    assert "steps must be one of 1, 2, 5, 10, 20, 50, got 7" in shown.page.inner_text(".oat .error")
    shown.context.close()


def test_an_address_that_names_no_state_is_said(chromium, file):
    shown = conftest.Screen(chromium)
    shown.page.goto(f"{file.as_uri()}#lam=0.2&speed=9")
    assert "unknown key 'speed' in a state" in shown.page.inner_text(".oat .error")
    assert "lam=0.2&" in shown.state, "the rest is kept"
    assert shown.faults == []
    shown.context.close()


@pytest.mark.parametrize("hide", [widget.PARTS, ("network", "choose", "price", "state"), ("gallery",)])
def test_hidden_parts_are_not_there_and_the_rest_works(chromium, tmp_path, hide):
    known = open_files.measured([conftest.WEIGHTS], NETS, DATA)
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
