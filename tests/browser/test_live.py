"""The explorer in a real browser: what hands do moves the point, and the numbers are those of a direct computation."""

import functools
import os
import subprocess
import time
import urllib.request

import pytest

import oatlib
from oatlib.explorer import open_files
from oatlib.explorer.named_attacks import attack_named
from oatlib.explorer.state import read
from oatlib.explorer.surface import EPS
from oatlib.explorer.widget import IMAGES, PART

from . import conftest

NETS, DATA = open_files.opened([conftest.WEIGHTS])
PANEL = DATA.val.panel(IMAGES)
# What runs in which home. Messages take another way in each. JupyterLab has keys and dragging of its own, and is the
# hardest home for hands, so what only the front end does is tried there alone.
EVERY_HOME = ("lab", "lab without subshells", "page")
in_every_home = pytest.mark.parametrize("home", EVERY_HOME, indirect=True)
in_lab_and_on_its_page = pytest.mark.parametrize("home", ("lab", "page"), indirect=True)
in_lab = pytest.mark.parametrize("home", ("lab",), indirect=True)


@pytest.fixture(scope="module")
def home(request, chromium, tmp_path_factory):
    """The explorer in one of its homes; the tests below leave it wherever they like."""
    if request.param == "page":
        opened = conftest.on_its_page(chromium)
    else:
        opened = conftest.in_lab(chromium, tmp_path_factory.mktemp("lab"), request.param == "lab")
    with opened as screen:
        screen.name = request.param
        screen.page.wait_for_selector(".oat .big")
        yield screen


@pytest.fixture
def screen(home):
    yield home
    assert home.faults == [], "errors in the console, or requests that leave this machine"


@functools.cache  # the homes are led to the same states
def direct(text):
    """(clean, robust) in per cent at a state."""
    state = read(text, NETS)
    attack = attack_named(state.attack, state.eps / 255)
    last = conftest.direct(NETS[state.network], PANEL, state.lam, state.width, attack)
    return 100 * last["clean"], 100 * last["robust"]


def assert_exact(screen):
    """The settled numbers are those of a direct computation: to the digit, or one image for robust accuracy."""
    shown, expected = screen.settled(), direct(screen.state)
    assert abs(shown[0] - expected[0]) < 0.06 and abs(shown[1] - expected[1]) < 100 / IMAGES + 0.06, (
        screen.state,
        shown,
        expected,
    )


@in_every_home
def test_it_opens_with_the_exact_numbers(screen):
    assert_exact(screen)
    assert "lam=0.3&" in screen.state


@in_lab
def test_a_move_is_drawn_once(screen):
    draws = screen.page.evaluate("""() => {
      const slider = document.querySelector('.oat [data-part="lam"] input'), seen = new MutationObserver(() => {});
      seen.observe(slider, { attributes: true, attributeFilter: ["aria-valuetext"] }); // every draw writes it
      slider.value = 37;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      return seen.takeRecords().length;
    }""")
    assert draws == 1


@in_every_home
def test_arrow_keys_move_the_point_and_then_the_numbers_settle(screen):
    slider = screen.dial("lam")
    slider.focus()
    for _ in range(4):
        before, lam = screen.place, read(screen.state, NETS).lam
        screen.page.keyboard.press("ArrowRight")
        assert read(screen.state, NETS).lam > lam
    screen.page.keyboard.press("PageUp")
    assert screen.place[1] < before[1], "more robust is higher up"
    assert_exact(screen)
    screen.page.keyboard.press("Home")
    assert "lam=0&" in screen.state
    assert_exact(screen)
    screen.page.keyboard.press("End")
    assert "lam=1&" in screen.state
    assert_exact(screen)


SENT = """() => {
  const send = WebSocket.prototype.send;
  const text = (data) => (typeof data === "string" ? data : new TextDecoder().decode(data));
  window.ahead = [];
  WebSocket.prototype.send = function (data) {
    const found = text(data).match(/"do": ?"prefetch", ?"lam": ?([0-9.]+)/);
    if (found) ahead.push(+found[1]);
    return send.call(this, data);
  };
  return () => { WebSocket.prototype.send = send; };
}"""


@in_lab
def test_the_next_key_press_is_measured_ahead(screen):
    undo = screen.page.evaluate_handle(SENT)
    screen.dial("lam").focus()
    screen.page.keyboard.press("Home")
    for key in ("PageUp", "ArrowRight"):
        screen.page.keyboard.press(key)
        screen.settled()
        screen.until("ahead.length")
        # where the setting was known already, the press before has sent a guess of its own: the newest counts
        ahead = screen.page.evaluate("ahead.splice(0)")[-1]
        screen.page.keyboard.press(key)
        assert read(screen.state, NETS).lam == ahead
    assert_exact(screen)
    screen.page.evaluate("ahead.length = 0")
    screen.dial("lam").click()
    screen.settled()
    assert screen.page.evaluate("ahead") == [], "a mouse may go anywhere"
    screen.page.evaluate("undo => undo()", undo)


def test_nothing_beyond_the_end_of_a_dial_is_measured_ahead(chromium, tmp_path):
    """The page writes four digits of λ; 0.3333 is less than the end of this dial."""
    net = oatlib.build("oat", DATA, stops=(1 / 3, 0.5, 1.0))
    oatlib.save(net, tmp_path / "odd.safetensors")
    with conftest.on_its_page(chromium, [str(tmp_path / "odd.safetensors")], "") as shown:
        shown.page.fill(".oat input.state", f"lam={net.lam(0.2)}")
        shown.page.keyboard.press("Enter")
        shown.settled()
        shown.page.evaluate_handle(SENT)
        shown.dial("lam").focus()
        shown.page.keyboard.press("PageDown")
        shown.settled()
        shown.until("ahead.length")
        assert shown.page.evaluate("ahead") == [1 / 3]
        shown.page.keyboard.press("PageDown")
        shown.settled()
        assert "lam=0.3333333333333333&" in shown.state and shown.page.locator(".oat .error").is_hidden()
        assert shown.faults == []


SEEN = """() => {
  const root = document.querySelector('.oat'), seen = [];
  const [clean, robust] = ['clean', 'robust'].map((name) => root.querySelector(`[data-number=${name}]`));
  const look = () => {
    const { kind } = robust.closest('.number').dataset, dots = [...root.querySelectorAll('.fall .walker')];
    const box = root.querySelector('.readout').getBoundingClientRect();
    seen.push({ phase: root.dataset.phase, refining: root.hasAttribute('data-refining'), kind,
      clean: clean.textContent, robust: robust.textContent, dots: dots.length,
      range: robust.closest('.number').querySelector('.range').textContent,
      words: root.querySelector('.readout .phase').textContent, line: root.querySelectorAll('.fall .walk').length,
      now: root.querySelector('.fall .now')?.textContent, height: Math.round(box.height),
      bar: robust.closest('.number').querySelector('.bar').style.width,
      at: ['x', 'y'].map((axis) => root.querySelector('.here').dataset[axis]).join() });
  };
  const observer = new MutationObserver(look);
  observer.observe(root, { attributes: true, attributeFilter: ['data-phase', 'data-refining'] });
  observer.observe(root.querySelector('.readout'), { subtree: true, childList: true });
  window.seen = seen;
  return () => observer.disconnect();
}"""


@in_every_home
def test_while_it_is_measured_the_number_and_the_point_stay_those_of_the_curve(screen):
    """Then the interval shrinks with every part of the images."""
    screen.page.fill(".oat input.state", "network=oats&lam=0.6&width=1&eps=8&attack=pgd-50")
    screen.page.keyboard.press("Enter")
    screen.settled()
    stop = screen.page.evaluate_handle(SEEN)
    screen.page.fill(".oat input.state", "network=oats&lam=0.45&width=1&eps=8&attack=pgd-50")
    screen.page.keyboard.press("Enter")
    screen.settled()
    seen = screen.page.evaluate("seen")
    screen.page.evaluate("stop => stop()", stop)
    before = [look for look in seen if look["phase"] != "settled"]
    assert {look["kind"] for look in before} == {"estimated"}
    for what in ("clean", "robust", "range", "at"):
        assert len({look[what] for look in before}) == 1, f"{what} changes while the attack runs"
    assert before[0]["robust"].startswith("≈ ") and f"n = {conftest.N} · 95 %: " in before[0]["range"]
    walking = [look for look in before if look["phase"] == "walk" and look["dots"]]
    assert walking and walking[-1]["line"] == 1 and walking[-1]["now"].startswith("≤ ")
    assert "PGD-50, step " in walking[-1]["words"]
    settled = [look for look in seen if look["phase"] == "settled"]
    assert settled[0]["kind"] == "measured" and settled[0]["refining"] and not settled[-1]["refining"]
    ranges = [look["range"] for look in settled]
    numbers = list(dict.fromkeys(int(text.split()[2]) for text in ranges))
    assert numbers == list(range(PART, IMAGES + 1, PART)), "as many images as are measured"
    widths = [float(look["bar"].strip("%")) for look in settled]
    assert widths[-1] < 0.6 * widths[0]
    assert settled[-1]["words"] == f"measured on {IMAGES} images"
    assert settled[0]["words"] == f"measured on {PART} of {IMAGES} images …"
    assert len({look["height"] for look in seen}) == 1, "nothing below jumps"


@in_lab
def test_a_reading_falls_in_the_small_curve_with_named_axes(screen):
    screen.settled()
    texts = screen.page.locator(".oat .fall text").all_text_contents()
    assert "step of the attack" in texts and "robust, %" in texts and "0" in texts
    (now,) = screen.page.locator(".oat .fall .now").all_text_contents()
    assert abs(float(now.strip(" %")) - screen.numbers()[1]) <= 0.56, "the end of the curve is the number"
    cut = screen.page.evaluate("""() => {
      const box = document.querySelector('.oat .fall').getBoundingClientRect();
      return [...document.querySelectorAll('.oat .fall text')].map((t) => t.getBoundingClientRect())
        .filter((r) => r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 ||
          r.bottom > box.bottom + 1).length;
    }""")
    assert cut == 0


CONTROLS_SENT = """() => {
  const send = WebSocket.prototype.send;
  const text = (data) => (typeof data === "string" ? data : new TextDecoder().decode(data));
  window.sent = 0;
  WebSocket.prototype.send = function (data) {
    if (text(data).includes('"controls"')) sent += 1;
    return send.call(this, data);
  };
  return () => { WebSocket.prototype.send = send; };
}"""


@in_lab
def test_play_measures_nothing_on_its_way_and_the_exact_numbers_where_it_stops(screen):
    screen.dial("lam").focus()
    screen.page.keyboard.press("Home")
    screen.settled()
    undo = screen.page.evaluate_handle(CONTROLS_SENT)
    screen.page.click(".oat .play")
    spoken = "document.querySelector('.oat [data-part=lam] input').getAttribute('aria-valuetext')"
    screen.until(f"+{spoken}.replace('λ ', '') > 0.02")
    assert screen.page.inner_text('.oat [data-number="robust"]').startswith("≈")
    assert screen.page.evaluate("sent") == 0
    screen.page.click(".oat .play")
    assert_exact(screen)
    assert read(screen.state, NETS).lam > 0.02 and screen.page.evaluate("sent") == 1
    screen.page.evaluate("undo => undo()", undo)


@in_lab
def test_a_mouse_drags_the_slider(screen):
    screen.dial("lam").hover()  # waits until nothing moves, and nothing lies above it
    box = screen.dial("lam").bounding_box()
    y = box["y"] + box["height"] / 2
    screen.page.mouse.move(box["x"] + 0.9 * box["width"], y)
    screen.page.mouse.down()
    for i in range(30):
        screen.page.mouse.move(box["x"] + (0.9 - 0.02 * i) * box["width"], y)
    screen.page.mouse.up()
    assert 0 < read(screen.state, NETS).lam < 0.3
    assert_exact(screen)


@in_lab
def test_a_mouse_drags_the_point_along_its_curve(screen):
    plot, (x, y) = screen.page.locator(".oat .plot"), screen.place
    plot.hover(position={"x": x, "y": y})  # waits until nothing moves, and nothing lies above it
    box = plot.bounding_box()
    screen.page.mouse.down()
    screen.page.mouse.move(box["x"] + x, box["y"] + 30, steps=10)
    screen.page.mouse.up()
    assert screen.place[1] < y
    assert_exact(screen)


@in_lab
def test_width_size_and_attack_by_mouse_and_keyboard(screen):
    screen.page.click('.oat [data-part="width"] label:has-text("0.5")')
    assert "width=0.5&" in screen.state
    assert_exact(screen)
    screen.page.keyboard.press("ArrowRight")
    assert "width=0.75&" in screen.state
    screen.dial("eps").focus()
    for _ in range(3):
        screen.page.keyboard.press("ArrowLeft")
    assert "eps=5&" in screen.state
    screen.page.select_option('.oat [data-part="attack"] select', "pgd-5")
    assert "attack=pgd-5&" in screen.state
    assert_exact(screen)
    assert "PGD-5, an upper bound" in screen.page.inner_text(".oat .number:has([data-number=robust])")
    assert screen.page.inner_text(".oat .gain") == "coin: –", "an upper bound is not compared with the curve's coin"
    screen.page.fill(".oat input.state", "network=oats&lam=0.3&width=1&eps=8&attack=quick")
    screen.page.keyboard.press("Enter")
    assert_exact(screen)


@in_every_home
def test_the_attack_can_be_paused_and_taken_step_by_step(screen):
    screen.page.fill(".oat input.state", "network=oats&lam=0.52&width=0.75&eps=8&attack=quick")
    screen.page.keyboard.press("Enter")
    screen.settled()
    screen.page.click(".oat button:text-is('pause')")
    screen.dial("lam").focus()
    screen.page.keyboard.press("ArrowLeft")
    phase = screen.page.locator(".oat .readout .phase")
    phase.filter(has_text="the attack is paused").wait_for()
    for step in ("step 0", "step 0", "step 1", "step 2"):  # first all images as they are, then the start of the walk
        screen.page.click(".oat button:text-is('+1')")
        phase.filter(has_text=f"quick suite, {step} of at most 32, paused").wait_for()
        time.sleep(0.3)
    screen.page.click(".oat button:text-is('continue')")
    assert_exact(screen)


@in_lab
def test_choose_moves_the_dials_to_where_choose_says(screen):
    for least, size in ((90, 100), (86, 60), (84, 100)):
        screen.page.fill(".oat .choose input >> nth=0", str(least))
        screen.page.fill(".oat .choose input >> nth=1", str(size))
        screen.page.click(".oat button:text-is('choose for me')")
        screen.settled()
        best, state = chosen(least, size), read(screen.state, NETS)
        assert (state.lam, state.width) == (best.lam, best.width)
    screen.page.fill(".oat .choose input >> nth=1", "5")
    screen.page.click(".oat button:text-is('choose for me')")
    assert "the smallest costs 26 %" in screen.page.inner_text(".oat .choose [role=status]")
    screen.page.fill(".oat .choose input >> nth=0", "100")
    screen.page.fill(".oat .choose input >> nth=1", "100")
    screen.page.click(".oat button:text-is('choose for me')")
    assert "the closest is" in screen.page.inner_text(".oat .choose [role=status]")


def chosen(least, size):
    """What `oatlib.choose` takes from the surface that the page has."""
    grid = open_files.measured([conftest.WEIGHTS], NETS, DATA)["oats"]
    full = oatlib.cost(NETS["oats"]).macs
    at = EPS.index(8.0)
    rows = [grid.robust[grid.attack_at(w, at)][w][at] for w in range(len(grid.widths))]
    results = [oatlib.Result(lam, width, conftest.N, grid.clean[w][i], 0, 1, rows[w][i], 0, 1, {}, "val", 0, 0.0,
                             macs=oatlib.cost(NETS["oats"], width=width).macs)
               for w, width in enumerate(grid.widths) for i, lam in enumerate(grid.lams)]  # fmt: skip
    return oatlib.choose(results, min_clean=least / 100, max_macs=size / 100 * full)


@in_lab_and_on_its_page
def test_a_state_that_cannot_be_is_said_and_one_that_can_is_taken(screen):
    field = screen.page.locator(".oat input.state")
    field.fill("lam=0.2&width=0.75&attack=pgd-7")
    screen.page.keyboard.press("Enter")
    assert "attack must be one of quick, pgd-1, pgd-2" in screen.page.inner_text(".oat .error")
    field.fill("lam=0.2&width=0.75&steps=10")
    screen.page.keyboard.press("Enter")
    assert screen.page.locator(".oat .error").is_hidden()
    assert_exact(screen)


@in_lab
def test_every_control_has_a_name_and_an_explanation(screen):
    nameless = screen.page.evaluate(
        """() => [...document.querySelectorAll('.oat button, .oat input, .oat select')].filter((e) =>
          !(e.getAttribute('aria-label') || e.textContent.trim() ||
            [...(e.labels || [])].some((l) => l.textContent.trim()))).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    words = screen.page.evaluate(
        "() => [...document.querySelectorAll('.oat .control .why')].map((p) => p.textContent.trim())"
    )
    assert len(words) == 6 and all(len(text) > 20 for text in words)


@in_lab_and_on_its_page
def test_the_tab_key_reaches_every_control_and_shows_where_it_is(screen):
    screen.page.locator(".oat input.state").focus()
    seen = set()
    for _ in range(30):
        screen.page.keyboard.press("Tab")
        where, outline = screen.page.evaluate(
            """() => { const e = document.activeElement, shown = e.type === 'radio' ? e.nextElementSibling : e;
              return [e.closest('.oat') ? e.closest('[data-part]')?.dataset.part || e.textContent : '',
                      getComputedStyle(shown).outlineStyle]; }"""
        )
        if where:
            seen.add(where)
            assert outline != "none", where
    assert {"network", "lam", "width", "eps", "attack", "choose"} <= seen


@in_every_home
def test_a_reload_shows_the_same_numbers(screen):
    screen.page.fill(".oat input.state", "network=oats&lam=0.6&width=0.75&eps=6&attack=pgd-10")
    screen.page.keyboard.press("Enter")
    numbers, state = screen.settled(), screen.state
    if screen.name != "page":
        screen.page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    screen.page.reload()
    screen.page.wait_for_selector(".oat .big")
    assert screen.settled() == numbers and screen.state == state


@in_lab_and_on_its_page
def test_a_network_is_trained_on_the_page(screen):
    screen.settled()
    screen.page.click(".oat button:text-is('pause')")  # the attack; no new number draws the screen again
    screen.page.click(".oat [role=tab]:has-text('train one here')")
    screen.page.select_option(".oat .training select", "blend")
    screen.page.fill(".oat .training input", "1")
    screen.page.click(".oat .training button:text-is('start')")
    screen.page.click(".oat .training button:text-is('pause')")
    status = screen.page.locator(".oat .training > [role=status]")
    status.filter(has_text="paused").wait_for()
    before = status.inner_text()
    screen.page.click(".oat .training button:text-is('one step')")
    # until the step is done, "resume" may be switched off between the look at it and the click on it
    status.filter(has_text="paused").filter(has_not_text=before).wait_for()
    screen.page.click(".oat .training button:text-is('resume')")
    status.filter(has_text="finished").wait_for(timeout=300_000)  # an epoch, while other tests use the cores
    screen.page.locator(".oat .top").scroll_into_view_if_needed()
    screen.shot(f"training, {screen.name}")
    assert screen.page.locator(".oat .born").count() >= 2
    assert "network=blend" in screen.state, "the dials go to it, and all that is shown with them"
    assert screen.page.get_attribute(".oat", "data-phase") == "estimate", "nothing of it is measured yet"
    screen.page.click(".oat button:text-is('continue')")
    screen.settled()


@in_lab_and_on_its_page
def test_light_dark_and_small(screen):
    screen.page.click(".oat [role=tab]:has-text('six images')")
    screen.page.fill(".oat input.state", "network=oats&lam=0.3&width=0.75&eps=8&attack=quick")
    screen.page.keyboard.press("Enter")
    screen.settled()
    theme = screen.page.locator(".oat button:has-text('theme')")
    for wanted in ("light", "dark"):
        theme.click()
        assert screen.page.get_attribute(".oat", "data-theme") == wanted
        screen.shot(f"{screen.name}, {wanted}")
    theme.click()
    if screen.name == "page":
        across, down = screen.page.evaluate("[document.body.scrollWidth, document.documentElement.scrollHeight]")
        assert across <= 1280 and down <= 800, "one screen, no scrolling"
        theme.click(click_count=2)  # dark
        around = "document.querySelector('.oat').parentElement.closest('#rendered_cells, body')"
        assert screen.page.evaluate(f"getComputedStyle({around}).backgroundColor") == "rgb(22, 25, 29)"
        theme.click()
    screen.page.set_viewport_size({"width": 480, "height": 800})
    time.sleep(0.5)
    wide = screen.page.evaluate(
        "document.querySelector('.oat').scrollWidth - document.querySelector('.oat').clientWidth"
    )
    assert wide <= 1, "nothing sticks out of a small window"
    screen.shot(f"{screen.name}, small")
    screen.page.set_viewport_size({"width": 1280, "height": 800})


@pytest.mark.skipif(os.name == "nt", reason="asks ps for the kernels")
def test_a_closed_page_ends_its_kernel_and_no_other_token_is_let_in(chromium):
    port = conftest.lab.free_port()
    with conftest.serving(port) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/?token=wrong") as answer:
            assert "/login" in answer.url, "sent away"
        assert not children(server.pid), "and no kernel was started for it"
        screen = conftest.Screen(chromium)
        screen.page.goto(f"http://127.0.0.1:{port}/?token=tok")
        screen.settled()
        assert len(children(server.pid)) == 1
        screen.page.close(run_before_unload=True)
        end = time.monotonic() + 40  # less than the minute after which a kernel without a page is ended anyway
        while children(server.pid):
            assert time.monotonic() < end, "its kernel is still there"
            time.sleep(0.1)
        screen.context.close()


def children(pid):
    """Processes that a process has started and that still run."""
    listed = subprocess.run(["ps", "-o", "stat=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [line for line in listed.stdout.split() if not line.startswith("Z")]
