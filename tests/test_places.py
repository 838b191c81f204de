"""What Binder and Colab get, as far as it can be tried without them: links, the set-up cell, and what is installed."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import types
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
from packaging.requirements import Requirement

from authoring import lessons, places

ROOT = lessons.ROOT
ADDRESS = "https://github.com/somebody/oat.lib-1"


@pytest.fixture
def copy(tmp_path):
    """A copy of the repository, as far as it matters here, with an address."""
    shutil.copytree(ROOT / "authoring" / "source", tmp_path / "authoring" / "source")
    for page in places.PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text = text.replace("\n[project.scripts]", f'\n[project.urls]\nRepository = "{ADDRESS}"\n\n[project.scripts]')
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    return tmp_path


def test_this_repository_is_up_to_date_or_has_no_address(capsys):
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    assert places.main(["--check"]) == int("Repository" not in urls)
    if "Repository" not in urls:
        assert "set [project.urls] Repository" in capsys.readouterr().err
        assert not (ROOT / places.COLAB).exists()


@pytest.mark.slow
def test_files_are_written_once_and_old_ones_go(copy, capsys):
    (copy / places.COLAB).mkdir()
    (copy / places.COLAB / "gone.ipynb").write_text("{}", encoding="utf-8")
    assert places.main(["--check"], copy) == 1 and "gone.ipynb: is not up to date" in capsys.readouterr().out
    assert places.main([], copy) == 0
    assert {path.stem for path in (copy / places.COLAB).iterdir()} == lessons.sources().keys()
    assert places.main(["--check"], copy) == 0
    for page in places.PAGES:
        assert (copy / page).read_text(encoding="utf-8").count(ADDRESS.removeprefix("https://github.com/")) == 2


@pytest.mark.parametrize("address", ["http://github.com/a/b", "https://gitlab.com/a/b", "https://github.com/a", "x"])
def test_an_address_that_neither_can_use_is_refused(copy, capsys, address):
    path = copy / "pyproject.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(ADDRESS, address), encoding="utf-8")
    assert places.main([], copy) == 1
    error = capsys.readouterr().err
    assert address in error and "https://github.com/OWNER/NAME" in error and not (copy / places.COLAB).exists()


@pytest.mark.parametrize("ending", ["", "/", ".git"])
def test_links_lead_to_files_that_exist(copy, ending):
    path = copy / "pyproject.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(ADDRESS, ADDRESS + ending), encoding="utf-8")
    address = places.address_of(copy)
    places.main([], copy)
    binder, colab = (urlsplit(link) for link in (places.binder_link(address), places.colab_link(address)))
    assert binder.path == "/v2/gh/somebody/oat.lib-1/main" and binder.netloc == "mybinder.org"
    (opened,) = parse_qs(binder.query)["urlpath"]
    assert (ROOT / opened.removeprefix("lab/tree/")).is_file()
    assert colab.path.startswith("/github/somebody/oat.lib-1/blob/main/")
    assert (copy / colab.path.partition("/main/")[2]).is_file()


def setups():
    """The set-up cell of every notebook for Colab."""
    for name, source in lessons.sources().items():
        notebook = places.colab(source, ADDRESS)
        nbformat.validate(notebook)
        assert [cell.cell_type for cell in notebook.cells[:2]] == ["markdown", "code"], name
        assert not any(cell.get("outputs") for cell in notebook.cells)
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        relative = re.findall(r"\]\((?!https?://)([^)]*\.(?:md|ipynb|py)[^)]*)\)", text)
        assert not relative, f"{name}: links {relative} lead nowhere on Colab"
        yield notebook.cells[1].source


def test_the_set_up_cell_installs_oatlib_and_switches_widgets_on(monkeypatch):
    (cell,) = set(setups())
    done = []
    magic, rest = re.fullmatch(r"(?s)#.*?\n%(pip [^\n]*)\n(.*)", cell).groups()
    wanted = Requirement(re.search(r'"(.*)"', magic)[1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert wanted.name == project["name"] and wanted.url == f"git+{ADDRESS}"
    assert wanted.extras <= project["optional-dependencies"].keys()
    google, colab, output = (types.ModuleType(name) for name in ("google", "google.colab", "google.colab.output"))
    output.enable_custom_widget_manager = lambda: done.append(True)
    google.colab, colab.output = colab, output
    for module in (google, colab, output):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(ast.parse(rest), "set-up", "exec"), {})
    assert done == [True]


def test_binder_installs_what_pyproject_asks_for():
    yaml = pytest.importorskip("yaml")
    folder = ROOT / ".binder"
    listed = yaml.safe_load((folder / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    versions = {name: bound for name, bound in (re.fullmatch(r"([\w-]+)(.*)", entry).groups() for entry in listed)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(re.fullmatch(r"([\w-]+)(.*)", entry).groups() for entry in project["dependencies"])
    assert versions["pytorch-cpu"] == bounds["torch"] and versions["torchvision"] == bounds["torchvision"]
    assert versions["python"].removeprefix("=").startswith("3.") and "pip" in versions
    script = folder / "postBuild"
    if sys.platform != "win32":
        assert script.stat().st_mode & 0o111, "Binder runs it"
    if shutil.which("bash"):
        subprocess.run(["bash", "-n", script], check=True)
    assert re.search(r"pip install .*'\.\[lab\]'", script.read_text(encoding="utf-8"))
