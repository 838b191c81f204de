"""Configuration of the documentation site. `make docs` builds it in build/site, offline.

The source directory is the root of the repository, so that a link on a page means the same on the
site as in the repository. Two directives are defined here: `public-names` writes the reference from
the docstrings, and `import-graph` draws which package imports which.
"""

import ast
import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import oatlib  # noqa: E402 (found through the line above)

project = "oatlib"
author = "The oatlib authors"
version = release = oatlib.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]

# ---- pages ---------------------------------------------------------------------------------------

root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "bench/README.md",
    "data/README.md",
    "docs/*.md",
    "docs/teaching/*.md",
    "notebooks/*.ipynb",
    "notebooks/*.md",
]
exclude_patterns = ["build", "dist", ".*", "oatlib", "tests"]
nb_execution_mode = "off"  # the lessons are shown with the outputs that they have in the repository
suppress_warnings = ["mystnb.unknown_mime_type"]  # the record of a lesson, which is not shown
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {
    "fixed_sidebar": True,
    "font_family": "system-ui, sans-serif",
    "head_font_family": "system-ui, sans-serif",
    "page_width": "72rem",
    "sidebar_width": "16rem",
}
html_additional_pages = {"index": "redirect.html"}
templates_path = ["templates"]
html_copy_source = False

# ---- docstrings ----------------------------------------------------------------------------------

default_role = "code"  # `name` in a docstring is code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def public_names() -> dict[str, list[str]]:
    """Return the public names by package, in the order of `oatlib/__init__.pyi`."""
    stub = ast.parse((ROOT / "oatlib" / "__init__.pyi").read_text(encoding="utf-8"))
    packages: dict[str, list[str]] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [alias.name for alias in node.names]
            packages.setdefault(node.module.partition(".")[0], []).extend(names)
    return packages


class PublicNames(Directive):
    """Document all public names of one package: classes with their methods, and functions."""

    required_arguments = 1

    def run(self):
        """Return the parsed documentation of the package."""
        (package,) = self.arguments
        lines = ["````{eval-rst}"]  # the page is Markdown, docstrings are reStructuredText
        for name in public_names()[package]:
            thing = getattr(oatlib, name)
            if isinstance(thing, type):
                lines += [f".. autoclass:: oatlib.{name}", "   :members:"]
            elif callable(thing):
                lines += [f".. autofunction:: oatlib.{name}"]
            else:
                keys = ", ".join(f"``{key}``" for key in thing)
                lines += [
                    f".. py:data:: oatlib.{name}",
                    "",
                    f"   A dictionary with the keys {keys}.",
                ]
            lines += [""]
        lines += ["````"]
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(StringList(lines, source="oatlib/__init__.pyi"), 0, node)
        return node.children


# ---- the import graph ----------------------------------------------------------------------------


def imports() -> dict[str, set[str]]:
    """Return which packages of oatlib each package imports."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "oatlib").rglob("*.py")):
        parts = path.relative_to(ROOT / "oatlib").with_suffix("").parts
        if parts == ("__init__",):
            continue
        others = found.setdefault(parts[0], set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # `from ..data.load import Data` in a package, `from .. import record` likewise
            if isinstance(node, ast.ImportFrom) and node.level == len(parts):
                names = [node.module] if node.module else [alias.name for alias in node.names]
                others |= {name.partition(".")[0] for name in names}
        others.discard(parts[0])
    return {name: others & found.keys() for name, others in found.items()}


def levels(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return the length of the longest chain of imports below each package."""
    depth: dict[str, int] = {}

    def measure(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max((measure(other) for other in graph[name]), default=-1)
        return depth[name]

    for name in graph:
        measure(name)
    return depth


def drawing(graph: dict[str, set[str]]) -> str:
    """Draw the graph as SVG. Arrows point from a package to the ones that it imports."""
    depth = levels(graph)
    rows = [sorted(name for name in graph if depth[name] == row) for row in set(depth.values())]
    width, height, row_height = 760, 80 * len(rows), 80
    place = {
        name: (width * (i + 1) / (len(names) + 1), height - row_height * (row + 0.5))
        for row, names in enumerate(rows)
        for i, name in enumerate(names)
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'role="img" aria-label="import graph" font-family="monospace" font-size="14">'
    ]
    for name, others in graph.items():
        for other in sorted(others):
            (x, y), (to_x, to_y) = place[name], place[other]
            parts.append(
                f'<line x1="{x:.0f}" y1="{y + 14:.0f}" x2="{to_x:.0f}" y2="{to_y - 14:.0f}" '
                'stroke="#888" stroke-width="1"/>'
            )
    for name, (x, y) in place.items():
        half = 5 + 4.5 * len(name)
        parts.append(
            f'<rect x="{x - half:.0f}" y="{y - 14:.0f}" width="{2 * half:.0f}" height="28" '
            f'rx="5" fill="#fff" stroke="#333"/><text x="{x:.0f}" y="{y + 5:.0f}" '
            f'text-anchor="middle">{name}</text>'
        )
    return "".join([*parts, "</svg>"])


class ImportGraph(Directive):
    """Draw which package imports which, as the code is now."""

    def run(self):
        """Return the drawing."""
        return [nodes.raw("", drawing(imports()), format="html")]


def setup(app):
    """Register the directives."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("import-graph", ImportGraph)
