"""Run a notebook again with other parameters: `oatlib.rerun`, and `oatlib rerun` in a shell.

A run that fails does not overwrite an earlier one. The original notebook is never written to.
"""

from __future__ import annotations

import json
import re
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType

import nbformat
from nbformat import NotebookNode

from .._bundled import bundled
from .._check import of_type, path_of
from .._suggest import did_you_mean
from ..record import RecordError, check_writable, claimed, rescue, write_bytes
from .kernel import Progress, RerunError, execute, prepared
from .parameters import Parameter, checked, declared, table

LESSONS = bundled("notebooks")
MIME = "application/vnd.oatlib.record+json"  # type of the output with the results


@dataclass(frozen=True)
class Rerun:
    """The result of a run.

    Attributes:
        notebook: Path of the executed notebook.
        record: Path of the JSON file with the record that the notebook displayed. None: the
            notebook displayed no record.
        results: The entry "results" of the record, or an empty dictionary.
        seconds: Duration of the run.
    """

    notebook: Path
    record: Path | None
    results: dict
    seconds: float

    def __str__(self) -> str:
        head = f"{self.notebook}: finished after {self.seconds:.0f} s"
        if self.record is None:
            return f"{head}\nThe notebook displays no record, so there is no JSON file"
        numbers = [
            f"{name} = {value:.4g}"
            for name, value in self.results.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        return f"{head}\n{self.record}: {', '.join(numbers) or 'its record'}"


def rerun(
    notebook: str | Path,
    parameters: Mapping | None = None,
    out: str | Path = ".",
    *,
    name: str | None = None,
    progress: bool = True,
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
            that ran, if any. Also if the results cannot be written, for instance because the disk
            is full; the message says where they are instead.
        ValueError: If there is no such notebook or parameter, if a value is not valid, if OUT holds
            files that must not be replaced or cannot be written, or if another run is writing them.

    Example:
        >>> run = rerun("01_attack", {"n": 64, "eps": 4}, out="runs")
        >>> run.results["robust"]
    """
    started = time.monotonic()
    of_type("parameters", parameters, (Mapping, NoneType), "a dictionary {name: value}")
    of_type("name", name, (str, NoneType), "a text")
    path = find(notebook)
    nb = _read(path)
    values = checked(_declared(nb, path), parameters or {})
    if timeout is not None and not (isinstance(timeout, int) and timeout > 0):
        raise ValueError(f"timeout must be a whole number of seconds, 1 or more, got {timeout!r}")
    files = _Files(out, path.stem if name is None else name, path)
    files.check(values)
    nb = prepared(nb, {key: values[key] for key in parameters or {}})
    lines = Progress(nb, sys.stderr if progress else None)
    with claimed(files.notebook):
        try:
            execute(nb, path.parent.resolve(), lines, timeout)
            record = files.save(nb, values)
        except RerunError as error:
            raise RerunError(f"{error}\n{files.keep(nb, values, lines)}") from None
        except KeyboardInterrupt:
            lines.write(f"{lines.where()} was interrupted\n{files.keep(nb, values, lines)}\n")
            raise
    results = record.get("results", {}) if isinstance(record, dict) else {}
    return Rerun(
        files.notebook,
        files.record if record is not None else None,
        results,
        time.monotonic() - started,
    )


def describe(notebook: str | Path) -> str:
    """Return a table of the parameters of a notebook: name, kind, range, default, explanation.

    Args:
        notebook: Path of a notebook, or name of a lesson.

    Raises:
        ValueError: If there is no such notebook, or if its parameters cannot be read.
    """
    parameters = parameters_of(notebook)
    return table(parameters) if parameters else f"{find(notebook)} has no parameters"


def parameters_of(notebook: str | Path) -> dict[str, Parameter]:
    """Return the parameters that a notebook declares, by name.

    Args:
        notebook: Path of a notebook, or name of a lesson.

    Raises:
        ValueError: If there is no such notebook, or if its parameters cannot be read.
    """
    path = find(notebook)
    return _declared(_read(path), path)


def find(notebook: str | Path) -> Path:
    """Find a notebook by its path, or a lesson by its name.

    Args:
        notebook: Path, with or without ".ipynb". A bare name is also looked up in the folder
            "notebooks" here, and among the lessons that come with oatlib.

    Returns:
        Path of the notebook.

    Raises:
        ValueError: If there is no such notebook. The message suggests similar names.
    """
    path = path_of(notebook)
    # A bare name may be a lesson. Any other path is used as it is.
    is_bare = path.name == str(notebook)
    folders = [path.parent, Path("notebooks"), LESSONS] if is_bare else [path.parent]
    for folder in folders:
        for name in (path.name, f"{path.name}.ipynb"):
            if (folder / name).is_file():
                return folder / name
    # Suggest a similar name, or else list what is there.
    known = sorted({other.stem for folder in folders for other in folder.glob("*.ipynb")})
    hint = did_you_mean(path.name.removesuffix(".ipynb"), known)
    if not hint and known:
        hint = f": use one of {', '.join(known[:12])}"
    places = ", ".join(map(str, folders))
    raise ValueError(f"there is no notebook {str(notebook)!r} in {places}{hint}")


def _read(path: Path) -> NotebookNode:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _check_form(path)
            nb = nbformat.read(path, as_version=4)
            language = nb.metadata.get("kernelspec", {}).get("language") or "python"
            nb.cells  # noqa: B018 (complains about JSON that is something else)
        except Exception as error:  # nbformat has no error class that covers everything
            raise ValueError(f"{path} is not a notebook: {error}") from error
    if language.lower() != "python":
        raise ValueError(f"{path} is a notebook for {language}: only Python notebooks can be run")
    return nb


def _check_form(path: Path) -> None:
    """Raise a ValueError if a file cannot be a notebook. nbformat would name no cause."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        raise ValueError("it is no JSON") from None
    content = content if isinstance(content, dict) else {}
    # Notebooks of the oldest formats have worksheets, which nbformat turns into cells.
    if not isinstance(content.get("cells", content.get("worksheets")), list):
        raise ValueError("it holds no list of cells")


def _declared(nb: NotebookNode, path: Path) -> dict[str, Parameter]:
    """Return the parameters of the cell with the tag "parameters", by name."""
    cells = [
        cell
        for cell in nb.cells
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", ())
    ]
    if len(cells) > 1:
        raise ValueError(
            f"{path} has {len(cells)} cells with the tag `parameters`, at most one is allowed"
        )
    try:
        return declared(cells[0].source) if cells else {}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


class _Files:
    """Paths that a run is written to, with checks that no other file is lost."""

    def __init__(self, out: str | Path, name: str, source: Path):
        if not re.fullmatch(r"[^/\\:.][^/\\:]*", name):
            raise ValueError(
                "the name of the files must not be empty, start with a dot, or contain / \\ or :, "
                f"got {name!r}"
            )
        self.out = path_of(out)
        self.source = source
        self.notebook = self.out / f"{name}.ipynb"
        self.record = self.out / f"{name}.json"
        self.failed = self.out / f"{name}.failed.ipynb"

    def check(self, values: dict) -> None:
        """Raise before any work if the results cannot be written; create the folder if needed."""
        for path in (self.notebook, self.record, self.failed):
            if path.is_dir():
                raise ValueError(f"cannot write {path}: it is a folder")
            if path.exists() and path.samefile(self.source):
                raise ValueError(
                    f"{path} is the notebook that is run: choose another folder (--out) or name "
                    "(--name)"
                )
        self._check_earlier(values)
        if self.out.is_file():
            raise ValueError(f"cannot write into the folder {self.out}: it is a file")
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"cannot write into the folder {self.out}: {error.strerror}"
            ) from error
        for path in (self.notebook, self.record, self.failed):
            check_writable(path)

    def _check_earlier(self, values: dict) -> None:
        """Raise if existing files would be replaced that are not a run with the same parameters."""
        existing = [path for path in (self.notebook, self.record) if path.exists()]
        if not existing:
            return
        earlier = self._earlier()
        if earlier is None:
            raise ValueError(
                f"{existing[0]} exists already and was not written by a rerun: choose another "
                "--name or --out"
            )
        different = [
            f"{name} {earlier.get(name)!r}"
            for name in {**earlier, **values}
            if earlier.get(name) != values.get(name)
        ]
        if different:
            raise ValueError(
                f"{existing[0]} is a run with other parameters ({', '.join(different)}): "
                "choose another --name or --out, or delete it"
            )

    def _earlier(self) -> dict | None:
        """Return the parameters of the existing run, or None if the file is not from a run."""
        try:
            return json.loads(self.notebook.read_bytes())["metadata"]["oatlib"]["parameters"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, nb: NotebookNode, values: dict):
        """Write notebook and record. Return the record, or None if the notebook displayed none.

        Raises:
            RerunError: If a file cannot be written. The message says where the notebook is instead.
        """
        records = [
            output.data[MIME]
            for cell in nb.cells
            for output in cell.get("outputs", [])
            if MIME in output.get("data", {})
        ]
        executed = _bytes(nb, values)
        try:
            if not records:
                write_bytes(self.notebook, executed)
                self.record.unlink(missing_ok=True)  # the record of the run that was just replaced
                return None
            record = records[-1]
            content = json.dumps(record, indent=1, ensure_ascii=False) + "\n"  # may raise: first
            write_bytes(self.notebook, executed)
            write_bytes(self.record, content.encode())
        except (OSError, RecordError) as error:
            raise RerunError(f"all cells ran, but {error}") from error
        return record

    def keep(self, nb: NotebookNode, values: dict, progress: Progress) -> str:
        """Write the cells that ran to a file of their own, and return a message about it.

        The result of an earlier successful run is not touched.
        """
        if progress.current is None:
            return "no cell was run"
        executed = _bytes(nb, values)
        try:
            write_bytes(self.failed, executed)
            return f"the executed cells are in {self.failed}"
        except RecordError as error:
            rescued = rescue(lambda path: write_bytes(path, executed), self.failed)
            if rescued is None:
                return f"the executed cells could not be saved: {error}"
            return f"{error}; the executed cells are in {rescued}"


def _bytes(nb: NotebookNode, values: dict) -> bytes:
    """Return the notebook as a file, with its parameters and without the state of its widgets.

    That state takes megabytes and is of no use in a file.
    """
    nb.metadata.pop("widgets", None)
    nb.metadata.setdefault("oatlib", NotebookNode())["parameters"] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f"{nbformat.writes(nb)}\n".encode()
