"""The diagram grows from lesson to lesson, and nothing lies outside of it or on something else."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from oatlib.course import diagram

SVG = "{http://www.w3.org/2000/svg}"


def boxes(lesson):
    return [box for box in diagram.BOXES if box.since <= lesson <= box.until]


def overlap(a, b):
    apart = a.x + a.width <= b.x or b.x + b.width <= a.x
    return not apart and abs(a.y - b.y) < diagram.BOX_HEIGHT


@pytest.mark.parametrize("lesson", diagram.LESSONS)
def test_it_is_svg_with_its_new_parts_in_colour_and_a_takeaway(lesson):
    root = ElementTree.fromstring(diagram.svg(lesson))
    assert root.find(f"{SVG}title").text == diagram.TAKEAWAYS[lesson]
    coloured = [part for part in root.iter(f"{SVG}rect") if part.get("stroke") == diagram.NEW]
    new = [box for box in boxes(lesson) if box.since == lesson and not box.is_known]
    assert len(coloured) == len(new) > 0
    x, y, width, height = map(float, root.get("viewBox").split())
    for part in root.iter(f"{SVG}rect"):
        left, top = float(part.get("x", 0)), float(part.get("y", 0))
        assert x <= left and left + float(part.get("width")) <= x + width
        assert y <= top and top + float(part.get("height")) <= y + height


@pytest.mark.parametrize("lesson", diagram.LESSONS)
def test_boxes_do_not_overlap_and_hold_their_text(lesson):
    shown = boxes(lesson)
    assert not [(a, b) for i, a in enumerate(shown) for b in shown[:i] if overlap(a, b)]
    for box in shown:
        assert max(map(len, box.lines)) * 6.6 <= box.width, "about 6.6 pixels for a letter"


def test_a_part_stays_unless_another_takes_its_place():
    for lesson, following in zip(diagram.LESSONS, diagram.LESSONS[1:], strict=False):
        gone = [box for box in boxes(lesson) if box not in boxes(following)]
        for box in gone:
            later = [new for new in boxes(following) if new.since == following]
            # a box at its place, or one in its row that stands for several parts
            assert any(abs(box.x - new.x) < 5 or (new.is_known and box.y == new.y) for new in later), box


def test_statistics_and_scale_and_shift_have_labels_and_carry_what_was_found_out():
    plain = [text.text for text in ElementTree.fromstring(diagram.svg("03")).iter(f"{SVG}text")]
    assert {"measured", "trained"} <= set(plain)
    found = {"statistics": "alone: one setting", "scale and shift": "alone: two settings"}
    told = [text.text for text in ElementTree.fromstring(diagram.svg("03", found)).iter(f"{SVG}text")]
    assert told == plain + list(found.values())
    with pytest.raises(ValueError, match="lesson 04 has no parts of the kind 'statistics'"):
        diagram.svg("04", found)


def test_it_is_displayed_as_svg_with_text_for_terminals(monkeypatch):
    shown = []
    monkeypatch.setattr(diagram, "display", lambda data, **about: shown.append((data, about)))
    diagram.diagram("03")
    ((data, about),) = shown
    assert re.match("<svg ", data["image/svg+xml"]) and data["text/plain"].startswith("Diagram: Clean and attacked")
    assert about == {"raw": True, "metadata": {"needs_background": "light"}}


def test_a_lesson_without_a_diagram_is_an_error():
    with pytest.raises(ValueError, match="no diagram of lesson '08': 01, 02"):
        diagram.diagram("08")


def test_steps_lie_inside_and_one_row_may_repeat():
    rows = {"a": [("one", "step"), ("two",), ("three",)], "b": [("one",)] * 5}
    root = ElementTree.fromstring(diagram.steps_svg(rows, "a < b", back="a"))
    assert root.find(f"{SVG}title").text == "a < b"
    _, _, width, height = map(float, root.get("viewBox").split())
    rects = list(root.iter(f"{SVG}rect"))
    assert len(rects) == 1 + 3 + 5
    for part in rects[1:]:
        assert float(part.get("x")) + float(part.get("width")) <= width
        assert float(part.get("y")) + float(part.get("height")) <= height
    lines = len(list(root.iter(f"{SVG}polyline")))
    assert lines == 2 + 4 + 1
