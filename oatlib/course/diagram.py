"""The diagram that grows through the lessons: a network, its attack, its training, its dials.

Every lesson adds parts. The newest are drawn in colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import fill

from IPython.display import display

WIDTH = 840
TEXT_COLUMNS = 100  # of the text alternative
SHOWN = 780  # pixels on the page; JupyterLab cuts off what is wider than its output
INK, QUIET, PAPER, NEW = "#30363c", "#8a9096", "#ffffff", "#e0661a"
NEW_FILL, NEW_TEXT = "#fdf0e7", "#b04d10"  # the text has a contrast of 4.5:1 on both
LESSONS = ("01", "02", "03", "04", "05", "06", "07")
LAST = LESSONS[-1]


@dataclass(frozen=True)
class _Box:
    """A part of the diagram: a rectangle with lines of text. `since` is the lesson that adds it."""

    since: str
    x: int
    y: int
    width: int
    lines: tuple[str, ...]
    until: str = LAST  # the last lesson that shows it
    is_known: bool = False  # stands for parts of an earlier lesson, so it is not drawn as new


@dataclass(frozen=True)
class _Arrow:
    """An arrow through some points, with a text beside its first corner."""

    since: str
    points: tuple[tuple[int, int], ...]
    text: str = ""
    text_at: tuple[int, int] = (0, 0)
    until: str = LAST
    is_known: bool = False


@dataclass(frozen=True)
class _Label:
    """A text between the boxes of one kind. `kind` names it for a text that is measured."""

    since: str
    kind: str
    x: int  # middle of the text
    y: int
    text: str
    until: str


MIDDLE = 150  # y of the row of the network
BOX_HEIGHT = 48
FRAME_TOP = MIDDLE - 44  # y of the frame around a block

BOXES = (
    _Box("00", 10, MIDDLE, 92, ("images", "x")),
    _Box("00", 140, MIDDLE, 80, ("conv",), until="05"),
    _Box("00", 250, MIDDLE, 100, ("BatchNorm",), until="02"),
    _Box("03", 250, MIDDLE - 34, 104, ("statistics", "of BN_c"), until="03"),
    _Box("03", 250, MIDDLE + 34, 104, ("statistics", "of BN_a"), until="03"),
    _Box("03", 376, MIDDLE - 34, 104, ("scale, shift", "of BN_c"), until="03"),
    _Box("03", 376, MIDDLE + 34, 104, ("scale, shift", "of BN_a"), until="03"),
    _Box("04", 250, MIDDLE - 34, 100, ("BatchNorm", "clean"), until="04", is_known=True),
    _Box("04", 250, MIDDLE + 34, 100, ("BatchNorm", "attacked"), until="04", is_known=True),
    _Box("05", 250, MIDDLE - 34, 100, ("BatchNorm", "λ = 0"), until="05"),
    _Box("05", 250, MIDDLE + 34, 100, ("BatchNorm", "λ > 0"), until="05"),
    _Box("06", 250, MIDDLE - 34, 100, ("BatchNorms", "λ = 0")),
    _Box("06", 250, MIDDLE + 34, 100, ("BatchNorms", "λ > 0")),
    _Box("04", 384, MIDDLE, 92, ("FiLM", "γ·h + β")),
    _Box("00", 506, MIDDLE, 70, ("ReLU",)),
    _Box("00", 620, MIDDLE, 82, ("pool and", "linear"), until="06"),
    _Box("07", 620, MIDDLE - 34, 82, ("linear of", "width 1/4")),
    _Box("07", 620, MIDDLE + 34, 82, ("linear of", "width 1")),
    _Box("00", 738, MIDDLE, 92, ("loss",), until="04"),
    _Box("05", 738, MIDDLE, 92, ("(1-λ)·clean", "+ λ·attacked")),
    _Box("01", 250, 268, 326, ("PGD: move x up the gradient, stay in the ball",)),
    _Box("02", 620, 268, 210, ("SGD: weights down the gradient",)),
    _Box("04", 384, 30, 92, ("generator", "γ(λ), β(λ)")),
    _Box("04", 250, 30, 100, ("code of λ",)),
    _Box("05", 10, 30, 92, ("λ, drawn", "per image")),
    _Box("06", 140, MIDDLE, 80, ("conv,", "sliced")),
    _Box("06", 140, 340, 80, ("width",)),
)
ARROWS = (
    _Arrow("00", ((102, 174), (140, 174))),
    _Arrow("00", ((220, 174), (250, 174)), until="02"),
    _Arrow("03", ((220, 174), (234, 174), (234, 140), (250, 140))),
    _Arrow("03", ((220, 174), (234, 174), (234, 208), (250, 208))),
    _Arrow("00", ((350, 174), (506, 174)), until="02"),
    _Arrow("03", ((354, 140), (376, 140)), until="03"),
    _Arrow("03", ((354, 208), (376, 208)), until="03"),
    _Arrow("03", ((480, 140), (490, 140), (490, 174), (506, 174)), until="03"),
    _Arrow("03", ((480, 208), (490, 208), (490, 174), (506, 174)), until="03"),
    _Arrow("04", ((350, 208), (366, 208), (366, 174), (384, 174))),
    _Arrow("04", ((350, 140), (366, 140), (366, 174), (384, 174))),
    _Arrow("04", ((476, 174), (506, 174))),
    _Arrow("00", ((576, 174), (620, 174)), until="06"),
    _Arrow("07", ((576, 174), (602, 174), (602, 140), (620, 140)), "pool", (592, 132)),
    _Arrow("07", ((576, 174), (602, 174), (602, 208), (620, 208))),
    _Arrow("00", ((702, 174), (738, 174)), "logits", (704, 166), until="06"),
    _Arrow("07", ((702, 140), (720, 140), (720, 174), (738, 174))),
    _Arrow("07", ((702, 208), (720, 208), (720, 174), (738, 174))),
    _Arrow("01", ((764, 198), (764, 248), (413, 248), (413, 268)), "∂loss/∂x", (600, 242)),
    _Arrow("01", ((250, 292), (56, 292), (56, 198)), "attacked x", (66, 284)),
    _Arrow("02", ((784, 198), (784, 268)), "∂loss/∂w", (788, 236)),
    _Arrow("04", ((350, 54), (384, 54))),
    _Arrow("04", ((430, 78), (430, 150)), "γ, β", (438, 118)),
    _Arrow("05", ((102, 54), (250, 54)), "which stop", (140, 46)),
    _Arrow("05", ((56, 78), (56, 100), (300, 100), (300, 116)), "which branch", (140, 94)),
    _Arrow(
        "05", ((56, 30), (56, 14), (784, 14), (784, 150)), "weight of the two losses", (560, 28)
    ),
    _Arrow("06", ((180, 340), (180, 198)), "channels", (124, 252)),
    _Arrow(
        "06",
        ((220, 364), (236, 364), (236, 254), (300, 254), (300, 232)),
        "which BatchNorm",
        (242, 350),
    ),
)
LABELS = (
    _Label("03", "statistics", 302, MIDDLE + 28, "measured", until="03"),
    _Label("03", "scale and shift", 428, MIDDLE + 28, "trained", until="03"),
)
FINDINGS_Y = FRAME_TOP - 8  # of what a lesson found out about the parts of one kind
TAKEAWAYS = {
    "01": "An attack follows the gradient of the loss back to the image and moves the image.",
    "02": "Training follows the same gradient to the weights. The attack moves x up, SGD moves the "
    "weights down.",
    "03": "Clean and attacked images have a BatchNorm each: statistics are measured, scale and "
    "shift trained.",
    "04": "A generator turns a code of λ into a scale and a shift per channel, behind the norm.",
    "05": "λ is drawn for every image. It chooses the BatchNorm, the FiLM and the weight of the "
    "losses.",
    "06": "The width says how many channels of every conv are used, and which of its BatchNorms.",
    "07": "Every width has a linear layer of its own. The width chooses it, and λ does not.",
}


# Small diagrams of one part, from left to right; the new parts are those of `since` "new".
FLOWS: dict[str, tuple[str, tuple[_Box | _Arrow, ...]]] = {
    "08": (
        "A layer of FLOAT. Every image passes through a convolution with the weight W + λ·α·σ·η. η "
        "is drawn, α is learned, σ comes from W. Then come the BatchNorm of its λ and a ReLU.",
        (
            _Box("old", 190, 10, 110, ("weight", "W")),
            _Box("new", 340, 10, 110, ("+ noise", "λ·α·σ·η")),
            _Box(
                "old",
                490,
                10,
                250,
                ("η: drawn for each entry, N(0, 1)", "α: learned, σ: spread of W"),
            ),
            _Box("old", 30, 110, 110, ("images", "x")),
            _Box("old", 190, 110, 110, ("convolution",)),
            _Box("old", 350, 110, 150, ("BatchNorm", "of λ = 0 or λ > 0")),
            _Box("old", 550, 110, 90, ("ReLU",)),
            _Arrow("old", ((140, 134), (190, 134))),
            _Arrow("old", ((300, 134), (350, 134))),
            _Arrow("old", ((500, 134), (550, 134))),
            _Arrow("new", ((490, 34), (450, 34))),
            _Arrow("new", ((340, 34), (300, 34))),
            _Arrow("old", ((245, 58), (245, 110)), "noisy weight", (252, 90)),
        ),
    ),
    "10": (
        "An attack changes an image. The mean cell of the change is a tile. Its cosine with each "
        "known tile says what was painted; the largest over the wrong classes is the meter.",
        (
            _Box("old", 10, 10, 100, ("change", "x_adv - x")),
            _Box("new", 160, 10, 130, ("fold_tile:", "mean 4x4 cell")),
            _Box("new", 340, 10, 150, ("tile_match: cosine", "with each tile")),
            _Box("new", 540, 10, 140, ("forgery: largest", "of wrong classes")),
            _Box("old", 730, 10, 100, ("meter,", "at most 1")),
            _Box("old", 340, 90, 150, ("known tiles of", "all classes")),
            _Arrow("old", ((110, 34), (160, 34))),
            _Arrow("old", ((290, 34), (340, 34))),
            _Arrow("old", ((490, 34), (540, 34))),
            _Arrow("old", ((680, 34), (730, 34))),
            _Arrow("old", ((415, 90), (415, 58))),
        ),
    ),
    "10b": (
        "Both networks see the image. If the accurate one is sure and the robust one does not veto "
        "its class, its vote is added to the logits of the robust one. The vote has no gradient.",
        (
            _Box("old", 10, 50, 80, ("image", "x")),
            _Box("old", 150, 10, 120, ("accurate", "network")),
            _Box("old", 150, 90, 120, ("robust", "network")),
            _Box("new", 330, 10, 130, ("sure of class k?", "p > 0.9")),
            _Box("new", 520, 10, 130, ("no veto of k?", "p > 0.02")),
            _Box("new", 700, 50, 130, ("logits, + 8 at k", "if both")),
            _Arrow("old", ((90, 74), (120, 74), (120, 34), (150, 34))),
            _Arrow("old", ((90, 74), (120, 74), (120, 114), (150, 114))),
            _Arrow("new", ((270, 34), (330, 34))),
            _Arrow("new", ((460, 34), (520, 34))),
            _Arrow("new", ((650, 34), (765, 34), (765, 50)), "vote: no gradient", (656, 26)),
            _Arrow("new", ((585, 114), (585, 58))),
            _Arrow("old", ((270, 114), (765, 114), (765, 98)), "logits, with gradient", (300, 132)),
        ),
    ),
}


def flow(lesson: str) -> None:
    """Display the small diagram of a lesson that adds no part to the network.

    Args:
        lesson: A lesson in `FLOWS`.
    """
    takeaway, parts = FLOWS[lesson]
    body = "".join(
        (_box if isinstance(part, _Box) else _arrow)(part, part.since == "new") for part in parts
    )
    bottom = max(part.y + BOX_HEIGHT for part in parts if isinstance(part, _Box)) + 12
    data = {
        "image/svg+xml": _page(takeaway, 0, bottom, body),
        "text/plain": fill(f"Diagram: {takeaway}", TEXT_COLUMNS),
    }
    display(data, raw=True, metadata={"needs_background": "light"})


def diagram(lesson: str, findings: Mapping[str, str] | None = None) -> None:
    """Display the diagram as lesson NN has it, with its new parts in colour.

    Args:
        lesson: A lesson in `LESSONS`.
        findings: What the lesson measured, by the kind of part: "statistics" or "scale and shift".
            It is written above these parts.

    Raises:
        ValueError: If the lesson has no diagram, or no parts of such a kind.
    """
    if lesson not in LESSONS:
        raise ValueError(f"there is no diagram of lesson {lesson!r}: {', '.join(LESSONS)}")
    said = "".join(f"\n{kind}, {text}" for kind, text in (findings or {}).items())
    data = {
        "image/svg+xml": svg(lesson, findings),
        "text/plain": f"Diagram: {TAKEAWAYS[lesson]}{said}",
    }
    display(data, raw=True, metadata={"needs_background": "light"})


def svg(lesson: str, findings: Mapping[str, str] | None = None) -> str:
    """Return the diagram of a lesson as SVG. Its description says what is new.

    Args:
        lesson: A lesson in `LESSONS`.
        findings: See `diagram`.
    """
    shown = [part for part in (*ARROWS, *BOXES) if part.since <= lesson <= part.until]
    body = "".join(
        (_box if isinstance(part, _Box) else _arrow)(
            part, part.since == lesson and not part.is_known
        )
        for part in shown
    )
    labels = {label.kind: label for label in LABELS if label.since <= lesson <= label.until}
    body += "".join(_text(label.x, label.y, label.text) for label in labels.values())
    for kind, text in (findings or {}).items():
        if kind not in labels:
            raise ValueError(
                f"the diagram of lesson {lesson} has no parts of the kind {kind!r}: "
                f"{', '.join(labels) or 'it has no labels'}"
            )
        body += _text(labels[kind].x, FINDINGS_Y, text, "bold")
    # the block of conv, norm and ReLU stands three times in a row
    frame = (
        f'<rect x="128" y="{FRAME_TOP}" width="462" height="136" rx="10" fill="none" '
        f'stroke="{QUIET}" stroke-dasharray="5 4"/><text fill="{QUIET}">'
        f'<tspan x="492" y="{MIDDLE + 71}">three such</tspan>'
        f'<tspan x="492" y="{MIDDLE + 86}">blocks in a row</tspan></text>'
    )
    top = min(FRAME_TOP, *(part.y for part in shown if isinstance(part, _Box))) - 20
    bottom = max(part.y + BOX_HEIGHT for part in shown if isinstance(part, _Box)) + 14
    return _page(TAKEAWAYS[lesson], top, bottom, frame + body)


def steps(rows: Mapping[str, Sequence[Sequence[str]]], takeaway: str, back: str = "") -> None:
    """Display procedures as rows of boxes, from left to right.

    Args:
        rows: By name of the procedure, its steps. Each step is the lines of a box.
        takeaway: What the diagram shows, in a sentence. It is its text alternative.
        back: Name of a row whose last step is followed by its second one again.
    """
    data = {
        "image/svg+xml": steps_svg(rows, takeaway, back),
        "text/plain": fill(f"Diagram: {takeaway}", TEXT_COLUMNS),
    }
    display(data, raw=True, metadata={"needs_background": "light"})


def steps_svg(rows: Mapping[str, Sequence[Sequence[str]]], takeaway: str, back: str = "") -> str:
    """Return the diagram of `steps` as SVG."""
    body, width, distance, pitch = "", 138, 166, 112
    for i, (name, boxes) in enumerate(rows.items()):
        y = 34 + pitch * i
        middle = y + BOX_HEIGHT // 2
        body += f'<text x="10" y="{y - 10}" font-weight="bold" fill="{INK}">{escape(name)}</text>'
        for k, lines in enumerate(boxes):
            x = 10 + distance * k
            body += _box(_Box("", x, y, width, tuple(lines)), name == back and k > 0)
            if k:
                body += _arrow(_Arrow("", ((x - distance + width, middle), (x, middle))), False)
        if name == back:
            last, second, low = 10 + distance * (len(boxes) - 1), 10 + distance, y + BOX_HEIGHT
            corners = [(last, low), (last, low + 18), (second, low + 18), (second, low)]
            points = tuple((x + width // 2, corner) for x, corner in corners)
            body += _arrow(_Arrow("", points, "again", (second + width, low + 14)), True)
    return _page(takeaway, 0, pitch * len(rows), body)


def _page(title: str, top: int, bottom: int, body: str) -> str:
    """Return an SVG image of some parts, from y = top to y = bottom."""
    height = bottom - top
    heads = "".join(
        f'<marker id="{key}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
        for key, colour in (("quiet", QUIET), ("new", NEW))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {top} {WIDTH} {height}" '
        f'width="{SHOWN}" height="{SHOWN * height // WIDTH}" '
        'font-family="sans-serif" font-size="13" role="img" '
        'style="max-width:100%;height:auto">'
        f"<title>{escape(title)}</title><defs>{heads}</defs>"
        f'<rect y="{top}" width="{WIDTH}" height="{height}" rx="8" fill="{PAPER}"/>{body}'
        "</svg>"
    )


def _text(x: int, y: int, text: str, weight: str = "normal") -> str:
    """A line of text around x, in the colour of new parts."""
    return (
        f'<text x="{x}" y="{y}" text-anchor="middle" font-size="12" font-weight="{weight}" '
        f'fill="{NEW_TEXT}">{escape(text)}</text>'
    )


def _box(box: _Box, is_new: bool) -> str:
    stroke, fill = (NEW, NEW_FILL) if is_new else (QUIET, PAPER)
    middle = box.x + box.width / 2
    first = box.y + BOX_HEIGHT / 2 + 5 - 8 * (len(box.lines) - 1)
    texts = "".join(
        f'<text x="{middle:g}" y="{first + 16 * i:g}" text-anchor="middle" fill="{INK}">'
        f"{escape(line)}</text>"
        for i, line in enumerate(box.lines)
    )
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{BOX_HEIGHT}" rx="6" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="{2 if is_new else 1.2}"/>{texts}'
    )


def _arrow(arrow: _Arrow, is_new: bool) -> str:
    colour, head = (NEW, "new") if is_new else (QUIET, "quiet")
    points = " ".join(f"{x},{y}" for x, y in arrow.points)
    x, y = arrow.text_at
    text = f'<text x="{x}" y="{y}" font-size="12" fill="{INK}">{escape(arrow.text)}</text>'
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" '
        f'stroke-width="{2 if is_new else 1.4}" marker-end="url(#{head})"/>'
        f"{text if arrow.text else ''}"
    )
