"""Make the notebooks from their sources: `make notebooks`, or python authoring/make.py [NAMES].

python authoring/make.py 01_attack             run it in JupyterLab, keep light outputs
python authoring/make.py --check               only look whether notebooks and sources agree
python authoring/make.py --records 01_attack   measure again what the lesson reads from data/course
"""

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat

from authoring import lab, lessons, pictures
from oatlib.record import write_bytes, write_json
from oatlib.reruns.kernel import Progress, RerunError, execute, prepared

RECORDS = lessons.ROOT / "data" / "course"
SHOTS = Path("authoring", "shots")  # pictures of whole lessons; git ignores them
RECORDED = "application/vnd.oatlib.recorded+json"


def main(argv: list[str] | None = None, root: Path = lessons.ROOT) -> int:
    """What the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(
        description="Make the notebooks of the course from their sources."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="lessons, such as 01_attack; without a name all"
    )
    parser.add_argument(
        "--check", action="store_true", help="run nothing: do notebooks and sources agree?"
    )
    parser.add_argument(
        "--records",
        action="store_true",
        help="measure again what these lessons read from data/course",
    )
    asked = parser.parse_args(argv)
    known = lessons.sources(root)
    if unknown := set(asked.names) - known.keys():
        parser.error(
            f"there is no lesson {', '.join(sorted(unknown))}; there are "
            f"{', '.join(known) or 'none'}"
        )
    if asked.records and not asked.names:
        parser.error("--records takes minutes for each lesson: name them")
    chosen = {name: known[name] for name in asked.names or known}
    try:
        if asked.check:
            return _check(root)
        (_record if asked.records else make)(chosen, root)
    except (pictures.LessonError, RerunError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _check(root: Path) -> int:
    wrong = lessons.check(root)
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


def make(chosen: dict[str, Path], root: Path) -> None:
    """Run lessons in JupyterLab, one after the other, and write their notebooks."""
    from playwright.sync_api import sync_playwright

    if lab.browser() is None:
        raise pictures.LessonError("needs Chromium (on Debian and Ubuntu: apt install chromium)")
    built = {
        name: lessons.build(source) for name, source in chosen.items()
    }  # a typing error is found before all work
    with tempfile.TemporaryDirectory() as place, sync_playwright() as session:
        served = Path(place) / "notebooks"
        served.mkdir()
        for name, notebook in built.items():
            nbformat.write(notebook, served / f"{name}.ipynb")
        chromium = session.chromium.launch(executable_path=lab.browser(), args=["--no-sandbox"])
        with lab.serve(Path(place), served, pictures.SETTINGS) as address:
            for name, notebook in built.items():
                _one(chromium, address, notebook, name, root)
        chromium.close()


def _one(chromium, address: str, built, name: str, root: Path) -> None:
    try:
        notebook, seconds = pictures.run(chromium, address, built, name, root / SHOTS)
    except pictures.LessonError as error:
        raise pictures.LessonError(f"{name}: {error}") from None
    if wrong := list(lessons.unfit(notebook)):
        raise pictures.LessonError("\n".join(f"{name}: {fault}" for fault in wrong))
    content = lessons.text(notebook).encode()
    write_bytes(lessons.notebook_path(name, root), content)
    stated = built.metadata.oatlib.seconds
    late = "  more than it states" if seconds > stated else ""
    print(
        f"{name}: {seconds:.1f} s, {stated} s stated; {len(content) / 1000:.0f} kB{late}",
        flush=True,
    )


def _record(chosen: dict[str, Path], root: Path) -> None:
    """Run lessons with the parameter `recompute` and keep what they measured."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    for name, source in chosen.items():
        notebook = prepared(lessons.build(source), {"recompute": True})
        execute(notebook, root / lessons.MADE, Progress(notebook, sys.stderr))
        found = _found(notebook)
        for record in found:
            write_json(RECORDS / f"{record['name']}.json", record["result"])
        print(
            f"{name}: {', '.join(record['name'] for record in found) or 'it has no records'}",
            flush=True,
        )


def _found(notebook) -> list[dict]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.data[RECORDED] for output in outputs if RECORDED in output.get("data", {})]


if __name__ == "__main__":
    sys.exit(main())
