"""The pages: links lead somewhere, the reference has every public name, and the site builds without a warning."""

import ast
import functools
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


TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@functools.cache
def functions_of_tests(file):
    """The names of the tests in a file, or nothing if there is no such file."""
    if not (ROOT / file).is_file():
        return set()
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def missing_tests(text):
    """The tests that a page names and that do not exist."""
    return [(file, name) for file, name in TEST.findall(text) if name not in functions_of_tests(file)]


def test_every_fault_names_tests_that_exist():
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert missing_tests(page) == []
    rows = [row for row in page.splitlines() if row.startswith("| ") and not row.startswith("| fault |")]
    without = [row for row in rows if not TEST.search(row) and "python -m bench.soak" not in row]
    assert len(rows) > 100 and without == ["| what is killed | result | command |"]


def test_a_fault_without_its_test_is_found():
    good = "`tests/test_docs.py::test_a_fault_without_its_test_is_found`"
    no_file = good.replace("test_docs", "test_dogs")
    no_test = "`tests/test_docs.py::functions_of_tests`"
    assert missing_tests(good) == []
    assert len(missing_tests(f"{good} {no_file} {no_test}")) == 2


def test_every_hostile_file_and_text_is_on_the_page_of_faults():
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    named = {name for file, name in TEST.findall(page) if file == "tests/test_hostile.py"}
    assert functions_of_tests("tests/test_hostile.py") - named == set()


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
