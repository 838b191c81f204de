"""Run a notebook again with other parameters: `oatlib.rerun`, and `oatlib rerun` in a shell.

A run that fails does not overwrite an earlier one. The original notebook is never written to.
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

from .._bundled import bundled
from .._suggest import did_you_mean
from ..record import write_bytes
from .kernel import Progress, RerunError, execute, prepared
from .parameters import Parameter, checked, declared, table

LESSONS = bundled("notebooks")
MIME = "application/vnd.oatlib.record+json"  # type of the output with the results


@dataclass(frozen=True)
class Rerun:
    """The result of a run.

    Attributes:
        notebook: Path of the executed notebook.
        record: Path of the JSON file with the record that the notebook displayed. None: it
            displayed none.
        results: The entry "results" of the record, or an empty dictionary.
        seconds: Duration of the run.
    """

    notebook: Path
    record: Path | None
    results: dict
    seconds: float

    def __str__(self) -> str:
        numbers = {
            key: value for key, value in self.results.items() if isinstance(value, int | float)
        }
        shown = ", ".join(f"{key} {value:.4g}" for key, value in numbers.items()) or "its record"
        kept = (
            f"{self.record}: {shown}"
            if self.record
            else "it displays no record, so there is no JSON file"
        )
        return f"{self.notebook}: finished after {self.seconds:.0f} s\n{kept}"


def rerun(
    notebook,
    parameters: Mapping | None = None,
    out=".",
    *,
    name: str | None = None,
    progress=True,
    timeout: int | None = None,
) -> Rerun:
    """Run a notebook with other parameters.

    The executed notebook is written to OUT/NAME.ipynb. If the notebook displays a record, the
    record is written to OUT/NAME.json.

    Args:
        notebook: Path of a notebook, or name of a lesson, such as "01_attack".
        parameters: Values by name. Other parameters keep their defaults.
        out: Folder OUT. It is created if it does not exist.
        name: NAME of the files. Default: the name of the notebook.
        progress: Whether to print one line per cell to stderr.
        timeout: Longest time for each cell, in seconds. None: no limit.

    Returns:
        Paths of the files and the results.

    Raises:
        RerunError: If a cell fails or takes too long. OUT/NAME.failed.ipynb then holds the cells
            that ran, if any.
        ValueError: If there is no such notebook or parameter, if a value is not valid, or if OUT
            holds files that must not be replaced.

    Example:
        >>> run = rerun("01_attack", {"n": 64, "eps": 4}, out="runs")
        >>> run.results["robust"]
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
    return Rerun(
        files.notebook,
        files.record if record is not None else None,
        results,
        time.monotonic() - began,
    )


def describe(notebook) -> str:
    """Return a table of the parameters of a notebook: name, kind, range, default, explanation.

    Args:
        notebook: Path of a notebook, or name of a lesson.

    Raises:
        ValueError: If there is no such notebook, or if its parameters cannot be read.
    """
    path = find(notebook)
    found = _declared(_read(path), path)
    return table(found) if found else f"{path} has no parameters"


def find(notebook) -> Path:
    """Find a notebook by its path, or a lesson by its name.

    Args:
        notebook: Path, with or without ".ipynb". A bare name is also looked up in the folder
            "notebooks" here, and among the lessons that come with oatlib.

    Returns:
        Path of the notebook.

    Raises:
        ValueError: If there is no such notebook. The message suggests similar names.
    """
    given = Path(notebook)
    folders = [Path(), Path("notebooks"), LESSONS] if given.name == str(notebook) else [Path()]
    for path in (folder / f"{given}{end}" for folder in folders for end in ("", ".ipynb")):
        if path.is_file():
            return path
    known = sorted(
        {path.stem for folder in (given.parent, *folders[1:]) for path in folder.glob("*.ipynb")}
    )
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
        except Exception as error:  # nbformat has no error class that covers everything
            raise ValueError(f"{path} is not a notebook: {error}") from error
    if language.lower() != "python":
        raise ValueError(f"{path} is a notebook for {language}: only those for Python can be run")
    return nb


def _declared(nb: NotebookNode, path: Path) -> dict[str, Parameter]:
    # Parameters of the cell with the tag "parameters", by name.
    cells = [
        cell
        for cell in nb.cells
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", ())
    ]
    if len(cells) > 1:
        raise ValueError(f"{path} has {len(cells)} cells with the tag `parameters`: leave one")
    try:
        return declared(cells[0].source) if cells else {}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


class _Files:
    """Paths that a run is written to, with checks that no other file is lost."""

    def __init__(self, out, name: str, source: Path):
        if not re.fullmatch(r"[^/\\:.][^/\\:]*", name):
            raise ValueError(
                f"a name of files has no / \\ or : and starts with no dot, got {name!r}"
            )
        self.out, self.source = Path(out), source
        self.notebook, self.record, self.failed = (
            self.out / f"{name}{end}" for end in (".ipynb", ".json", ".failed.ipynb")
        )

    def check(self, values: dict) -> None:
        """Raise before any work if the results cannot be written; create the folder if needed."""
        for path in (self.notebook, self.record, self.failed):
            if path.is_dir():
                raise ValueError(f"cannot write {path}: it is a folder")
            if path.exists() and path.samefile(self.source):
                raise ValueError(
                    f"{path} is the notebook itself: choose another folder (--out) or name (--name)"
                )
        self._check_earlier(values)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.out).close()
        except OSError as error:
            raise ValueError(
                f"cannot write into the folder {self.out}: {error.strerror}"
            ) from error

    def _check_earlier(self, values: dict) -> None:
        """Raise if existing files would be replaced that are not a run with the same parameters."""
        there = next((path for path in (self.notebook, self.record) if path.exists()), None)
        if there is None:
            return
        before = self._earlier()
        if before is None:
            raise ValueError(
                f"{there} is there and belongs to no run: choose another --name or --out"
            )
        changed = [
            f"{key} {before.get(key)!r}"
            for key in {**before, **values}
            if before.get(key) != values.get(key)
        ]
        if changed:
            raise ValueError(
                f"{there} is a run with other parameters ({', '.join(changed)}): "
                "choose another --name or --out, or remove it"
            )

    def _earlier(self) -> dict | None:
        """Return the parameters of the existing run, or None if the existing file is no run."""
        try:
            return json.loads(self.notebook.read_bytes())["metadata"]["oatlib"]["parameters"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, nb: NotebookNode, values: dict):
        """Write notebook and record. Return the record, or None if the notebook displayed none."""
        shown = [
            output.data[MIME]
            for cell in nb.cells
            for output in cell.get("outputs", [])
            if MIME in output.get("data", {})
        ]
        content = json.dumps(shown[-1], indent=1, ensure_ascii=False) + "\n" if shown else ""
        write_bytes(self.notebook, _bytes(nb, values))
        if shown:
            write_bytes(self.record, content.encode())
        else:
            self.record.unlink(missing_ok=True)  # the record of the run that was just replaced
        return shown[-1] if shown else None

    def keep(self, nb: NotebookNode, values: dict, watch: Progress) -> str:
        """Write the cells that ran to a file of their own, and return a message about it.

        The result of an earlier successful run is not touched.
        """
        if watch.now is None:
            return "no cell was run"
        try:
            write_bytes(self.failed, _bytes(nb, values))
        except OSError as error:
            return f"what was run could not be kept: {error}"
        return f"{self.failed} holds what was run"


def _bytes(nb: NotebookNode, values: dict) -> bytes:
    """Return the notebook as a file, with its parameters and without the state of its widgets.

    That state takes megabytes and is of no use in a file.
    """
    nb.metadata.pop("widgets", None)
    nb.metadata.setdefault("oatlib", NotebookNode())["parameters"] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f"{nbformat.writes(nb)}\n".encode()
