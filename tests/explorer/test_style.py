"""What can be said about looks without eyes: contrast, and colours that are told apart."""

import itertools
import re

import pytest

from oatlib.explorer.front_end import style


def themes():
    found = re.findall(r"^\.oat(?:\[data-theme=\"(\w+)\"\])? \{\n(.*?)\n\}", style(), re.MULTILINE | re.DOTALL)
    return {name or "light": dict(re.findall(r"--([\w]+): (#[0-9a-f]{3,6});", rules)) for name, rules in found}


def linear(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]


def luminance(colour):
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def seen(colour, matrix):
    """As an eye without one kind of cone sees it (Vienot, Brettel and Mollon 1999), linear."""
    return [sum(m * c for m, c in zip(row, linear(colour), strict=True)) for row in matrix]


NO_RED = [[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.004, -0.004, 1]]
NO_GREEN = [[0.2928, 0.7072, 0], [0.2928, 0.7072, 0], [-0.0223, 0.0223, 1]]


def test_there_are_two_themes_with_the_same_names():
    assert themes().keys() == {"light", "dark"}
    assert themes()["light"].keys() == themes()["dark"].keys() >= {"page", "panel", "ink", "faint", "accent", "c5"}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(theme):
    colours = themes()[theme]
    for words, behind in itertools.product(("ink", "faint", "accent", "wrong", "right"), ("page", "panel")):
        assert contrast(colours[words], colours[behind]) >= 4.5, (words, behind)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_curves_stand_out_from_the_page(theme):
    colours = themes()[theme]
    assert all(contrast(colours[f"c{i}"], colours["page"]) >= 3 for i in range(6))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("matrix", [NO_RED, NO_GREEN])
def test_curves_of_neighbours_in_the_list_differ_to_colour_blind_eyes(theme, matrix):
    colours = themes()[theme]
    for i in range(6):
        a, b = (seen(colours[f"c{j}"], matrix) for j in (i, (i + 1) % 6))
        assert sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5 > 0.1, (i, (i + 1) % 6)
