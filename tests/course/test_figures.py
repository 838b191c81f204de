"""Pictures hold the numbers they were given, and can be told apart without colour on any page."""

import re

import pytest
import torch

import oatlib
from oatlib.course import figures


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("page", ["#ffffff", "#111111"])
@pytest.mark.parametrize("colour", [*figures.COLOURS, figures.INK])
def test_colours_stand_out_on_light_and_dark_pages(page, colour):
    dark, light = sorted([luminance(page), luminance(colour)])
    assert (light + 0.05) / (dark + 0.05) >= 3


def test_series_differ_in_more_than_colour():
    fig = figures.lines([0, 1], {str(i): [0, i] for i in range(6)})
    assert len({(t.line.dash, t.marker.symbol) for t in fig.data}) == 6


def test_a_band_is_drawn_around_its_line():
    band, line = figures.lines([0, 1], {"a": ([1, 2], [0, 1], [3, 4])}).data
    assert band.x == (0, 1, 1, 0) and band.y == (3, 4, 1, 0) and line.y == (1, 2)


def test_the_frontier_has_the_intervals_of_its_results():
    fig = figures.frontier({"net": [{"clean": 0.9, "robust": 0.25, "n": 100, "lam": 0.3}]})
    low, high = oatlib.wilson(25, 100)
    assert fig.data[0].y == (25.0,) and fig.data[0].text == ("λ = 0.3",)
    assert fig.data[0].error_y.array[0] == pytest.approx(100 * high - 25)
    assert fig.data[0].error_y.arrayminus[0] == pytest.approx(25 - 100 * low)
    assert re.search("n = 100", fig.layout.xaxis.title.text)
    both = {"a": [{"clean": 0.9, "robust": 0.25, "n": 100}], "b": [{"clean": 0.9, "robust": 0.25, "n": 50}]}
    assert re.search("n ≥ 50", figures.frontier(both).layout.xaxis.title.text)


def test_bars_of_accuracies_have_intervals_and_others_have_none():
    fig = figures.bars(["a"], {"s": [0.5]}, n=64)
    assert fig.data[0].y == (50.0,) and fig.data[0].error_y.array[0] == pytest.approx(
        100 * oatlib.wilson(32, 64)[1] - 50
    )
    assert figures.bars(["a"], {"s": [7]}).data[0].error_y.array is None


def test_long_names_of_bars_have_several_lines():
    assert figures.bars(["PGD-20, no random start", "FGSM"], {"s": [1, 2]}).data[0].x == (
        "PGD-20, no<br>random start", "FGSM",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["a", "change × 16, attacked through the other"])
def test_rows_of_images_fit_into_a_small_window(name):
    fig = figures.images({name: [torch.zeros(3, 4, 4)] * 6})
    margin, (_, right), (lower, _) = fig.layout.margin, fig.layout.xaxis.range, fig.layout.yaxis.range
    scale = (fig.layout.height - margin.t - margin.b) / lower  # pixels
    assert 500 < right * scale + margin.l + margin.r <= figures.WIDEST + 2 and margin.l > 7 * len(name)
    assert fig.layout.width is None, "it follows the page"


def test_histograms_share_bins_and_sum_to_one():
    values = torch.randn(500, generator=torch.Generator().manual_seed(0))
    first, second = figures.histograms({"a": values, "b": values + 1}).data
    assert first.x == second.x and sum(first.y) == pytest.approx(1) and sum(second.y) == pytest.approx(1)
    assert figures.histograms({"same": torch.ones(3)}).data[0].y


def test_images_are_shown_pixel_by_pixel():
    grey, colour = torch.full((1, 2, 2), 0.5), torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1).expand(3, 2, 2)
    fig = figures.images({"row": [grey, colour]}, {"row": ["one", "two"]})
    assert list(fig.data[0].z[0][0]) == [128] * 3 and list(fig.data[1].z[1][1]) == [0, 255, 255]
    assert {"row", "one", "two"} <= {a.text for a in fig.layout.annotations}


@pytest.mark.parametrize("columns", [2, 12])
def test_captions_of_more_lines_have_more_room_and_hide_no_picture(columns):
    rows = {name: [torch.zeros(3, 4, 4)] * columns for name in "ab"}
    told = figures.stacked(["class: disc · drawn: ring"] * columns, ["says disc"] * columns)
    assert told[0] == "class: disc · drawn: ring<br>says disc"
    short, long = (figures.images(rows, {"a": texts}) for texts in (["one"] * columns, told))
    assert "class: disc<br>drawn: ring<br>says disc" in {a.text for a in long.layout.annotations}
    pixels = (long.layout.height - 24) / long.layout.yaxis.range[0]  # of an image
    assert (long.data[columns].y0 - short.data[columns].y0) * pixels == pytest.approx(figures.CAPTION_LINE, rel=0.02)


def test_a_change_is_magnified_around_grey():
    x = torch.full((3, 2, 2), 0.25)
    assert torch.allclose(figures.change(x, x + 0.01, 10), torch.full_like(x, 0.6))


def test_a_title_leaves_room_for_the_lines_of_the_legend():
    short, long = {"a": [1, 2], "b": [2, 1]}, {f"{n}, a name that is quite long": [n, 1] for n in range(6)}
    tops = [figures.lines([0, 1], s, title=t).layout.margin.t for s in (short, long) for t in ("", "A title")]
    assert tops[0] < tops[1] < tops[3] and tops[2] - tops[0] == figures.LEGEND_LINE
