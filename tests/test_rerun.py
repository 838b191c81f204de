"""Notebooks run with other parameters: what is written, what is refused before a kernel starts, and what goes wrong."""

import asyncio
import errno
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_core.utils import run_sync
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from tqdm import TMonitor

import oatlib
from oatlib import record
from oatlib.cli import main as cli
from oatlib.record import claimed
from oatlib.reruns import rerun as reruns
from oatlib.reruns.kernel import Progress

pytestmark = pytest.mark.slow

PARAMETERS = """\
n: int = 256  # 32 to 1024: images
lr: float = 0.1  # 0.0001 to 1: of SGD
fast: bool = False  # cut corners
word: str = "plain"
"""
RECORD = """\
from IPython.display import display
here = {"where": os.getcwd(), "python": sys.executable}
for results in ({"n": 0}, {"n": n, "lr": lr, "fast": fast, "word": word, **here}):
    display({"application/vnd.oatlib.record+json": {"lesson": "tiny", "results": results}}, raw=True)
"""
WIDGET = """\
import ipywidgets
ipywidgets.IntSlider()"""


def notebook(path, *sources, parameters=PARAMETERS):
    """A notebook of these cells, after the parameters cell."""
    first = [new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters else []
    cells = [new_markdown_cell("# A title"), *first, new_markdown_cell("## Measure\n```\n# no heading\n```")]
    nb = new_notebook(cells=cells + [new_code_cell(source) for source in sources])
    nb.metadata.papermill = {"input_path": "/some/place.ipynb", "parameters": {}}  # as an earlier run leaves it
    nb.metadata.oatlib = {"seconds": 1}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nb, path)
    return path


def run(capsys, *words):
    """(exit code, stdout, stderr)"""
    capsys.readouterr()
    try:
        code = cli.main(["rerun", *map(str, words)])
    except SystemExit as stop:  # argparse's way out
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def files(folder):
    """Every file there, and what it holds."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kernels():
    """The processes that this one has started and that are still there (where the system tells)."""
    tasks = Path("/proc/self/task")
    return {pid for task in tasks.glob("*/children") for pid in task.read_text().split()} if tasks.is_dir() else set()


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run_sync(asyncio.sleep)(0)  # where a browser test came before, Jupyter starts a thread here that it never ends
    before, threads = kernels(), threading.enumerate()
    yield tmp_path
    assert kernels() <= before, "a kernel was left behind"
    end = time.monotonic() + 10  # a thread needs a moment to end; that of tqdm never does, and is not ours
    while (left := _beside(threads)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left, "the connection to a kernel was left open"


def _beside(known):
    return [each for each in threading.enumerate() if each not in known and not isinstance(each, TMonitor)]


@pytest.fixture
def no_kernel(monkeypatch):
    """Whoever starts a kernel here has not looked at what was given."""

    def start(*_, **__):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(reruns, "execute", start)


# --- what it does ---


def test_a_run_leaves_notebook_and_record(capsys, here):
    source = notebook(here / "notebooks" / "tiny.ipynb", "import os, sys", RECORD, WIDGET)
    before = source.read_bytes()
    word = 'a "quoted" \\ λ'
    code, out, err = run(capsys, "tiny", "-p", "n", 32, "-p", "fast", "TRUE", "-p", "word", word, "--out", "a/b")
    assert code == 0 and source.read_bytes() == before
    assert set(files(here / "a")) == {"b/tiny.ipynb", "b/tiny.json"}
    record = json.loads((here / "a/b/tiny.json").read_text(encoding="utf-8"))
    results = {"n": 32, "lr": 0.1, "fast": True, "word": word, "where": str(here / "notebooks")}
    assert record == {"lesson": "tiny", "results": {**results, "python": sys.executable}}, "the last one that is shown"
    assert "tiny.ipynb: finished after" in out and "tiny.json: n = 32, lr = 0.1\n" in out
    steps = [
        "[1/5] A title  ",
        "[2/5] Parameters  ",
        "[3/5] Measure  ",
        "[4/5] from IPython.display",
        "[5/5] import ipy",
    ]
    lines = err.splitlines()
    assert len(lines) == 5 and all(line.startswith(step) for line, step in zip(lines, steps, strict=True))
    assert all(line.endswith(" s") for line in lines) and "\r" not in err

    nb = nbformat.read("a/b/tiny.ipynb", as_version=4)
    nbformat.validate(nb)
    assert "widgets" not in nb.metadata and nb.cells[-1].outputs, "outputs without the state of widgets"
    assert nb.metadata.oatlib == {"seconds": 1, "parameters": {"n": 32, "lr": 0.1, "fast": True, "word": word}}
    told = json.dumps([nb.metadata, *(cell.metadata for cell in nb.cells)])
    assert "/some/place" not in told and str(here) not in told and "tiny" not in told


def test_the_library_says_the_same_and_keeps_quiet(capsys, here):
    source = notebook(here / "tiny.ipynb", "import warnings; warnings.warn('loud'); print(n)")
    done = oatlib.rerun(source, {"n": 64}, here / "out", progress=False)
    assert (done.notebook, done.record, done.results) == (here / "out" / "tiny.ipynb", None, {})
    assert 0 < done.seconds < 120 and "no JSON file" in str(done)
    assert capsys.readouterr() == ("", "") and set(files(here / "out")) == {"tiny.ipynb"}

    earlier = (here / "out" / "tiny.ipynb").read_bytes()
    for given in ({"n": 65}, {}):  # the same parameters may be run again, others would be mixed up with them
        with pytest.raises(
            ValueError, match=r"tiny.ipynb is a run with other parameters \(n 64\): choose another --name"
        ):
            oatlib.rerun(source, given, here / "out")
    assert files(here / "out") == {"tiny.ipynb": earlier}
    (here / "out" / "tiny.json").write_text("{}", encoding="utf-8")

    # what was executed can be run, too; it has a cell with the parameters of its run, which do not count any more
    again = oatlib.rerun(done.notebook, {}, here / "out", name="again", progress=False)
    assert [cell.metadata.get("tags") for cell in nbformat.read(again.notebook, as_version=4).cells].count(
        ["injected-parameters"]
    ) == 0
    assert oatlib.rerun(source, {"n": "64"}, here / "out", progress=False).record is None
    assert set(files(here / "out")) == {"tiny.ipynb", "again.ipynb"}, "the record of the run before is not this run's"


def test_list_shows_the_parameters(capsys, here, no_kernel):
    notebook(here / "tiny.ipynb")
    code, out, _ = run(capsys, "tiny.ipynb", "--list")
    assert code == 0 and " ".join(out.splitlines()[2].split()) == "lr float a number from 0.0001 to 1.0 0.1 of SGD"
    notebook(here / "none.ipynb", parameters="")
    assert run(capsys, "none", "--list") == (0, "none.ipynb has no parameters\n", "")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("x.ipynb", "x.ipynb"), ("x", "x.ipynb"), ("y", "notebooks/y.ipynb"), ("y.ipynb", "notebooks/y.ipynb"),
        ("z", "root/notebooks/z.ipynb"), ("notebooks/y", "notebooks/y.ipynb"), (Path("notebooks/y.ipynb"),) * 2,
    ],
)  # fmt: skip
def test_a_notebook_is_found(here, monkeypatch, given, found):
    monkeypatch.setattr(reruns, "LESSONS", here / "root" / "notebooks")
    for name in (
        "x.ipynb",
        "notebooks/x.ipynb",
        "notebooks/y.ipynb",
        "root/notebooks/y.ipynb",
        "root/notebooks/z.ipynb",
    ):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
    assert reruns.find(given).resolve() == here / found


def test_cells_have_names():
    sources = ["x = 1", "", "# NBVAL_CHECK_OUTPUT\n\n# what it is  \ny", "z" * 99]
    cells = [
        new_markdown_cell("text"),
        *map(new_code_cell, sources),
        new_markdown_cell("# One #\n## Two"),
        new_code_cell("v"),
    ]
    watch = Progress(new_notebook(cells=cells), None)
    names = [name if new else line for name, new, line in watch.names.values()]
    assert names == ["x = 1", "what it is", "...", "Two"] and watch.where() == "the kernel"
    watch.start(cells[-1], 6)
    assert watch.where() == "cell 4 of 4, under 'Two' (v)"


# --- what is refused, before a kernel starts ---


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("tiny -p m 3", "unknown parameter 'm': use one of n, lr, fast, word"),
        ("tiny -p lrr 3", "did you mean 'lr'?"),
        ("tiny -p n many", "n must be a whole number from 32 to 1024, got 'many'"),
        ("tiny -p n 31", "n must be a whole number from 32 to 1024, got '31'"),
        ("tiny -p lr -0.5", "lr must be a number from 0.0001 to 1.0, got '-0.5'"),
        ("tiny -p lr nan", "got 'nan'"),
        ("tiny -p fast yes", "fast must be true or false, got 'yes'"),
        ("tiny -p n 32 -p lr 1 -p n 64", "-p n is used 2 times: use it once"),
        ("tiny -p n", "expected 2 arguments"),
        ("tiny --timeout 0", "--timeout: must be a whole number, 1 or more, got '0'"),
        ("tiny --timeout soon", "--timeout: must be a whole number, 1 or more, got 'soon'"),
        ("none -p n 3", "unknown parameter 'n': this notebook has no parameters"),
        ("broken -p n 3", "broken.ipynb: parameters cell, line 1, 'n = 3': this is not the declaration of a parameter"),
        ("broken", "parameters cell, line 1"),
        ("two", "two.ipynb has 2 cells with the tag `parameters`"),
        ("julia", "a notebook for julia"),
        ("tinny", "no notebook 'tinny' in ., notebooks, "),
        ("tinny", "did you mean 'tiny'?"),
        ("some/tiny", "no notebook 'some/tiny' in some"),
        ("text", "text is not a notebook"),
        ("list.ipynb", "list.ipynb is not a notebook"),
        ("empty.ipynb", "empty.ipynb is not a notebook"),
        ("tiny --name tiny", "tiny.ipynb is the notebook that is run: choose another folder (--out)"),
        ("./tiny.ipynb", "tiny.ipynb is the notebook that is run"),
        ("tiny --name linked", "linked.ipynb is the notebook that is run"),
        ("tiny --name none", "none.ipynb exists already and was not written by a rerun"),
        ("tiny --name data", "data.json exists already and was not written by a rerun"),
        ("tiny --name folder", "cannot write folder.ipynb: it is a folder"),
        ("tiny --name ../tiny", "the name of the files must not be empty, start with a dot, or contain /"),
        ("tiny --name=", "the name of the files must not be empty, start with a dot, or contain /"),
        ("tiny --out text", "cannot write into the folder text: it is a file"),
        ("tiny --out text/out", "cannot write into the folder text/out: "),
    ],
)
def test_wrong_input_ends_in_one_line(capsys, here, no_kernel, words, complaint):
    tiny = notebook(here / "tiny.ipynb", "1")
    notebook(here / "none.ipynb", "1", parameters="")
    notebook(here / "broken.ipynb", "1", parameters="n = 3")
    for name, change in (("two", "parameters"), ("julia", "language")):
        nb = nbformat.read(tiny, as_version=4)
        nb.cells += [nb.cells[1].copy()] if change == "parameters" else []
        nb.metadata.kernelspec = {
            "name": "k",
            "display_name": "K",
            "language": "julia" if name == "julia" else "python",
        }
        nb.cells[-1].id = "another"
        nbformat.write(nb, f"{name}.ipynb")
    for name, content in (("text", "words"), ("list.ipynb", "[1]"), ("empty.ipynb", "{}"), ("data.json", "{}")):
        Path(name).write_text(content, encoding="utf-8")
    Path("folder.ipynb").mkdir()
    os.link("tiny.ipynb", "linked.ipynb")
    before = files(here)
    code, out, err = run(capsys, *words.split())
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("oatlib rerun: ") and complaint in err
    assert files(here) == before and not Path("some").exists()


@pytest.mark.parametrize("name", ["tiny.ipynb", "tiny.json", "tiny.failed.ipynb"])
def test_a_file_that_cannot_be_written(capsys, here, no_kernel, monkeypatch, name):
    """Each of the three files is tried before a kernel starts."""
    original = os.open

    def denied(path, flags, *rest, **options):
        if Path(path).name.startswith(f".{name}."):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, flags, *rest, **options)

    notebook(here / "tiny.ipynb", "1")
    monkeypatch.setattr(os, "open", denied)
    code, _, err = run(capsys, "tiny", "--out", "out")
    assert (code, err) == (2, f"oatlib rerun: cannot write {Path('out', name)}: Permission denied\n")
    assert files(here).keys() == {"tiny.ipynb"}


def test_a_folder_that_cannot_be_made(capsys, here, no_kernel, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    notebook(here / "tiny.ipynb", "1")
    monkeypatch.setattr(Path, "mkdir", denied)
    code, _, err = run(capsys, "tiny", "--out", "out")
    assert (code, err) == (2, "oatlib rerun: cannot write into the folder out: Permission denied\n")


def test_the_second_of_two_runs_is_refused(capsys, here, no_kernel):
    notebook(here / "tiny.ipynb", "1")
    Path("out").mkdir()
    with claimed(Path("out", "tiny.ipynb")):
        code, _, err = run(capsys, "tiny", "--out", "out")
    assert code == 2 and re.match(
        rf"oatlib rerun: another oatlib run \(process {os.getpid()}\) is writing out.tiny\.ipynb: wait", err
    )


# --- what goes wrong on the way ---


def test_a_cell_that_fails(capsys, here):
    failing = "def half(x):\n    return x / 0\n" + "\n".join("#" * k for k in range(1, 40)) + "\nhalf(n)"
    source = notebook(here / "tiny.ipynb", "print('before')", failing, "print('after')")
    Path("out").mkdir()
    notebook(here / "out" / "tiny.ipynb")
    earlier = nbformat.read("out/tiny.ipynb", as_version=4)
    earlier.metadata.oatlib.parameters = {"n": 256, "lr": 0.1, "fast": False, "word": "plain"}
    nbformat.write(earlier, "out/tiny.ipynb")
    Path("out/tiny.json").write_text('{"good": 1}', encoding="utf-8")
    before = files(here / "out")

    code, out, err = run(capsys, source, "--out", "out")
    assert (code, out) == (1, "") and "\x1b" not in err and len(err.splitlines()) <= 24
    assert "[3/4] def half(x):  failed after " in err and "[4/4]" not in err
    assert "oatlib rerun: cell 3 of 4, under 'Measure' (def half(x):) failed\n" in err
    assert "return x / 0" in err and "ZeroDivisionError: division by zero\n" in err
    assert err.endswith("the executed cells are in out/tiny.failed.ipynb\n".replace("/", os.sep))
    now = files(here / "out")
    assert {**before, "tiny.failed.ipynb": now["tiny.failed.ipynb"]} == now, "the good result is still there"
    partial = nbformat.reads(now["tiny.failed.ipynb"].decode(), as_version=4)
    assert partial.cells[3].outputs[0].text == "before\n" and partial.cells[4].outputs[0].ename == "ZeroDivisionError"
    assert not partial.cells[5].outputs


def test_a_full_disk_after_the_last_cell_loses_nothing(capsys, here, monkeypatch):
    """The executed notebook goes to another folder, and the message says where. The earlier result stays."""
    home, out = here / "home", here / "out"
    home.mkdir()
    notebook(here / "tiny.ipynb", "print('measured')")
    assert run(capsys, "tiny", "--out", "out")[0] == 0
    before = files(out)
    original = record._replace

    def full(target, content):
        if target.parent.resolve() == out:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(target, content)

    monkeypatch.setattr(record, "_replace", full)
    monkeypatch.setattr(Path, "home", lambda: home)
    code, _, err = run(capsys, "tiny", "--out", "out")
    rescued = home / "tiny.failed-rescued.ipynb"
    assert code == 1 and files(out) == before
    assert f"all cells ran, but cannot write {Path('out', 'tiny.ipynb')}: No space left on device (it needs" in err
    assert err.rstrip().endswith(f"the executed cells are in {rescued}")
    assert "measured" in rescued.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "timeout", "said"),
    [
        (
            "import os; print('here', flush=True); os.kill(os.getpid(), 9)",
            None,
            "Kernel died. It crashed, or ran out of memory",
        ),
        ("import time; print('here', flush=True); time.sleep(100)", 1, "took longer than the limit of 1 s"),
        ("import sys; print('here', flush=True); sys.exit(0)", None, "SystemExit: 0"),
    ],
)
def test_kernels_that_die_or_hang(capsys, here, source, timeout, said):
    notebook(here / "tiny.ipynb", source)
    with pytest.raises(reruns.RerunError) as error:
        oatlib.rerun("tiny", {}, "out", timeout=timeout)
    first, *_, last = str(error.value).splitlines()
    assert "cell 2 of 2, under 'Measure' (import " in first and said in str(error.value)
    assert last == f"the executed cells are in {Path('out', 'tiny.failed.ipynb')}"
    assert set(files(here / "out")) == {"tiny.failed.ipynb"}
    shown = str(nbformat.read("out/tiny.failed.ipynb", as_version=4).cells[-1].outputs)
    assert "here" in shown or "kill" in source, "what is said just before death may not arrive"
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread")
@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_ctrl_c(capsys, here):
    notebook(here / "tiny.ipynb", "import os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(100)")
    before, began = signal.signal(signal.SIGINT, signal.default_int_handler), time.monotonic()
    try:
        code, _, err = run(capsys, "tiny", "--out", "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130 and time.monotonic() - began < 90 and set(files(here / "out")) == {"tiny.failed.ipynb"}
    said = "cell 2 of 2, under 'Measure' (import os, signal, time) was interrupted"
    assert err.splitlines()[2:] == [
        said,
        f"the executed cells are in {Path('out', 'tiny.failed.ipynb')}",
        "oatlib rerun: interrupted",
    ]


def test_an_exception_that_is_meant(here):
    """A cell may show one; what comes after it is run."""
    source = notebook(here / "tiny.ipynb", "1 / 0", "print('after')")
    nb = nbformat.read(source, as_version=4)
    nb.cells[-2].metadata.tags = ["raises-exception"]
    nbformat.write(nb, source)
    done = oatlib.rerun(source, {}, "out", progress=False)
    assert nbformat.read(done.notebook, as_version=4).cells[-1].outputs[0].text == "after\n"


def test_a_python_that_somebody_registered_as_python3_is_not_used(here, monkeypatch):
    spec = {"argv": ["/no/such/python", "{connection_file}"], "display_name": "x", "language": "python"}
    folder = here / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(here / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    notebook(here / "tiny.ipynb", "import os, sys", RECORD)
    assert oatlib.rerun("tiny", {}, "out", progress=False).results["python"] == sys.executable


def test_rerun_stays_callable(here):
    """A module of the same name would take its place as soon as it is imported."""
    assert callable(oatlib.rerun) and oatlib.rerun is reruns.rerun
    with pytest.raises(AttributeError, match="no attribute 'reruns_'"):
        oatlib.reruns_  # noqa: B018


def test_without_the_lab_extra_it_says_what_to_install(capsys, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "papermill", None)
    monkeypatch.delattr(oatlib, "rerun", raising=False)  # as if it was not used before
    monkeypatch.delitem(sys.modules, "oatlib.reruns.rerun")
    for module in [name for name in sys.modules if name.startswith("papermill.") or name == "oatlib.reruns.kernel"]:
        monkeypatch.delitem(sys.modules, module)
    code, _, err = run(capsys, "tiny")
    assert code == 2 and "oatlib.rerun needs papermill" in err and "pip install 'oatlib[lab]'" in err
