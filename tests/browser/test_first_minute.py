"""What a newcomer meets: the tour, the explanations, the dial of λ, the groups of networks, screens of all sizes.

The page is the exported file with all networks that come with oatlib. Its clock is moved by hand where something moves.
"""

import itertools

import pytest

from oatlib.explorer import app, open_files, shipped
from oatlib.training.recipes import SUMMARIES

from . import conftest

NETS, _ = open_files.opened(shipped.shipped())
SIZES = {"large": (1280, 800), "middle": (800, 600), "small": (390, 844)}
PARTS = {"lam": "The dial", "picture": "The picture", "readout": "The numbers", "gallery": "The images"}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("all") / "explorer.html"
    app.write(path, [], "network=oats&lam=0.3")
    return path


@pytest.fixture
def opened(chromium, file):
    """A function that opens the page in a browser of its own."""
    shown = []

    def open_page(state="", **options):
        screen = conftest.Screen(chromium, **options)
        shown.append(screen)
        screen.page.goto(f"{file.as_uri()}#{state}" if state else file.as_uri())
        screen.page.wait_for_selector(".oat .here")
        return screen

    yield open_page
    for screen in shown:
        assert screen.faults == []
        screen.context.close()


def size(name):
    return dict(zip(("width", "height"), SIZES[name], strict=True))


def go_to(screen, state):
    screen.page.fill(".oat input.state", state)
    screen.page.keyboard.press("Enter")


def has_focus(locator):
    """Wait until an element has the focus. The page moves it just after it opens or closes something."""
    from playwright.sync_api import expect

    expect(locator).to_be_focused(timeout=conftest.lab.LONG)


# --- the tour ---


def pointed_at(screen):
    """The part of the page that has the frame of the tour."""
    (classes,) = screen.page.evaluate(
        "[...document.querySelectorAll('.toured')].map((e) => `${e.className} ${e.dataset.part}`)"
    )
    return next(part for part in PARTS if part in classes.split())


@pytest.mark.parametrize("name", SIZES)
def test_the_tour_points_at_four_parts_on_the_first_visit_only(opened, name):
    screen = opened(first_visit=True, viewport=size(name))
    card = screen.page.locator(".oat .tour")
    for step, (part, title) in enumerate(PARTS.items(), 1):
        assert card.is_visible() and f"{step} of 4" in card.inner_text()
        assert ("A faint texture shows the class" in card.inner_text()) == (step == 4)
        assert pointed_at(screen) == part and card.locator("strong").inner_text() == title
        box = card.bounding_box()
        width, height = SIZES[name]
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, "the card is not cut"
        assert box["y"] >= 0 and box["y"] + box["height"] <= height
        screen.shot(f"tour {step}, {name}")
        screen.page.keyboard.press("Enter")  # the button "next" has the focus
    assert card.is_hidden() and screen.page.locator(".toured").count() == 0
    screen.page.reload()
    screen.page.wait_for_selector(".oat .here")
    assert card.is_hidden()


@pytest.mark.parametrize("how", ["click", "Escape"])
def test_one_click_closes_the_tour_for_good_and_its_button_shows_it_again(opened, how):
    screen = opened(first_visit=True)
    card = screen.page.locator(".oat .tour")
    if how == "click":
        card.get_by_text("close").click()
    else:
        screen.page.keyboard.press("Escape")
    assert card.is_hidden()
    assert screen.page.evaluate("document.activeElement.type") == "range", "the dial that the tour began with"
    screen.page.reload()
    screen.page.wait_for_selector(".oat .here")
    assert card.is_hidden()
    screen.page.get_by_text("tour", exact=True).click()
    assert card.is_visible() and screen.page.evaluate("document.activeElement.textContent") == "next"
    screen.page.keyboard.press("Escape")
    assert card.is_hidden() and screen.page.evaluate("document.activeElement.textContent") == "tour"


def test_the_page_works_beside_an_open_tour(opened):
    screen = opened(first_visit=True)
    before = screen.place
    screen.dial("lam").focus()
    screen.page.keyboard.press("End")
    assert screen.place != before and screen.page.locator(".oat .tour").is_visible()


def test_a_browser_that_stores_nothing_gets_the_tour_from_the_button_only(opened):
    blocked = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('blocked'); } })"
    screen = opened(first_visit=True)
    screen.context.add_init_script(blocked)
    screen.page.evaluate("localStorage.clear()")
    screen.page.reload()
    screen.page.wait_for_selector(".oat .here")
    card = screen.page.locator(".oat .tour")
    assert card.is_hidden()
    screen.page.get_by_text("tour", exact=True).click()
    card.get_by_text("close").click()
    assert card.is_hidden()


def test_in_a_notebook_the_tour_waits_for_its_button(chromium, file, tmp_path):
    text = file.read_text(encoding="utf-8")
    assert text.count('"page": true') == 1
    (tmp_path / "a.html").write_text(text.replace('"page": true', '"page": false'), encoding="utf-8")
    screen = conftest.Screen(chromium, first_visit=True)
    screen.page.goto((tmp_path / "a.html").as_uri())
    screen.page.wait_for_selector(".oat .here")
    assert screen.page.locator(".oat .tour").is_hidden()
    screen.page.get_by_text("tour", exact=True).click()
    assert screen.page.locator(".oat .tour").is_visible()
    screen.context.close()


# --- explanations ---


def test_one_line_says_what_this_is_and_what_to_do_first(opened):
    line = opened().page.inner_text(".oat .intro")
    assert line.startswith("A trained network with a dial") and "move the slider λ to the right" in line


def test_every_part_of_the_page_explains_its_words(opened):
    screen = opened()
    parts = [*(f'[data-part="{p}"]' for p in ("network", "lam", "width", "eps", "attack", "choose")),
             ".top", ".below", ".number >> nth=0", ".number >> nth=1", ".price", ".tabs"]  # fmt: skip
    for part in parts:
        assert screen.page.locator(f".oat {part}").locator(".ask").count() == 1, part
    words = " ".join(screen.page.evaluate("[...document.querySelectorAll('.oat .help')].map((e) => e.textContent)"))
    for word in ("λ", "ε", "PGD", "n", "width", "coin", "quick suite", "suite", "95 %", "evenly spaced", "≈", "play",
                 "best possible", "mixed outputs", "validation images"):  # fmt: skip
        assert word in words, word
    sentences = screen.page.evaluate("[...document.querySelectorAll('.oat .help p span')].map((e) => e.textContent)")
    assert len(sentences) > 25 and all(text.endswith(".") and len(text) > 20 for text in sentences)


@pytest.mark.parametrize("name", SIZES)
def test_each_explanation_opens_whole_and_alone(opened, name):
    screen = opened(viewport=size(name))
    buttons = screen.page.locator(".oat .ask >> visible=true")
    width, height = SIZES[name]
    for i in range(buttons.count()):
        buttons.nth(i).click()
        panel = screen.page.locator(".oat .help:popover-open")
        assert panel.count() == 1, "the one before has closed"
        box = panel.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["width"] > 200
        assert box["y"] >= 0 and box["y"] + box["height"] <= height
        assert panel.evaluate("(e) => e.scrollWidth <= e.clientWidth")
        if i == 1:
            screen.shot(f"explanation, {name}")
        screen.page.keyboard.press("Escape")


def test_explanations_by_keyboard_and_touch(opened):
    screen = opened()
    ask = screen.page.locator('.oat [data-part="lam"] .ask')
    panel = screen.page.locator('.oat [data-part="lam"] .help')
    assert ask.get_attribute("aria-label") == "explain the dial of λ"
    ask.focus()
    screen.page.keyboard.press("Enter")
    assert panel.is_visible()
    has_focus(panel)  # so that it is read out
    screen.page.keyboard.press("Escape")
    assert panel.is_hidden()
    has_focus(ask)

    touched = opened(viewport=size("small"), has_touch=True)
    panel = touched.page.locator('.oat [data-part="lam"] .help')
    touched.page.locator('.oat [data-part="lam"] .ask').tap()
    assert panel.is_visible()
    touched.page.touchscreen.tap(195, 8)
    assert panel.is_hidden()


# --- networks ---


def test_networks_are_listed_by_what_they_are_with_one_line_each(opened):
    screen = opened()
    groups = screen.page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('.oat optgroup')].map((group) =>
             [group.label, [...group.children].map((option) => option.value)]))"""
    )
    assert groups == {
        "a dial of λ": ["oat", "blend"],
        "dials of λ and width": ["oats", "solar"],
        "noisy or sparse": ["float", "floats", "smart"],
        "a dial of width": ["snn"],
        "one fixed λ": ["standard", "pgd-at", "trades"],
    }
    for name, net in NETS.items():
        screen.page.select_option('.oat [data-part="network"] select', name)
        assert screen.page.inner_text('.oat [data-part="network"] .why') == SUMMARIES[net.spec.recipe]
        assert f"network={name}&" in screen.state
    lines = screen.page.evaluate("[...document.querySelectorAll('.oat .list label')].map((e) => e.textContent)")
    assert sorted(lines) == sorted(f"{name} {SUMMARIES[net.spec.recipe]}" for name, net in NETS.items())


def test_compare_closes_on_an_outside_click_and_on_escape_and_gives_the_focus_back(opened):
    screen = opened()
    compare, shown = screen.page.locator(".oat .compare"), screen.page.locator(".oat .list")

    def closed_with_the_focus_on(element):
        shown.wait_for(state="hidden")
        has_focus(element)

    compare.click()
    shown.locator("input[value=blend]").click()
    assert shown.is_visible() and "compare=blend" in screen.state, "it stays open for the next choice"
    screen.page.mouse.click(700, 790)
    closed_with_the_focus_on(compare)

    compare.click()
    screen.page.keyboard.press("Tab")
    assert shown.evaluate("(e) => e.contains(document.activeElement)")
    screen.page.keyboard.press("Escape")
    closed_with_the_focus_on(compare)

    compare.click()
    screen.dial("eps").click()
    closed_with_the_focus_on(screen.dial("eps"))  # what was clicked


# --- the dial of λ ---


@pytest.mark.parametrize("name", NETS)
def test_the_dial_says_which_lambda_is_where(opened, name):
    screen = opened(f"network={name}")
    net = NETS[name]
    texts = screen.page.locator(".oat .ticks span").all_inner_texts()
    dial = screen.dial("lam")
    if len(net.spec.stops) > 1:
        assert [float(text) for text in texts] == pytest.approx([net.lam(i / 4) for i in range(5)], abs=0.0051)
        go_to(screen, f"lam={net.lam(0.25)}")
        assert dial.input_value() == "25" and dial.is_enabled()
    else:
        assert texts == ["0", "0.25", "0.5", "0.75", "1"]
        assert float(dial.input_value()) == 100 * net.spec.stops[0] and dial.is_disabled()
        assert screen.page.locator(".oat .play").is_hidden()
        assert screen.page.inner_text('.oat [data-part="lam"] output') == f"λ = {net.spec.stops[0]:g} only"


def playing(opened, state, **options):
    """A page whose clock stands still, after a click on *play*."""
    screen = opened(**options)
    screen.page.clock.install(time=0)
    screen.page.reload()
    screen.page.wait_for_selector(".oat .here")
    go_to(screen, state)
    screen.page.clock.pause_at(3_600_000)  # an installed clock goes on by itself
    screen.page.locator(".oat .play").click()
    assert screen.page.get_attribute(".oat .play", "aria-pressed") == "true"
    return screen


def lam(screen):
    return float(screen.page.get_attribute('.oat [data-part="lam"] input', "aria-valuetext").removeprefix("λ "))


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_play_moves_over_the_whole_dial_in_ten_seconds(opened, motion):
    screen = playing(opened, "network=oats&lam=0", reduced_motion=motion)
    address, seen = screen.page.url, []
    for _ in range(9):
        screen.page.clock.run_for(1000)
        seen.append(lam(screen))
        assert screen.page.url == address, "on its way it writes no address, and nothing is measured"
    assert seen == sorted(set(seen)) and 0 < seen[0] < seen[-1] < 1
    assert seen[4] == pytest.approx(NETS["oats"].lam(0.5), abs=0.03)
    screen.page.clock.run_for(1500)
    assert lam(screen) == 1 and screen.page.get_attribute(".oat .play", "aria-pressed") == "false"
    assert "lam=1&" in screen.page.url
    screen.page.locator(".oat .play").click()
    screen.page.clock.run_for(1000)
    assert 0 < lam(screen) < 0.2, "from the end it starts again"


def test_play_stops_where_it_is_and_at_every_move_of_the_user(opened):
    screen = playing(opened, "network=oats&lam=0")
    screen.page.clock.run_for(3000)
    screen.page.locator(".oat .play").click()
    paused = lam(screen)
    screen.page.clock.run_for(3000)
    assert lam(screen) == paused > 0 and screen.page.get_attribute(".oat .play", "aria-pressed") == "false"
    moves = (
        lambda: screen.page.keyboard.press("Escape"),
        lambda: screen.page.select_option('.oat [data-part="network"] select', "oat"),
        lambda: screen.dial("eps").press("ArrowLeft"),
        lambda: screen.dial("lam").press("ArrowLeft"),
    )
    for move in moves:
        screen.page.locator(".oat .play").click()
        screen.page.clock.run_for(1000)
        move()
        assert screen.page.get_attribute(".oat .play", "aria-pressed") == "false"
        stopped = lam(screen)
        screen.page.clock.run_for(1000)
        assert lam(screen) == stopped


# --- the picture ---


CUT = """() => {
  const plot = document.querySelector('.oat .plot').getBoundingClientRect();
  return [...document.querySelectorAll('.oat .plot text')].filter((text) => {
    const box = text.getBoundingClientRect();
    return box.left < plot.left - 0.5 || box.right > plot.right + 0.5 ||
      box.top < plot.top - 0.5 || box.bottom > plot.bottom + 0.5;
  }).map((text) => text.textContent);
}"""


@pytest.mark.parametrize("name", SIZES)
def test_no_text_of_the_picture_is_cut(opened, name):
    screen = opened(viewport=size(name))
    for net, eps in itertools.product(NETS, (0, 4, 8, 16)):
        go_to(screen, f"network={net}&eps={eps}")
        assert screen.page.evaluate(CUT) == [], (net, eps)
        texts = screen.page.locator(".oat .plot .end:not(.of-mark)").all_text_contents()
        assert sum(text.startswith("λ = ") for text in texts) == (2 if len(NETS[net].spec.stops) > 1 else 0)
    screen.page.evaluate("document.querySelector('.oat .plot .end').setAttribute('x', -20)")
    assert len(screen.page.evaluate(CUT)) == 1, "a text that is cut is found"


@pytest.mark.parametrize("name", SIZES)
def test_with_seven_others_the_picture_is_still_large_and_its_legend_beside_it(opened, name):
    screen = opened("compare=oat,blend,float,floats,smart,solar,snn", viewport=size(name))
    plot, legend = (screen.page.locator(f".oat {part}").bounding_box() for part in (".plot", ".legend"))
    assert screen.page.locator(".oat .legend > span").count() >= 8
    assert legend["y"] >= plot["y"] + plot["height"], "it is below"
    assert plot["height"] >= 230 and plot["width"] >= 300
    assert screen.page.evaluate(CUT) == []
    screen.shot(f"seven others, {name}")


def test_what_the_curve_is_compared_with_is_all_there(opened):
    screen = opened("network=oat&eps=8")

    def drawn(kind):
        found = screen.page.locator(f".oat .plot {kind}")
        style = "(e) => { const s = getComputedStyle(e); return [s.strokeDasharray, parseFloat(s.strokeWidth)]; }"
        return found.first.evaluate(style) if found.count() else None

    assert drawn("path.best")[0] != "none", "dashed"
    assert drawn("path.coin") and drawn("path.mixed") and drawn("rect.mixed") and drawn("path.mark")
    dashes, thickness = drawn("path.weak")
    assert dashes == "none" and thickness < drawn(".curve.main")[1] / 2, "thin"
    assert "by the suite" in screen.page.inner_text(".oat .legend")
    marks = screen.page.locator(".oat .plot .of-mark").all_text_contents()
    assert len(marks) >= 4 and set(marks) <= {"0", "0.1", "0.2", "0.3", "0.4", "1"}
    go_to(screen, "network=oat&eps=4")
    assert drawn("path.weak") is None, "PGD-20 is known at ε = 8/255 only"


# --- screens ---


SURROUNDINGS = """() => {
  const colours = [];
  for (let e = document.querySelector('.oat'); e; e = e.parentElement)
    colours.push(getComputedStyle(e).backgroundColor);
  return colours;
}"""


@pytest.mark.parametrize(("scheme", "colour"), [("dark", "rgb(22, 25, 29)"), ("light", "rgb(255, 255, 255)")])
def test_the_whole_page_has_one_theme(opened, scheme, colour):
    screen = opened(color_scheme=scheme, viewport={"width": 1600, "height": 900})
    assert set(screen.page.evaluate(SURROUNDINGS)) == {colour}
    screen.shot(f"wide, {scheme}")
    screen.page.get_by_text("theme: auto").click()
    screen.page.get_by_text("theme: light").click()
    assert set(screen.page.evaluate(SURROUNDINGS)) == {"rgb(22, 25, 29)"}


OVERLAPS = """() => {
  const kinds = 'button, select, label, input[type=range], input[type=number], input.state, .why, .value, .ticks, ' +
    '.big, .name, .gain, .phase, .intro, .legend > span, .plot, .top > strong, .top > span';
  const parts = [...document.querySelectorAll('.oat :is(' + kinds + ')')].filter((e) => !e.closest('[popover]'));
  const boxOf = (e) => {
    const { left, right, top, bottom } = e.getBoundingClientRect();
    return { left, right, top, bottom, e };
  };
  const boxes = parts.map(boxOf).filter((r) => r.right - r.left > 1);
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const pairs = boxes.flatMap((a, i) => boxes.slice(0, i).filter((b) =>
    !a.e.contains(b.e) && !b.e.contains(a.e) && meet(a, b)).map((b) => [a, b]));
  const wide = boxes.filter((r) => r.right > innerWidth + 0.5 || r.left < -0.5);
  const say = ({ e }) => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 30)}`;
  return { pairs: pairs.map((pair) => pair.map(say)), wide: wide.map(say) };
}"""


@pytest.mark.parametrize("network", ["oats", "pgd-at", "smart"])
@pytest.mark.parametrize("name", SIZES)
def test_nothing_overlaps_and_nothing_sticks_out(opened, name, network):
    screen = opened(f"network={network}", viewport=size(name))
    assert screen.page.evaluate(OVERLAPS) == {"pairs": [], "wide": []}
    assert screen.page.evaluate("document.documentElement.scrollWidth") <= SIZES[name][0]
    for scheme in ("light", "dark"):
        screen.page.emulate_media(color_scheme=scheme)
        screen.shot(f"{network}, {name}, {scheme}")
    screen.page.evaluate("document.querySelector('.oat .play').parentElement.style.marginTop = '-20px'")
    assert screen.page.evaluate(OVERLAPS)["pairs"], "an overlap is found"


@pytest.mark.parametrize("name", SIZES)
def test_the_dial_and_the_picture_are_seen_together(opened, name):
    screen = opened(viewport=size(name))
    for part in ('[data-part="lam"]', ".picture", '[data-number="clean"]', '[data-number="robust"]'):
        box = screen.page.locator(f".oat {part}").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= SIZES[name][1], part
