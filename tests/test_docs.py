"""The pages: links lead somewhere, the reference has every public name, and the site builds without a warning."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import oatlib

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "bench/*.md", "data/*.md", "notebooks/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def anchors(page):
    """The names that headings of a page have in addresses."""
    text = CODE.sub(lambda hit: hit[0].strip("`") if "\n" not in hit[0] else "", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page):
    """The links of a page that lead nowhere in the repository."""
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        place = page.parent / target if target else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            yield link


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert list(broken(ROOT / page)) == []


def test_broken_links_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# A title, with `code`\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#a-title-with-code) [c](missing.md) [d](other.md#no) `[e](f)`\n"
        "```\n[g](h)\n```\n[i](https://example.org) [j](#here)\n## Here\n",
        encoding="utf-8",
    )
    assert list(broken(page)) == ["missing.md", "other.md#no"]


def test_files_that_are_named_on_pages_for_contributors_exist():
    named = [
        path
        for page in ("CONTRIBUTING.md", "docs/architecture.md")
        for path in re.findall(
            r"`((?:oatlib|tests|bench|notebooks|authoring|docs|data)/[\w./]+)`",
            (ROOT / page).read_text(encoding="utf-8"),
        )
    ]
    made_up = ("name", "NN_")  # in the recipe for a lesson
    assert len(named) > 40
    assert not [path for path in named if not (ROOT / path).exists() and not Path(path).name.startswith(made_up)]


def test_the_reference_has_every_package_with_public_names():
    """And with it every public name: the directive goes through the stub."""
    stub = ast.parse((ROOT / "oatlib" / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    listed = re.findall(
        r"^```\{public-names\} (\w+)$", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), re.M
    )
    assert sorted(listed) == sorted({node.module.partition(".")[0] for node in imports})


@pytest.mark.slow
def test_the_site_builds(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_nb")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", ".", str(tmp_path / "site")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    reference = (tmp_path / "site" / "docs" / "reference.html").read_text(encoding="utf-8")
    assert not [name for name in oatlib.__all__ if f'id="oatlib.{name}"' not in reference]
    lessons = {path.stem for path in (tmp_path / "site" / "notebooks").glob("*.html")}
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} <= lessons
    assert "<svg" in (tmp_path / "site" / "docs" / "architecture.html").read_text(encoding="utf-8")
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")]
    loaded = [
        hit for page in pages for hit in re.findall(r'<(?:script|link|img)\b[^>]*(?:src|href)="(https?://[^"]*)"', page)
    ]
    assert loaded == [], "a page must not load anything from elsewhere"
