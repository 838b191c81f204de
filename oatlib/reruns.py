"""Runs a notebook again with other parameters: `oatlib.rerun` and `oatlib rerun`.

Nothing of an earlier run is lost to one that fails, and the notebook that is run is never written to.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .lab.execute import Progress, RerunError, execute, prepared
from .lab.parameters import Parameter, checked, declared, table
from .record import write_bytes
from .spec import did_you_mean

ROOT = Path(__file__).parent.parent
MIME = "application/vnd.oatlib.record+json"  # what a notebook displays as its results


@dataclass(frozen=True)
class Rerun:
    """What a run left: the executed notebook and, if it displayed one, its record."""

    notebook: Path
    record: Path | None
    results: dict
    seconds: float

    def __str__(self) -> str:
        numbers = {key: value for key, value in self.results.items() if isinstance(value, int | float)}
        shown = ", ".join(f"{key} {value:.4g}" for key, value in numbers.items()) or "its record"
        kept = f"{self.record}: {shown}" if self.record else "it displays no record, so there is no JSON file"
        return f"{self.notebook}: finished after {self.seconds:.0f} s\n{kept}"


def rerun(
    notebook, parameters: Mapping | None = None, out=".", *, name: str | None = None, progress=True,
    timeout: int | None = None,
) -> Rerun:  # fmt: skip
    """Run a notebook with other parameters; OUT/NAME.ipynb is what it looks like then, OUT/NAME.json its record.

    `notebook` is a path or the name of a lesson; `timeout` is in seconds for each cell. Where a cell fails, RerunError
    tells, and OUT/NAME.failed.ipynb holds what ran.
    """
    began = time.monotonic()
    path = find(notebook)
    nb = _read(path)
    values = checked(_declared(nb, path), parameters or {})
    if timeout is not None and not (isinstance(timeout, int) and timeout > 0):
        raise ValueError(f"timeout must be a whole number of seconds, 1 or more, got {timeout!r}")
    files = _Files(out, path.stem if name is None else name, path)
    files.check(values)
    nb = prepared(nb, {key: values[key] for key in parameters or {}})
    watch = Progress(nb, sys.stderr if progress else None)
    try:
        execute(nb, path.parent.resolve(), watch, timeout)
        record = files.save(nb, values)
    except RerunError as error:
        raise RerunError(f"{error}\n{files.keep(nb, values, watch)}") from None
    except KeyboardInterrupt:
        watch.write(f"{watch.where()} was interrupted\n{files.keep(nb, values, watch)}\n")
        raise
    results = record.get("results", {}) if isinstance(record, dict) else {}
    return Rerun(files.notebook, files.record if record is not None else None, results, time.monotonic() - began)


def describe(notebook) -> str:
    """The parameters of a notebook: name, kind, range, default, explanation."""
    path = find(notebook)
    found = _declared(_read(path), path)
    return table(found) if found else f"{path} has no parameters"


def find(notebook) -> Path:
    """A notebook by its path, or a lesson by its bare name."""
    given = Path(notebook)
    folders = [Path(), Path("notebooks"), ROOT / "notebooks"] if given.name == str(notebook) else [Path()]
    for path in (folder / f"{given}{end}" for folder in folders for end in ("", ".ipynb")):
        if path.is_file():
            return path
    known = sorted({path.stem for folder in (given.parent, *folders[1:]) for path in folder.glob("*.ipynb")})
    hint = did_you_mean(given.name.removesuffix(".ipynb"), known) or (
        f"; there is {', '.join(known[:12])}" if known else ""
    )
    places = ", ".join(str(folder) for folder in (given.parent, *folders[1:]))
    raise ValueError(f"there is no notebook {str(notebook)!r} in {places}{hint}")


def _read(path: Path) -> NotebookNode:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            nb = nbformat.read(path, as_version=4)
            language = nb.metadata.get("kernelspec", {}).get("language") or "python"
            nb.cells  # noqa: B018 (complains about JSON that is something else)
        except Exception as error:  # nbformat has no error of its own for all that can be wrong
            raise ValueError(f"{path} is not a notebook: {error}") from error
    if language.lower() != "python":
        raise ValueError(f"{path} is a notebook for {language}: only those for Python can be run")
    return nb


def _declared(nb: NotebookNode, path: Path) -> dict[str, Parameter]:
    cells = [cell for cell in nb.cells if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", ())]
    if len(cells) > 1:
        raise ValueError(f"{path} has {len(cells)} cells with the tag `parameters`: leave one")
    try:
        return declared(cells[0].source) if cells else {}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


class _Files:
    """Where a run is written to."""

    def __init__(self, out, name: str, source: Path):
        if not re.fullmatch(r"[^/\\:.][^/\\:]*", name):
            raise ValueError(f"a name of files has no / \\ or : and starts with no dot, got {name!r}")
        self.out, self.source = Path(out), source
        self.notebook, self.record, self.failed = (
            self.out / f"{name}{end}" for end in (".ipynb", ".json", ".failed.ipynb")
        )

    def check(self, values: dict) -> None:
        """Complain about what is there, before long work; make the folder if it is missing."""
        for path in (self.notebook, self.record, self.failed):
            if path.is_dir():
                raise ValueError(f"cannot write {path}: it is a folder")
            if path.exists() and path.samefile(self.source):
                raise ValueError(f"{path} is the notebook itself: choose another folder (--out) or name (--name)")
        self._check_earlier(values)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.out).close()
        except OSError as error:
            raise ValueError(f"cannot write into the folder {self.out}: {error.strerror}") from error

    def _check_earlier(self, values: dict) -> None:
        """An earlier run is replaced by one with the same parameters, and by no other."""
        there = next((path for path in (self.notebook, self.record) if path.exists()), None)
        if there is None:
            return
        before = self._earlier()
        if before is None:
            raise ValueError(f"{there} is there and belongs to no run: choose another --name or --out")
        changed = [f"{key} {before.get(key)!r}" for key in {**before, **values} if before.get(key) != values.get(key)]
        if changed:
            raise ValueError(f"{there} is a run with other parameters ({', '.join(changed)}): "
                             "choose another --name or --out, or remove it")  # fmt: skip

    def _earlier(self) -> dict | None:
        """The parameters of the run that is there, None if what is there is something else."""
        try:
            return json.loads(self.notebook.read_bytes())["metadata"]["oatlib"]["parameters"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, nb: NotebookNode, values: dict):
        """Write notebook and record; returns the record, or None where none was displayed."""
        shown = [output.data[MIME] for cell in nb.cells for output in cell.get("outputs", [])
                 if MIME in output.get("data", {})]  # fmt: skip
        content = json.dumps(shown[-1], indent=1, ensure_ascii=False) + "\n" if shown else ""
        write_bytes(self.notebook, _bytes(nb, values))
        if shown:
            write_bytes(self.record, content.encode())
        else:
            self.record.unlink(missing_ok=True)  # that of the run that has just been replaced
        return shown[-1] if shown else None

    def keep(self, nb: NotebookNode, values: dict, watch: Progress) -> str:
        """Write what ran of a notebook, beside the result of a better run; returns what there is to say about it."""
        if watch.now is None:
            return "no cell was run"
        try:
            write_bytes(self.failed, _bytes(nb, values))
        except OSError as error:
            return f"what was run could not be kept: {error}"
        return f"{self.failed} holds what was run"


def _bytes(nb: NotebookNode, values: dict) -> bytes:
    """The notebook without the state of its widgets (megabytes that nobody can use), with its parameters."""
    nb.metadata.pop("widgets", None)
    nb.metadata.setdefault("oatlib", NotebookNode())["parameters"] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f"{nbformat.writes(nb)}\n".encode()
