"""The JavaScript files of the explorer: each says what it uses, and together they are one module."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from oatlib.explorer.front_end import SCRIPTS, STATIC, script

ROOT = Path(__file__).parents[2]
SOURCES = {name: (STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS}
DECLARED = re.compile(r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)
EXPORTED = re.compile(r"^export (?:function|class|const) (\w+)", re.MULTILINE)
IMPORTED = re.compile(r'^import \{([^}]*)\} from "\./(\w+\.js)";$', re.MULTILINE)


def test_every_file_is_part_of_the_front_end_and_its_types_are_checked():
    assert {path.name for path in STATIC.glob("*.js")} == set(SCRIPTS)
    for name, source in SOURCES.items():
        assert source.startswith("// @ts-check\n"), name
        assert not re.search(r"@ts-(ignore|expect-error|nocheck)", source), name


def test_a_file_imports_what_files_above_it_export_and_uses_it():
    for i, name in enumerate(SCRIPTS):
        for imported, origin in IMPORTED.findall(SOURCES[name]):
            assert origin in SCRIPTS[:i], f"{name} imports from {origin}"
            for word in re.findall(r"\w+", imported):
                assert word in EXPORTED.findall(SOURCES[origin]), f"{name} imports {word}"
                assert len(re.findall(rf"\b{word}\b", SOURCES[name])) > 1, f"{name} does not use {word}"


def test_joined_no_name_is_declared_twice_and_one_export_is_left():
    names = [name for source in SOURCES.values() for name in DECLARED.findall(source)]
    assert sorted(names) == sorted(set(names))
    assert re.findall(r"^(?:import|export)\b.*", script(), re.MULTILINE) == ["export default { render };"]


def test_a_file_uses_no_name_of_another_file_that_it_does_not_import():
    """Joined it would work, but neither the type checker nor a reader would find it."""
    homes = {name: file for file, source in SOURCES.items() for name in EXPORTED.findall(source)}
    for file, source in SOURCES.items():
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.DOTALL)
        imported = {word for words, _ in IMPORTED.findall(source) for word in re.findall(r"\w+", words)}
        called = set(re.findall(r"(?<![.\w])(\w+)\(", code))
        foreign = {name for name in called & homes.keys() if homes[name] != file}
        methods = set(re.findall(r"^  (?:async )?(\w+)\(.*\) \{$", code, re.MULTILINE))
        assert foreign - methods <= imported, file


def test_every_explanation_is_on_the_page_and_every_key_has_one():
    keys = set(re.findall(r"^  (\w+): \[", SOURCES["texts.js"], re.MULTILINE))
    others = "".join(source for name, source in SOURCES.items() if name != "texts.js")
    assert len(keys) > 30 and {key for key in keys if f'"{key}"' not in others} == set()
    asked = re.findall(r"\bhelp\(\s*\"[^\"]+\",([^).]*)\)", others)
    asked = {key for words in asked for key in re.findall(r'"(\w+)"', words)}
    assert len(asked) > 10 and asked <= keys


def test_the_page_says_within_five_seconds_that_python_has_ended():
    """It asks BEAT after the last answer, and waits PATIENCE for the next one."""
    text = (STATIC / "connection.js").read_text(encoding="utf-8")
    beat = int(re.search(r"^const BEAT = (\d+);", text, re.MULTILINE)[1])
    patience = int(re.search(r"PATIENCE = \{ page: (\d+)", text)[1])
    assert beat + patience < 4500  # the rest is for drawing


def test_node_can_parse_it(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("needs node")
    path = tmp_path / "explorer.mjs"
    path.write_text(script(), encoding="utf-8")
    done = subprocess.run(["node", "--check", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_types_agree():
    """tsconfig.json says how to run this by hand; it is not run where TypeScript is not installed."""
    if (tsc := shutil.which("tsc")) is None:
        pytest.skip("needs TypeScript (npm install --global typescript)")
    done = subprocess.run([tsc, "--project", "."], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
