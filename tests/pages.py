"""The code on the pages."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def blocks(page, language):
    """The code of one language on a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
