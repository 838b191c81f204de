"""What the page says when Python ends, when its address is wrong, and what of a training can be kept."""

import os
import subprocess
import time

import pytest

import oatlib

from . import conftest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="asks ps for the kernels")
NOTICED = conftest.lab.LONG  # tests/explorer/test_front_end.py says after how many seconds without other work


@pytest.fixture
def served(chromium):
    """A page of its own and its server."""
    port = conftest.lab.free_port()
    with conftest.serving(port) as server:
        screen = conftest.Screen(chromium)
        screen.server, screen.port = server, port
        screen.home = f"http://127.0.0.1:{port}/?token=tok"
        screen.page.goto(screen.home)
        screen.settled()
        yield screen
        screen.context.close()


@pytest.fixture(scope="module")
def steady(chromium):
    """A page for tests that only move its dials."""
    with conftest.on_its_page(chromium) as screen:
        screen.settled()
        screen.page.set_default_timeout(20_000)
        yield screen


def kernels(server):
    """Ids of the processes that a server has started and that still run."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=", "--ppid", str(server.pid)], capture_output=True, text=True, check=False
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, status in rows if not status.startswith("Z")]


def lost(screen):
    return screen.page.locator(".oat .lost")


def set_state(screen, text):
    screen.page.fill(".oat input.state", text)
    screen.page.keyboard.press("Enter")


def assert_dials_still_move_the_estimate(screen):
    before = screen.place, screen.numbers()
    screen.dial("lam").focus()
    screen.page.keyboard.press("PageUp")
    assert screen.place != before[0] and screen.numbers() != before[1]
    assert screen.page.inner_text('.oat [data-number="robust"]').startswith("≈")


def test_a_kernel_that_was_killed_is_noticed_and_comes_back_with_the_same_state(served):
    set_state(served, "network=oats&lam=0.6&width=0.75&eps=6&attack=pgd-10")
    numbers, state = served.settled(), served.state
    served.page.wait_for_timeout(2500)
    assert lost(served).is_hidden(), "no false alarm"
    os.kill(kernels(served.server)[0], 9)
    lost(served).wait_for(timeout=NOTICED)
    lost(served).filter(has_text="Reconnect to start it again").wait_for()
    assert "Python does not answer any more." in lost(served).inner_text()
    assert_dials_still_move_the_estimate(served)
    set_state(served, state)
    served.shot("Python has ended")
    lost(served).get_by_role("button", name="reconnect").click()
    served.page.wait_for_selector(".oat .big")
    assert served.settled() == numbers and served.state == state
    served.page.wait_for_timeout(1500)
    assert lost(served).is_hidden()


def test_a_server_that_was_killed_is_noticed_and_so_is_another_one(served):
    served.server.kill()
    lost(served).wait_for(timeout=NOTICED)
    assert_dials_still_move_the_estimate(served)
    lost(served).filter(has_text="have ended. Start `oatlib explore` again in the terminal").wait_for()
    assert f'--state "{served.state}"' in lost(served).inner_text()
    served.shot("the server has ended")
    assert lost(served).get_by_role("button").is_hidden()
    with conftest.serving(served.port):
        lost(served).filter(has_text="open the address that it printed").wait_for()
        assert lost(served).get_by_role("button").is_hidden()


def test_python_that_only_sleeps_is_missed_and_welcomed_back(served):
    (kernel,) = kernels(served.server)
    os.kill(kernel, 19)  # stop
    try:
        lost(served).wait_for(timeout=NOTICED)
    finally:
        os.kill(kernel, 18)  # continue
    lost(served).wait_for(state="hidden")
    assert served.page.get_attribute(".oat", "data-python") == "here"
    assert_dials_still_move_the_estimate(served)
    served.settled()


def test_a_page_that_is_being_left_raises_no_alarm(served):
    """A reload ends Python at once, and the old page stays on the screen until the new one has come."""

    def slow(route):
        if route.request.is_navigation_request():
            served.page.wait_for_timeout(5000)
        route.continue_()

    served.page.evaluate("""() => {
      const lost = document.querySelector(".oat .lost");
      const observer = new MutationObserver(() => { if (!lost.hidden) console.error("an alarm"); });
      observer.observe(lost, { attributes: true });
    }""")
    served.page.route("http://127.0.0.1:*/*token*", slow)
    served.page.reload()
    served.settled()
    assert served.faults == []


CLEAN = "network=oats&lam=0.3&width=1&eps=8&attack=quick"


@pytest.mark.parametrize(
    ("bad", "words", "kept"),
    [
        ("compare=__proto__&lam=0.6", "unknown network '__proto__'", "lam=0.6&"),
        ("network=__proto__&eps=4", "unknown network '__proto__'", "network=oats&lam=0.3&width=1&eps=4&"),
        ("network=constructor", "unknown network 'constructor'", "network=oats&"),
        ("compare=toString,oats", "unknown network 'toString'", "&compare=oats"),
        ("__proto__=1&lam=0.6", "unknown key '__proto__'", "lam=0.6&"),
        ("lam=7&eps=4", "lam must lie in [0, 1] for 'oats', got 7", "lam=0.3&width=1&eps=4&"),
        ("network=%zz%&lam=%&eps=4", "unknown network '%zz%'", "eps=4&"),
        ("compare=" + "x" * 500_000 + "&lam=0.6", "x" * 60 + "...'", "lam=0.6&"),
        (
            "network=oat,+trained+here+1&lam=0.6&eps=4",
            "“oat, trained here 1” lived only in the last page: train it again, or open the file that you saved "
            "with `oatlib explore FILE`",
            "network=oats&lam=0.3&width=1&eps=4&",
        ),
    ],
)  # fmt: skip
def test_the_bad_part_of_an_address_is_left_out_and_the_page_lives(steady, bad, words, kept):
    page = steady.page
    set_state(steady, CLEAN + "&compare=")
    steady.settled()
    page.evaluate("hash => { location.hash = hash; }", bad)
    error = page.locator(".oat .error")
    error.filter(has_text="Left out of the address: ").wait_for()
    assert words in error.inner_text() and len(error.inner_text()) < 400
    assert kept in steady.state and page.evaluate("location.hash").endswith(steady.state)
    steady.dial("lam").focus()
    page.keyboard.press("ArrowRight")
    assert error.is_hidden(), "what was left out is history"
    steady.settled()
    assert steady.faults == []


def test_a_bad_address_is_left_out_when_the_page_opens_too(served):
    served.page.goto("about:blank")
    served.page.goto(f"{served.home}#network=constructor&compare=__proto__&eps=4")
    served.settled()
    message = served.page.inner_text(".oat .error")
    assert "'constructor'" in message and "'__proto__'" in message and "eps=4&" in served.state
    served.page.reload()
    served.settled()
    assert served.page.locator(".oat .error").is_hidden(), "a reload has nothing bad left"
    assert served.faults == []


def test_an_error_in_drawing_is_said_and_the_other_parts_go_on(steady):
    set_state(steady, CLEAN)
    steady.settled()
    steady.page.evaluate("""() => {
      const plot = document.querySelector(".oat .plot");
      window.mend = () => { delete plot.setAttribute; };
      plot.setAttribute = () => { throw new Error("planted"); };
    }""")
    before = steady.numbers()
    steady.dial("lam").focus()
    steady.page.keyboard.press("PageUp")
    error = steady.page.locator(".oat .error")
    error.filter(has_text="A part of the page cannot be drawn: planted").wait_for()
    assert steady.settled() != before
    steady.page.evaluate("mend()")
    steady.page.keyboard.press("PageUp")
    assert error.is_hidden()
    assert any("planted" in fault for fault in steady.faults), "developers see it in the console"
    steady.faults.clear()


def test_a_network_of_the_page_can_be_saved_and_a_reload_says_that_it_is_gone(chromium, tmp_path):
    with conftest.on_its_page(chromium, folder=tmp_path) as screen:
        page = screen.page
        screen.settled()
        page.click(".oat [role=tab]:has-text('train one here')")
        assert page.locator(".oat .saving").is_hidden()
        page.select_option(".oat .training select >> nth=0", "blend")
        page.fill(".oat .training input", "1")
        page.click(".oat .training button:text-is('start')")
        page.locator(".oat .training [role=status]").filter(has_text="finished").wait_for()
        status = page.locator(".oat .saving [role=status]")
        status.filter(has_text="“blend, trained here 1” lives only on this page: a reload ends it.").wait_for()
        assert lost(screen).is_hidden(), "a training is no reason for silence"

        with page.expect_download() as download:
            page.click(".oat .saving button:text-is('download')")
        assert download.value.suggested_filename == "blend-trained-here-1.safetensors"
        status.filter(has_text="Downloaded as blend-trained-here-1.safetensors.").wait_for()
        page.click(".oat .saving button:text-is('save for Python')")
        saved = tmp_path / "blend-trained-here-1.safetensors"
        status.filter(has_text=f"Saved as {saved}.").wait_for()
        assert f"oatlib.load({str(saved)!r})" in status.inner_text()
        page.locator(".oat .saving").scroll_into_view_if_needed()
        screen.shot("saved")
        content = saved.read_bytes()
        assert content == download.value.path().read_bytes()
        oatlib.save(oatlib.load(saved), tmp_path / "again.safetensors")
        assert content == (tmp_path / "again.safetensors").read_bytes()

        page.click(".oat .saving button:text-is('save for Python')")
        status.filter(has_text="Not saved: ").filter(has_text="exists already: choose another name").wait_for()
        page.fill(".oat .saving .file", "../elsewhere")
        page.click(".oat .saving button:text-is('save for Python')")
        status.filter(has_text="cannot be the name of the file").wait_for()
        assert {path.name for path in tmp_path.iterdir()} == {saved.name, "again.safetensors"}
        assert saved.read_bytes() == content

        page.reload()
        screen.settled()
        message = page.inner_text(".oat .error")
        assert "“blend, trained here 1” lived only in the last page" in message
        assert "network=oats&" in screen.state
        assert screen.faults == []


def test_in_a_notebook_silence_may_be_a_long_cell(chromium, tmp_path):
    execute = """code => {
      const kernels = jupyterapp.serviceManager.kernels;
      const kernel = [...kernels.running()][0];
      kernels.connectTo({ model: kernel }).requestExecute({ code });
    }"""
    with conftest.in_lab(chromium, tmp_path, False) as screen:
        screen.settled()
        screen.page.evaluate(execute, "import time; time.sleep(17)")
        screen.page.wait_for_timeout(3000)
        assert lost(screen).is_hidden()
        assert_dials_still_move_the_estimate(screen)
        lost(screen).filter(has_text="Python does not answer: it is busy with a cell, or its kernel").wait_for()
        assert lost(screen).get_by_role("button").is_hidden()
        lost(screen).wait_for(state="hidden")
        screen.settled()
        assert screen.faults == []
        screen.page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")
        screen.page.wait_for_timeout(1000)
        assert_dials_still_move_the_estimate(screen)
        lost(screen).wait_for()
        screen.shot("Python has ended, lab")


def test_questions_are_not_asked_while_a_notebook_is_at_rest(chromium, tmp_path):
    """They would keep a kernel from being ended that nobody uses."""
    count = """() => {
      const send = WebSocket.prototype.send;
      const text = (data) => (typeof data === "string" ? data : new TextDecoder().decode(data));
      window.asked = 0;
      WebSocket.prototype.send = function (data) {
        if (/"do": ?"hello"/.test(text(data))) asked += 1;
        return send.call(this, data);
      };
    }"""
    with conftest.in_lab(chromium, tmp_path, True) as screen:
        screen.settled()
        time.sleep(2)
        screen.page.evaluate(count)
        screen.page.wait_for_timeout(4000)
        assert screen.page.evaluate("asked") == 0
        screen.page.click(".oat button:text-is('pause')")
        screen.dial("lam").focus()
        screen.page.keyboard.press("PageUp")
        screen.until("asked >= 2")
        assert lost(screen).is_hidden()
