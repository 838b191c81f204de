"""Write what Binder and Colab need: badges, and notebooks with a set-up cell.

    python authoring/places.py           write them
    python authoring/places.py --check   write nothing: are they up to date?

Both places fetch a repository by its address. It is set in one place, in pyproject.toml:

    [project.urls]
    Repository = "https://github.com/OWNER/NAME"

Without it nothing is written. `.binder/` is what Binder installs; it needs no address.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

import nbformat

from authoring import lessons

COLAB = Path("colab")  # folder of the notebooks for Colab
PAGES = (Path("README.md"), Path("notebooks", "README.md"))
BEGIN, END = "<!-- places:begin -->", "<!-- places:end -->"
ADDRESS = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?")
LINK = re.compile(r"\]\((?!https?://)(?P<file>[^)#]*\.(?:ipynb|md|py))(?P<heading>#[^)]*)?\)")
BRANCH = "main"
FIRST = "00_tour"
SETUP = """# Set-up on Colab, about a minute. Run this cell first.
%pip install --quiet "oatlib[lab] @ git+{address}"
from google.colab import output

output.enable_custom_widget_manager()  # for the sliders"""


class NoAddress(ValueError):
    """The address of the repository is not set, or cannot be used."""


def main(argv: list[str] | None = None, root: Path = lessons.ROOT) -> int:
    """Write or check the files; the exit code."""
    parser = argparse.ArgumentParser(description="Write badges and notebooks for Binder and Colab.")
    parser.add_argument("--check", action="store_true", help="write nothing: are they up to date?")
    asked = parser.parse_args(argv)
    try:
        address = address_of(root)
    except NoAddress as error:
        print(error, file=sys.stderr)
        return 1
    due = files(address, root)
    old = [path for path, text in due.items() if not _holds(root / path, text)]
    extra = sorted(set((root / COLAB).glob("*")) - {root / path for path in due})
    if not asked.check:
        for path in extra:
            path.unlink()
        (root / COLAB).mkdir(exist_ok=True)
        for path in old:
            (root / path).write_text(due[path], encoding="utf-8")
    for path in [*old, *(path.relative_to(root) for path in extra)]:
        print(f"{path.as_posix()}: {'is not up to date' if asked.check else 'written'}")
    return int(asked.check and bool(old or extra))


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def address_of(root: Path) -> str:
    """The address of the repository, without a slash at its end.

    Raises:
        NoAddress: If pyproject.toml has none, or none of GitHub.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    how = 'set [project.urls] Repository = "https://github.com/OWNER/NAME" in pyproject.toml'
    if address is None:
        raise NoAddress(f"the address of the repository is not known: {how}")
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise NoAddress(f"Binder and Colab fetch from GitHub, not from {address!r}: {how}")
    return f"https://github.com/{match['owner']}/{match['name']}"


def files(address: str, root: Path) -> dict[Path, str]:
    """{path: text} of all files, as they should be."""
    due = {}
    for page in PAGES:
        text = (root / page).read_text(encoding="utf-8")
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise NoAddress(f"{page.as_posix()} has no lines {BEGIN} and {END} for the badges")
        due[page] = f"{before}{BEGIN}\n{badges(address)}\n{END}{after}"
    for name, source in lessons.sources(root).items():
        due[COLAB / f"{name}.ipynb"] = lessons.text(colab(source, address))
    return due


def binder_link(address: str) -> str:
    """Where Binder opens the first lesson in JupyterLab."""
    place = address.removeprefix("https://github.com/")
    return f"https://mybinder.org/v2/gh/{place}/{BRANCH}?urlpath=lab/tree/notebooks/{FIRST}.ipynb"


def colab_link(address: str, name: str = FIRST) -> str:
    """Where Colab opens a lesson."""
    place = address.removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/{COLAB}/{name}.ipynb"


def badges(address: str) -> str:
    """Two badges, as Markdown."""
    binder = "[![Open in Binder](https://mybinder.org/badge_logo.svg)]"
    colab = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    return f"{binder}({binder_link(address)}) {colab}({colab_link(address)})"


def colab(source: Path, address: str):
    """The notebook of a lesson with a set-up cell in front, without outputs.

    Links to other lessons lead to Colab, those to other files to the repository.
    """
    notebook = lessons.build(source)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lambda match: _link(match, address), cell.source)
    setup = nbformat.v4.new_code_cell(SETUP.format(address=address), id=f"{source.stem}-setup")
    notebook.cells.insert(1, setup)
    return notebook


def _link(match: re.Match, address: str) -> str:
    """A link of a lesson to another file, as it works on Colab."""
    file, heading = match["file"], match["heading"] or ""
    if file.endswith(".ipynb"):
        return f"]({colab_link(address, Path(file).stem)})"
    path = file.removeprefix("../") if file.startswith("../") else f"notebooks/{file}"
    return f"]({address}/blob/{BRANCH}/{path}{heading})"


if __name__ == "__main__":
    sys.exit(main())
