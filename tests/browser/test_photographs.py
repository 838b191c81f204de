"""The page of networks whose images are not here: recorded curves, and a sentence instead of images."""

from oatlib.explorer import app
from oatlib.explorer.own_copy import own_copy
from tests import small_photographs as small

from . import conftest


def test_dials_and_the_record_work_without_the_images(chromium, tmp_path):
    copy = small.folder(tmp_path / "copy")
    net = small.network(copy)
    weights = small.saved(tmp_path / "blend.safetensors", net, own_copy(f"folder:{copy}", net.spec))
    app.write(tmp_path / "a.html", [str(weights)], "lam=0.5")
    screen = conftest.Screen(chromium)
    page = screen.page
    page.goto((tmp_path / "a.html").as_uri())
    page.wait_for_selector(".oat .big")
    assert "recorded curves · Small photographs, 18 test images" in page.inner_text(".oat .top")
    assert "oatlib explore --photographs --data folder:DIR" in page.inner_text(".oat .missing")
    assert page.locator(".oat canvas").count() == 0
    assert screen.numbers() == (60.0, 40.0)
    screen.dial("lam").focus()
    page.keyboard.press("End")
    assert screen.numbers() == (50.0, 38.0)
    page.click(".oat button:text-is('choose for me')")
    assert "moved to" in page.inner_text(".oat .choose .why")
    page.click(".oat button:text-is('how it was made')")
    assert "90 s on 1 thread (a small machine)" in page.inner_text(".oat .record dl")
    assert page.locator(".oat .record tbody tr").count() == 2
    ticks = [float(text) for text in page.locator(".oat .plot .tick").all_text_contents() if text.isdigit()]
    assert max(ticks) < 80, "the axes fit hard images"
    assert screen.faults == []
    screen.context.close()
