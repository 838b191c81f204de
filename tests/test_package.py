"""What belongs to no module: packaging, README, and the rules of the house."""

import ast
import graphlib
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import oatlib
from oatlib.cli import doctor
from oatlib.cli import main as cli
from tests.pages import blocks

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {
    path.relative_to(ROOT / "oatlib").with_suffix("").as_posix().replace("/", "."): path
    for path in (ROOT / "oatlib").rglob("*.py")
}

# A module imports from its own package and from packages in lines above its own.
ORDER = (
    {"_suggest", "_bundled", "_check", "_html", "_imports", "_locks", "_memory", "_random"},
    {"_processes", "record"},
    {"data", "layers", "reruns"},
    {"attacks"},
    {"networks"},
    {"training", "evaluation"},
    {"auditing", "explorer"},
    {"course"},
    {"claims", "sweeps"},
    {"cli"},
    {"__main__"},
)


def bounds(requirements):
    """{package: the rest of the requirement}"""
    pairs = [re.fullmatch(r"([\w.-]+(?:\[[\w,]+\])?)\s*(.*)", text).groups() for text in requirements]
    return {name.lower().replace("_", "-"): bound.replace(" ", "") for name, bound in pairs}


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


# --- packaging ---


def test_environment_yml_agrees_with_pyproject():
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = bounds(entry for entry in content["dependencies"] if isinstance(entry, str))
    pip = [line for entry in content["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
    assert content["name"] == PROJECT["name"] and "pip" in conda
    assert conda.pop("python") == PROJECT["requires-python"]
    editable = [line.removeprefix("-e ") for line in pip if line.startswith("-e ")]
    assert editable == [".[all]"], "pyproject.toml is the one list"
    extras = PROJECT["optional-dependencies"]
    known = bounds(PROJECT["dependencies"] + [line for lines in extras.values() for line in lines])
    listed = conda | bounds(line for line in pip if not line.startswith("-e "))
    listed.pop("pip")
    assert listed.items() <= known.items(), "a package listed twice needs the same bound twice"


def test_extra_all_is_all_extras():
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(re.fullmatch(r"oatlib\[(.*)\]", everything)[1].split(",")) == extras.keys() - {"all"}


def test_the_workflow_installs_the_lower_bounds_of_pyproject():
    script = ROOT / ".github" / "lower_bounds.py"
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    pins = dict(line.split("==") for line in ran.stdout.splitlines())
    extras = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "all"}
    listed = bounds(PROJECT["dependencies"] + [line for lines in extras.values() for line in lines])
    assert {name: f">={pin}" for name, pin in pins.items()} == listed


def test_the_workflow_runs_what_make_check_runs():
    yaml = pytest.importorskip("yaml")
    text = (ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    floor = PROJECT["requires-python"].removeprefix(">=")
    assert jobs["check"]["strategy"]["matrix"]["python"][0] == floor
    assert {"run": "make check"} in jobs["check"]["steps"]
    (selection,) = set(re.findall(r"-m (\"[^\"]*\")", text))  # the same tests where there is no make
    assert f"pytest -q -m {selection}" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "://" not in text, "packages come from where pip looks by default"


def test_the_citation_has_the_version():
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["title"], cited["version"], cited["license"]) == ("oatlib", oatlib.__version__, "MIT")


def test_requirements_are_lower_bounds_from_an_index():
    extras = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "all"}
    for line in PROJECT["dependencies"] + [line for lines in extras.values() for line in lines]:
        assert re.fullmatch(r"[a-z0-9-]+>=[\d.]+", line), line


IMPORTED_AS = {"sklearn": "scikit-learn", "PIL": "pillow", "xdist": "pytest-xdist", "yaml": "pyyaml",
               "myst_nb": "myst-nb", "art": "adversarial-robustness-toolbox"}  # fmt: skip


# what oatlib needs without importing it
NEEDED_BY = {
    "cryptography": "distributed",
    "ipykernel": "lessons",
    "jupyterlab": "make lab",
    "onnx": "torch.onnx",
    "onnxscript": "torch.onnx",
}


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["", "lab", "scale", "onnx"])
def test_every_requirement_is_used(extra):
    trees = [parse(path) for path in [*MODULES.values(), *(ROOT / "authoring" / "source").glob("*.py")]]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    imported = {name.partition(".")[0] for name in names}
    imported = {IMPORTED_AS.get(name, name).replace("_", "-") for name in imported}
    wanted = bounds(PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"])
    assert not wanted.keys() - imported - NEEDED_BY.keys()


@pytest.mark.parametrize("part", doctor.PARTS)
def test_doctor_names_the_extra_that_brings_each_module(part):
    modules, extra = doctor.PARTS[part]
    brought = bounds(PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"])
    assert {IMPORTED_AS.get(module, module) for module in modules} <= brought.keys()


def test_the_version_is_written_once():
    assert "version" in PROJECT["dynamic"]
    try:
        installed = metadata.version("oatlib")
    except metadata.PackageNotFoundError:
        pytest.skip("oatlib is not installed, only on the path")
    assert installed == oatlib.__version__


def test_the_entry_point_exists():
    module, _, name = PROJECT["scripts"]["oatlib"].partition(":")
    assert module == cli.__name__ and callable(getattr(cli, name))


def in_a_new_python(code):
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_what_serves_the_explorer_imports_neither_pytorch_nor_a_grammar():
    """They are seconds of a start that somebody waits for."""
    pytest.importorskip("voila")
    in_a_new_python("""
import sys
from oatlib.cli import main as cli
from tests.pages import blocks
from oatlib.explorer import server
server._voila = lambda *_: 0
assert cli.main(["explore", "--no-browser"]) == 0
assert "voila" in sys.modules and not {"torch", "lark"} & sys.modules.keys()""")


@pytest.mark.slow
def test_lessons_and_reruns_start_without_a_grammar():
    """It takes a second of every start. Programs that want it still get it."""
    pytest.importorskip("papermill")
    in_a_new_python("""
import importlib.util, sys
import oatlib.course.sliders, oatlib.reruns.kernel
assert {"plotly", "nbformat", "jsonschema"} <= sys.modules.keys() and "lark" not in sys.modules
if importlib.util.find_spec("rfc3987_syntax"):
    import rfc3987_syntax
    assert "lark" in sys.modules  # or the line above could not fail""")


@pytest.mark.slow
@pytest.mark.parametrize("first", ["from oatlib.training.loop import Training", "import oatlib.networks.cost"])
def test_a_public_name_is_never_a_module(first):
    in_a_new_python(f"""
import oatlib, types
{first}
assert "train" in dir(oatlib)
found = {{name: getattr(oatlib, name) for name in oatlib.__all__}}
assert not any(isinstance(thing, types.ModuleType) for thing in found.values())
assert found["train"] is oatlib.train and isinstance(oatlib.networks, types.ModuleType)
oatlib.train = None  # others may still replace it
assert oatlib.train is None""")


@pytest.mark.slow
def test_without_the_extra_lab_the_explorer_says_what_is_missing():
    in_a_new_python("""
import sys
sys.modules["anywidget"] = None  # as if it was not installed
import oatlib
oatlib.train
try:
    oatlib.explore
except ImportError as error:
    assert "anywidget" in str(error) and "pip install 'oatlib[lab]'" in str(error)
else:
    raise AssertionError("explore needs anywidget")""")


def test_dir_and_all_hold_every_public_name():
    stub = (ROOT / "oatlib" / "__init__.pyi").read_text(encoding="utf-8")
    names = set(re.findall(r"^from \S+ import (\w+) as \1$", stub, re.MULTILINE))
    assert names == {
        alias.name for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert names == set(oatlib.__all__) <= set(dir(oatlib))
    assert all(hasattr(oatlib, name) for name in names)


def test_every_name_that_is_used_as_a_public_one_is_public():
    """`oatlib.name` in the README, the lessons and bench: a name in `__all__`, or a package."""
    packages = {name.partition(".")[0] for name in MODULES}
    files = [ROOT / "README.md", *(ROOT / "bench").glob("*.py"), *(ROOT / "authoring" / "source").glob("*.py")]
    used = {
        name
        for file in files
        for name in re.findall(r"(?<![\w/.])oatlib\.([a-zA-Z]\w*)(?![\w/])", file.read_text(encoding="utf-8"))
    }
    assert {"build", "evaluate", "fit_slider"} <= used
    assert used <= set(oatlib.__all__) | packages


def test_every_exception_that_a_user_must_catch_is_public():
    errors = {
        node.name
        for name, path in MODULES.items()
        # `Wrong` and `NotKept` are for learners: they are shown, not raised
        if not name.startswith(("course.exercises", "course.keeping"))
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id.endswith(("Error", "Exception")) for base in node.bases)
    }
    assert {"RecordError", "RerunError"} <= errors <= set(oatlib.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = oatlib.nothing


def test_the_notebook_behind_the_page_imports_what_there_is():
    """Voila shows nothing where it does not."""
    content = json.loads((ROOT / "oatlib" / "explorer" / "share" / "explorer.ipynb").read_text(encoding="utf-8"))
    code = "\n".join("".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code")
    found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in found if node.module.startswith("oatlib")]
    assert ours
    for node in ours:
        module = importlib.import_module(node.module)
        assert all(hasattr(module, alias.name) for alias in node.names)


# --- README and docs ---


def test_the_shell_lines_of_the_pages_are_understood():
    pages = ["README.md", *(path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md"))]
    shell = [block for page in pages for block in blocks(page, "sh")]
    lines = [line.partition("#")[0] for block in shell for line in block.splitlines()]
    ours = [shlex.split(line)[1:] for line in lines if line.startswith("oatlib ")]
    subcommands = cli._parser()._subparsers._group_actions[0].choices
    assert {words[0] for words in ours} == subcommands.keys()
    for words in ours:
        cli._parser().parse_args(words)  # SystemExit if an option does not exist


def test_pages_and_makefile_name_the_same_targets():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "CONTRIBUTING.md"))
    named = set(re.findall(r"\bmake ([a-z]+)    |`make ([a-z]+)`|^make ([a-z]+)", text, re.MULTILINE))
    named = {name for match in named for name in match if name}
    assert {"explore", "test", "check", "docs"} <= named <= targets
    assert {"explore", "lab", "check", "test", "docs", "notebooks", "bench", "venv", "clean", "help"} <= targets


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_page_of_recipes_knows_every_recipe_data_set_and_backbone():
    from oatlib.data.load import PUBLISHED
    from oatlib.networks.backbones import BACKBONES

    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for name in [*oatlib.RECIPES, *PUBLISHED, "shapes", "digits", *BACKBONES]:
        assert f"`{name}`" in text, name


def test_the_page_of_the_architecture_shows_the_order_of_imports():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- order:begin -->")[2].partition("<!-- order:end -->")[0].split("\n")
    assert tuple(set(re.findall(r"`(\w+)`", line)) for line in shown if line) == ORDER
    for name in set().union(*ORDER):
        assert f"`{name}/`" in text or f"`{name}.py`" in text, f"the table of packages lacks {name}"


# --- what is in git ---


def tracked():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_no_tracked_file_is_large():
    assert not [path for path in tracked() if path.stat().st_size > 8e6]


# in parts, so that this file does not hold what it looks for
PLACE = re.compile(rf"(?<![\w.~*/-])/(?:{'|'.join(['home', 'root', 'work', 'Users'])})/\w")


def test_no_tracked_file_names_a_place_on_somebodys_machine():
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in tracked()}
    assert not [(path.name, hit[0]) for path, text in texts.items() if (hit := PLACE.search(text))]


@pytest.mark.parametrize("place", ["home", "root", "work", "Users"])
def test_that_check_finds_one(place):
    path = "/".join(["", place, "somebody", "oatlib"])
    assert PLACE.search(f"cd {path}") and PLACE.search(f'"{path}"')
    assert not PLACE.search(f"https://example.org/{place}/page") and not PLACE.search(f"see ./{place}/page")


# --- the rules of the house ---


@pytest.mark.parametrize("name", oatlib.__all__)
def test_everything_public_is_documented(name):
    thing = getattr(oatlib, name)
    if callable(thing):  # a dataclass without a docstring is given its signature as one
        assert thing.__doc__ and not thing.__doc__.startswith(f"{name}(")


def imports(name):
    """The modules of the house that a module imports, anywhere in it."""
    package = ["oatlib", *name.split(".")[:-1]]
    for node in ast.walk(parse(MODULES[name])):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join(above + ([node.module] if node.module else []))
            found = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (_module(words) for words in found if words.split(".")[0] == "oatlib")


def _module(words):
    """oatlib.networks.network.Network -> networks.network; oatlib.build -> __init__"""
    parts = words.split(".")[1:]
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((n for name in names for n in (name, f"{name}.__init__") if n in MODULES), "__init__")


def level(module):
    """The line of ORDER that holds the package of a module."""
    package = module.partition(".")[0]
    return next(number for number, packages in enumerate(ORDER) if package in packages)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__init__"])
def test_imports_run_one_way(name):
    for other in imports(name):
        if other == "__init__":  # `import oatlib` for public names
            assert name.startswith(("cli", "course"))
        elif other.partition(".")[0] != name.partition(".")[0]:
            assert level(other) < level(name), f"{name} imports {other}, which is not below it"


def test_there_is_no_cycle_between_modules():
    graph = {name: {other for other in imports(name) if other not in ("__init__", name)} for name in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


def test_the_order_holds_every_package_and_no_other():
    assert set().union(*ORDER) == {name.partition(".")[0] for name in MODULES} - {"__init__"}


def test_imports_are_seen():
    """Or the tests above would pass on anything."""
    assert {"record", "attacks.base", "data.splits", "networks.network"} <= set(imports("evaluation.evaluate"))
    assert {"layers.slim", "layers.film", "layers.setting"} <= set(imports("layers.unit"))
    assert {"__init__", "cli.commands", "_suggest"} <= set(imports("cli.main"))
    assert set(imports("data.load")) == {
        "_check", "_memory", "_suggest", "data.decode", "data.folders", "data.pixel_cache", "data.scenes",
        "data.shapes", "data.splits",
    }  # fmt: skip
