"""The command line: parse the arguments of `oatlib COMMAND`, and report errors.

The module commands.py runs the commands. Wrong input gives one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import signal
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

from .. import __version__
from .._check import USER_ERRORS
from .._suggest import did_you_mean, lookup

PAGES = (".html", ".htm")  # ends of the names of web pages

# Names that `oatlib eval --attack` accepts. The first four are suites of attacks.
ATTACKS = ("quick", "fast", "full", "suite", "pgd", "apgd", "fgsm", "fgsm-rs", "square")


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after `oatlib`. None: those of the process (`sys.argv`).

    Returns:
        Exit code. 0: success. 1: the command ran, but its result is negative, for instance a failed
        audit. 2: wrong input. 130: interrupted. 141: the reader of the output has ended, as in
        `oatlib choose results.json | head -1`. Shells report 141 for other programs, too.

    Raises:
        SystemExit: From argparse, for --help and for arguments that cannot be parsed.
    """
    if sys.stderr is None:  # closed by the caller; progress bars need one
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (open to the end)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # not every terminal or pipe can show a λ
    name = "oatlib"
    rank, count = _process()
    try:
        options = _parse(sys.argv[1:] if arguments is None else arguments)
        name = f"oatlib {options.command}"
        if rank > 0:
            name += f", process {rank} of {count}"
        with warnings.catch_warnings():
            # What one process warns of, all do.
            warnings.showwarning = _show_warning if rank == 0 else _ignore_warning
            code = _run(options) or 0
        if sys.stdout is not None:
            sys.stdout.flush()  # here, so that an error is seen
        return code
    except BrokenPipeError:
        return 141
    except USER_ERRORS as error:
        _tell(f"{name}: {_sentence(error)}")
        return 2
    except KeyboardInterrupt:
        _tell(f"{name}: interrupted")
        return 130
    finally:
        _close_output()


def _process() -> tuple[int, int]:
    """Return the number of this process and how many torchrun has started: usually 0 and 1."""
    rank = os.environ.get("RANK", "")
    count = os.environ.get("WORLD_SIZE", "")
    if "LOCAL_RANK" not in os.environ or not (rank.isdecimal() and count.isdecimal()):
        return 0, 1
    return int(rank), int(count)


def _tell(line: str) -> None:
    """Print a line on stderr, unless stderr is closed."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


def _close_output() -> None:
    """Write what is left of the output. If that fails, drop it.

    Python would try it again at its end, and print an error of several lines.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(error: BaseException) -> str:
    """Return the message of an error on one line, without terms of Python."""
    text = _printable(" ".join(str(error).split()))
    allocation = re.search(r"you tried to allocate (\d+) bytes", text)  # by PyTorch
    if allocation:
        size = int(allocation[1]) / 1e9
        return f"not enough memory: one tensor would need {size:,.1f} GB"
    if isinstance(error, MemoryError):
        return f"not enough memory{text and ': '}{text}"
    if isinstance(error, OSError) and error.strerror:
        place = f"{_printable(str(error.filename))}: " if error.filename is not None else ""
        return f"{place}{error.strerror}"
    return text or type(error).__name__


def _printable(text: str) -> str:
    """Return a text in which control characters are written out.

    A name in a file, or the name of one, could hold commands for the terminal.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line, or exit with one line that says what is wrong."""
    parser = _parser()
    # argparse would list the commands without a suggestion, and name options that it does not
    # know as errors of `oatlib` instead of the command.
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None:
        try:
            lookup("command", command, parser.commands)
        except ValueError as error:
            parser.error(str(error))
    options, unknown = parser.parse_known_args(words)
    if unknown:
        word = unknown[0].partition("=")[0]
        of_command = parser.commands[options.command]
        if word.startswith("-"):
            of_command.error(f"unknown option {word}{did_you_mean(word, of_command.flags)}")
        of_command.error(f"unexpected argument {word!r}")
    if _process()[1] > 1 and options.command != "train":
        parser.commands[options.command].error("only train works in several processes of torchrun")
    if getattr(options, "claim_n", None) is not None and options.claim is None:
        parser.commands["audit"].error("--claim-n is the number of images of --claim: give both")
    return options


def _show_warning(message, *_) -> None:
    """Print a warning on a line of its own, also while there is a progress bar."""
    from tqdm.auto import tqdm

    tqdm.write(f"warning: {_printable(str(message))}", file=sys.stderr)


def _ignore_warning(*_) -> None:
    """Print nothing."""


def _run(options) -> int | None:
    """Run the command, and import only now what it needs.

    PyTorch takes seconds to import, and the server of the explorer does not need it.
    """
    if options.command == "explore":
        return _explore(options)
    with _interruptible():
        from . import commands

    return commands.COMMANDS[options.command](options)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Make Ctrl-C end a long import as KeyboardInterrupt.

    Some packages catch it while they are imported, try again, and fail with an ImportError.
    """
    presses = []

    def note(signal_number, frame):
        presses.append(signal_number)
        raise KeyboardInterrupt

    # Other threads get no signals, and a program may ignore Ctrl-C, for instance after `nohup`.
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception:
        if presses:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _explore(options) -> int:
    if options.photographs and options.weights:
        raise ValueError("--photographs opens networks that come with oatlib: name no other files")
    if options.html:
        with _interruptible():
            from ..explorer import app  # needs the lab extra

        size = app.write(
            options.html, options.weights, options.state, options.photographs, options.data
        )
        print(f"{options.html}: written ({size / 1e6:.2f} MB). Open it in any browser.")
        return 0
    from ..explorer import server
    from .port import check_port

    check_port(options.port)
    return server.serve(
        options.weights,
        options.state,
        options.port,
        not options.no_browser,
        options.photographs,
        options.data,
    )


class _Once(argparse.Action):
    """Store the value of an option. An option that is given twice is an error.

    argparse would use the last value, and say nothing.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        """Store the values, see `argparse.Action`."""
        given = getattr(namespace, "given", frozenset())
        if option_string is not None and self.dest in given:
            several = ", with all values after it" if self.nargs == "+" else ""
            parser.error(f"{option_string} is given twice: give it once{several}")
        namespace.given = given | {self.dest}
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """A parser with lines below its help, and with errors of one line.

    Options must be written out and given once.

    Attributes:
        commands: The parsers of the commands, by name.
        flags: All options, such as "--lam" (property).
        notes: Returns the lines below the help. It is called when help is printed, because the
            names of recipes are known only after PyTorch is imported.
    """

    commands: dict[str, _Parser]
    notes: Callable[[], list[str]] | None = None

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, allow_abbrev=False, **options)
        self.register("action", None, _Once)
        # argparse takes -1 for a number, but -1e-3 and -inf for unknown options. As values they
        # get the message that says what is valid.
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)", re.IGNORECASE)

    @property
    def flags(self) -> list[str]:
        return list(self._option_string_actions)

    def format_help(self) -> str:
        """Return the help text with the notes, each on lines of its own."""
        text = super().format_help()
        if self.notes is None:
            return text
        lines = [
            textwrap.fill(note, 80, subsequent_indent="  ", break_on_hyphens=False)
            for note in self.notes()
        ]
        return text + "\n" + "\n".join(lines) + "\n"

    def error(self, message: str):
        """Print the message on one line and exit. argparse would print the usage, too.

        Of several processes with the same arguments, only the first one prints it.
        """
        is_first = _process()[0] == 0
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n" if is_first else None)


def _parser() -> _Parser:
    parser = _Parser(
        "oatlib",
        description="Once-for-all adversarial training: train networks whose trade-off between "
        "clean and robust accuracy can be changed at run time, measure them, and explore them.",
    )
    parser.add_argument("--version", action="version", version=f"oatlib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parser.commands = commands.choices
    _add_train(commands)
    _add_eval(commands)
    _add_fit_slider(commands)
    _add_audit(commands)
    _add_info(commands)
    _add_choose(commands)
    _add_export(commands)
    _add_convert(commands)
    _add_explore(commands)
    _add_course(commands)
    _add_class(commands)
    _add_claims(commands)
    _add_rerun(commands)
    _add_sweep(commands)
    _add_report(commands)
    _command(commands, "doctor", "report versions, device, and which optional parts work")
    return parser


def _command(commands, name: str, about: str) -> _Parser:
    return commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")


def _add_train(commands) -> None:
    parser = _command(commands, "train", "train a network and write its weights to a file")
    parser.add_argument("recipe", help="which kind of network to train, see the list below")
    parser.add_argument(
        "--data",
        default="shapes",
        help="data set: shapes, digits, cifar10, another set of torchvision, or folder:PATH "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--data-set",
        type=_data_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="data_options",
        help="change an option of the data set, such as size=64 for folder:PATH or trust=0.9 for "
        "shapes; can be repeated",
    )
    parser.add_argument(
        "--n-train",
        type=_positive_int,
        help="number of training images (default: those of the data set)",
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, help="seed of data, weights and training (default 0)"
    )
    parser.add_argument(
        "--data-seed",
        type=_seed,
        help="seed of the data alone, so that --seed changes the training on the same images "
        "(default: that of --seed)",
    )
    parser.add_argument(
        "--backbone", default="tiny", help="architecture, see the list below (default %(default)s)"
    )
    parser.add_argument("--lam", type=_lam, help="λ in [0, 1], for the recipe pgd-at only")
    parser.add_argument(
        "--set",
        type=_recipe_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="options",
        help="change an option of the recipe, such as widths=4; see the list below; can be "
        "repeated",
    )
    parser.add_argument(
        "--preset",
        default="fast",
        help="training schedule and attack, see the list below (default %(default)s)",
    )
    parser.add_argument(
        "--epochs", type=_positive_int, help="number of epochs (default: that of the preset)"
    )
    parser.add_argument(
        "--eps",
        type=_radius,
        help="radius of the attack in training, in 1/255; the length of its steps is scaled with "
        "it (default: that of the preset, 8)",
    )
    _add_device(parser)
    _add_compiled(parser)
    parser.add_argument(
        "--checkpoint",
        type=_file,
        metavar="FILE",
        help="save the training state to FILE after every epoch",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the training saved by --checkpoint"
    )
    parser.add_argument(
        "--out",
        type=_file,
        required=True,
        metavar="FILE",
        help="file for the weights, such as oat.safetensors",
    )
    parser.add_argument(
        "--sync-batchnorm",
        action="store_true",
        help="with several processes: take batch statistics over the whole batch, not over the "
        "part of each process",
    )
    parser.notes = _train_notes


def _train_notes() -> list[str]:
    """Return the names that `train` accepts, for its help text."""
    from .. import PRESETS, RECIPES
    from ..networks.backbones import BACKBONES
    from ..training.recipes import OPTIONS

    tables = {
        "recipes": RECIPES,
        "backbones": BACKBONES,
        "presets": PRESETS,
        "options of --set": OPTIONS,
    }
    notes = [f"{title}: {', '.join(names)}." for title, names in tables.items()]
    return [
        *notes,
        "example: oatlib train oat --data shapes --out oat.safetensors",
        "in two processes: torchrun --nproc-per-node 2 -m oatlib train oat --out oat.safetensors",
    ]


def _add_eval(commands) -> None:
    parser = _command(
        commands, "eval", "measure clean and robust accuracy on test images, for each λ and width"
    )
    _add_weights(parser)
    parser.add_argument(
        "--data", help="data set to measure on (default: the one the network was trained on)"
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, help="seed of attack and noise (default 0)"
    )
    _add_device(parser)
    _add_compiled(parser)
    parser.add_argument(
        "--attack",
        default="quick",
        type=_attack,
        help=f"one of {', '.join(ATTACKS)}. quick, fast and full are suites of several attacks; "
        "suite is another name for fast (default %(default)s)",
    )
    parser.add_argument(
        "--steps",
        type=_positive_int,
        help="steps of the attacks pgd (default 20) and apgd (default 100)",
    )
    parser.add_argument(
        "--restarts",
        type=_positive_int,
        help="random restarts of the attacks pgd and apgd (default 1)",
    )
    parser.add_argument(
        "--eps", type=_eps, default=8.0, help="radius of the attack, in 1/255 (default 8)"
    )
    parser.add_argument(
        "--norm",
        default="linf",
        choices=("linf", "l2"),
        help="norm that the radius is measured in (default %(default)s)",
    )
    parser.add_argument(
        "--noise-samples",
        type=_positive_int,
        default=10,
        metavar="N",
        help="samples of noisy weights that accuracies and attack gradients are averaged over; "
        "only for networks with noise (default 10)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--lam",
        type=_lam,
        nargs="+",
        help="values of λ in [0, 1] (default: those the network was trained at)",
    )
    where.add_argument(
        "--slider",
        type=_position,
        nargs="+",
        metavar="U",
        help="slider positions in [0, 1] instead of λ, see oatlib fit-slider",
    )
    parser.add_argument(
        "--width",
        type=_fraction,
        nargs="+",
        help="widths of a slimmable network, in (0, 1] (default: all)",
    )
    parser.add_argument(
        "--n",
        type=_positive_int,
        help="number of test images, equally many of each class (default: all)",
    )
    parser.add_argument("--json", type=_file, metavar="FILE", help="also write the results to FILE")
    _add_dial(parser, "example: oatlib eval oat.safetensors --lam 0 0.5 1 --json results.json")


def _add_fit_slider(commands) -> None:
    parser = _command(
        commands,
        "fit-slider",
        "fit the slider of a network, so that equal steps of it change the accuracies equally, and "
        "write it into the file",
    )
    parser.add_argument(
        "weights", type=_file, help="file written by oatlib train; the slider is added to it"
    )
    parser.add_argument(
        "--n",
        type=_positive_int,
        default=512,
        help="number of validation images, at most all, each attacked with the quick suite "
        "(default 512)",
    )
    parser.notes = lambda: ["example: oatlib fit-slider oat.safetensors"]


def _add_audit(commands) -> None:
    parser = _command(
        commands,
        "audit",
        "look for faults in the robustness of one setting; exit code 0 if none is found",
    )
    parser.add_argument("weights", type=_file, help="file of the network (.safetensors)")
    parser.add_argument("--lam", type=_lam, help="λ to audit (default: the largest of the recipe)")
    parser.add_argument("--width", type=_fraction, help="width of a slimmable network (default 1)")
    parser.add_argument(
        "--claim",
        type=_claim,
        help="robust accuracy that is claimed, in [0, 1] (default: the accuracy under PGD-20)",
    )
    parser.add_argument(
        "--claim-n", type=_positive_int, help="number of images the claim was measured on"
    )
    parser.add_argument(
        "--eps", type=_radius, default=8, help="radius of the attacks in 1/255 (default 8)"
    )
    parser.add_argument(
        "--n",
        type=_positive_int,
        default=256,
        help="number of validation images, at most all (default 256)",
    )
    parser.add_argument(
        "--data", help="data set (default: the one that the network was trained on)"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="seed of the attacks (default 0)")
    parser.add_argument(
        "--seconds", type=_seconds, help="time limit of the suite in seconds (default: none)"
    )
    parser.add_argument("--json", type=_no_page, help="file to write the report to, as JSON")
    parser.add_argument("--html", type=_page, help="file to write the report to, as a web page")
    parser.notes = lambda: [
        "example: oatlib audit oat.safetensors --lam 1 --claim 0.75 --html report.html"
    ]


def _add_info(commands) -> None:
    parser = _command(
        commands, "info", "say how a network was made, and what was measured on test images"
    )
    parser.add_argument(
        "network",
        type=_file,
        help="file written by oatlib train, or the name of a network that comes with oatlib, such "
        "as photographs/oat",
    )
    parser.notes = lambda: ["example: oatlib info photographs/oat"]


def _add_choose(commands) -> None:
    parser = _command(commands, "choose", "print the most robust measured setting within limits")
    parser.add_argument("results", type=_file, help="file written by oatlib eval --json")
    parser.add_argument(
        "--min-clean", type=_fraction, help="lowest clean accuracy, in (0, 1], such as 0.9"
    )
    parser.add_argument(
        "--min-robust", type=_fraction, help="lowest robust accuracy, in (0, 1], such as 0.5"
    )
    parser.add_argument(
        "--max-macs", type=_limit, help="largest number of multiply-adds per image, such as 1e6"
    )
    parser.add_argument(
        "--max-parameters", type=_limit, help="largest number of parameters, such as 1e5"
    )
    parser.notes = lambda: ["example: oatlib choose results.json --min-clean 0.9 --max-macs 1e6"]


def _add_export(commands) -> None:
    parser = _command(
        commands,
        "export",
        "write a network at one setting as an ONNX file, and compare it with PyTorch",
    )
    _add_weights(parser)
    parser.add_argument("--lam", type=_lam, help="λ in [0, 1]; needed if the network has a λ dial")
    _add_width(parser)
    parser.add_argument(
        "--noise-seed",
        type=_seed,
        default=0,
        help="seed of the sample of noisy weights that is written (default 0)",
    )
    parser.add_argument(
        "--out",
        type=_file,
        required=True,
        metavar="FILE",
        help="file to write, such as model.onnx",
    )
    _add_dial(parser, "example: oatlib export oat.safetensors --lam 0.3 --out model.onnx")


def _add_convert(commands) -> None:
    parser = _command(
        commands, "convert", "read a .pth file of a paper's public code, and write it as a network"
    )
    parser.add_argument(
        "weights", type=_file, metavar="FILE", help="file to read; nothing in it is run"
    )
    parser.add_argument(
        "--layout",
        required=True,
        help="which code wrote it, see the list below",
    )
    parser.add_argument(
        "--data",
        help="data set that the network was trained on, such as cifar10 (default: the one of the "
        "public scripts)",
    )
    parser.add_argument(
        "--codes",
        type=_file,
        help="λ codes of a network with FiLM: a .npy file, solar, onehot or dct (default: "
        "rand_otho_mat.npy beside the file; for oats and solar otherwise solar)",
    )
    parser.add_argument(
        "--stops",
        type=_lam,
        nargs="+",
        metavar="LAM",
        help="λ values that it was trained at, in the order of training (default: those in the "
        "file, or the published ones)",
    )
    parser.add_argument("--backbone", help="architecture (default: the one of this size)")
    parser.add_argument(
        "--out",
        type=_file,
        required=True,
        metavar="FILE",
        help="file for the network, such as oat.safetensors",
    )
    parser.notes = lambda: [
        "layouts: oat; oats: several widths; solar: an output layer per width; snn: widths, no λ; "
        "float: noisy weights.",
        "example: oatlib convert latest.pth --layout oat --out oat.safetensors",
    ]


def _add_explore(commands) -> None:
    parser = _command(
        commands, "explore", "open the explorer in the browser: sliders for λ, width and attack"
    )
    parser.add_argument(
        "weights",
        type=_file,
        nargs="*",
        help="files written by oatlib train (default: the networks that come with oatlib)",
    )
    parser.add_argument(
        "--photographs",
        action="store_true",
        help="open the networks for CIFAR-10 that come with oatlib, with their recorded curves",
    )
    parser.add_argument(
        "--data",
        help="images to measure on. For --photographs your own copy of CIFAR-10: folder:DIR with "
        "DIR/{train,test}/<class>/*, or cifar10 from torchvision; without it, the page shows what "
        "is recorded (default: the images that the networks were trained on)",
    )
    parser.add_argument(
        "--state", default="", help="setting to start with, such as 'lam=0.3&width=0.5'"
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--html",
        type=_page,
        metavar="FILE",
        help="write the explorer to FILE as a page that needs no Python, instead of opening it",
    )
    target.add_argument(
        "--port",
        type=_port,
        default=0,
        help="port on 127.0.0.1, from 1 to 65535; 0 for any free one (default 0)",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address, but open no browser"
    )
    parser.notes = lambda: [
        "example: oatlib explore oat.safetensors --state 'lam=0.5'",
        "example: oatlib explore --html explorer.html",
        "example: oatlib explore --photographs --data folder:cifar",
    ]


def _add_course(commands) -> None:
    parser = _command(commands, "course", "copy the lessons to a folder, to open them in Jupyter")
    parser.add_argument(
        "folder",
        type=_file,
        nargs="?",
        default="oatlib-course",
        help="folder to copy to; it is created if needed (default %(default)s)",
    )
    parser.notes = lambda: ["example: oatlib course lessons"]


def _add_class(commands) -> None:
    parser = _command(
        commands, "class", "report who solved which exercise, and what a class guessed"
    )
    parser.add_argument(
        "folder",
        type=_file,
        help="folder with what learners handed in: notebooks, records of oatlib rerun, or "
        "my_progress.json, in a folder for each learner",
    )
    parser.add_argument("--html", type=_page, help="file to write the report to, as a web page")
    parser.notes = lambda: ["example: oatlib class handed-in --html class.html"]


def _add_claims(commands) -> None:
    parser = _command(
        commands, "claims", "show the claims of the papers, what was measured here, and a verdict"
    )
    parser.add_argument(
        "name",
        nargs="?",
        type=_file,
        metavar="NAME",
        help="show one claim in full, with all numbers, conditions and commands; see the list "
        "below (default: a few lines for each claim)",
    )
    parser.add_argument(
        "--records",
        type=_file,
        metavar="FOLDER",
        help="folder of records that you measured again, such as once_for_all.json; the others are "
        "those that come with oatlib",
    )
    parser.add_argument("--json", type=_file, metavar="FILE", help="also write the board to FILE")
    parser.notes = _claims_notes


def _claims_notes() -> list[str]:
    """Return the names of the claims, for the help text."""
    from ..claims.table import CLAIMS

    return [f"claims: {', '.join(CLAIMS)}.", "example: oatlib claims one-for-all"]


def _add_rerun(commands) -> None:
    parser = _command(
        commands,
        "rerun",
        "run a notebook with other parameters, and write the executed notebook and its results",
    )
    parser.add_argument(
        "notebook",
        type=_file,
        help="a notebook file, or a lesson such as 01_attack",
    )
    parser.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        dest="parameters",
        help="set a parameter of the notebook; can be repeated",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="print the parameters of the notebook and their valid values, and run nothing",
    )
    parser.add_argument(
        "--out",
        type=_file,
        default=".",
        metavar="FOLDER",
        help="folder for the executed notebook and its results (default: the current folder)",
    )
    parser.add_argument(
        "--name", help="name of these two files without ending (default: name of the notebook)"
    )
    parser.add_argument(
        "--timeout",
        type=_positive_int,
        metavar="SECONDS",
        help="longest time for each cell, in seconds (default: no limit)",
    )
    parser.notes = lambda: [
        "example: oatlib rerun 01_attack --list",
        "example: oatlib rerun 01_attack -p n 64 -p eps 4 --out runs",
    ]


def _add_sweep(commands) -> None:
    parser = _command(
        commands,
        "sweep",
        "do all runs that a file lists, several at a time: notebooks, trainings or measurements",
    )
    parser.add_argument(
        "plan", type=_file, metavar="FILE", help="what to run, as TOML; see the example below"
    )
    parser.add_argument(
        "--out",
        type=_file,
        metavar="FOLDER",
        help="folder for the results; finished runs in it are skipped",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check the file and print the list of runs, and run nothing",
    )
    parser.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="processes that work (default: as many as there are cores and runs); 0: in this "
        "process, one run after the other, without Dask",
    )
    parser.add_argument(
        "--threads",
        type=_positive_int,
        metavar="N",
        help="threads of each process (default: the cores are divided among the processes)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use the Dask cluster at this address, such as tcp://10.0.0.1:8786, instead of "
        "processes on this machine",
    )
    parser.add_argument(
        "--dashboard",
        type=_dashboard_port,
        metavar="PORT",
        help="show Dask's page about its processes at this port of 127.0.0.1 (default: no page)",
    )
    parser.notes = lambda: [
        "example: oatlib sweep seeds.toml --out runs",
        'a file: recipe = "oat", then [grid] on a line, then seed = [0, 1, 2] on the next.',
        "keys: those of oatlib train and oatlib eval, or the parameters of a notebook. "
        "docs/sweeps.md has examples.",
    ]


def _add_report(commands) -> None:
    parser = _command(commands, "report", "report on the results of oatlib sweep")
    parser.add_argument("folder", type=_file, help="folder that oatlib sweep wrote to")
    parser.add_argument(
        "--html",
        type=_page,
        metavar="FILE",
        help="file to write the page to (default: report.html in the folder)",
    )
    parser.add_argument(
        "--notebook",
        type=_notebook,
        metavar="FILE",
        help="also write the report as an executed notebook",
    )
    parser.notes = lambda: ["example: oatlib report runs --notebook runs/report.ipynb"]


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", type=_file, help="file written by oatlib train")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", type=_device, default="cpu", help="cpu, cuda or cuda:INDEX (default cpu)"
    )


def _add_width(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--width", type=_fraction, help="width of a slimmable network, in (0, 1] (default 1)"
    )


def _add_compiled(parser: _Parser) -> None:
    """Add --compiled."""
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="run attacks compiled, with the same numbers up to rounding; needs a C++ compiler and "
        "some seconds to compile",
    )


def _add_dial(parser: _Parser, example: str) -> None:
    """Add --dial, whose rules are listed below the help, above an example."""
    parser.add_argument(
        "--dial",
        type=_rule,
        metavar="RULE",
        help="rule that says how the network is computed between the trained λ, see the list below "
        "(default: the rule in the file)",
    )

    def notes() -> list[str]:
        from ..networks.lambdas import RULES

        return [
            "rules of --dial:",
            *(f"  {rule}: {about}" for rule, about in RULES.items()),
            example,
        ]

    parser.notes = notes


def _number(
    requirement: str, convert: Callable[[str], float], is_valid: Callable[[float], bool]
) -> Callable[[str], float]:
    """Return a function that converts and checks a number.

    Args:
        requirement: What the number must be, for the error message.
        convert: `int` or `float`.
        is_valid: Says whether a number is allowed. It must return False for NaN.
    """

    def parse(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            value = math.nan
        if not is_valid(value):
            raise argparse.ArgumentTypeError(f"{requirement}, got {text!r}")
        return value

    return parse


_lam = _number("λ must be a number in [0, 1]", float, lambda v: 0 <= v <= 1)
_position = _number("a slider position must be a number in [0, 1]", float, lambda v: 0 <= v <= 1)
_fraction = _number("must be a fraction in (0, 1], such as 0.5", float, lambda v: 0 < v <= 1)
_claim = _number("must be a fraction in [0, 1], such as 0.75", float, lambda v: 0 <= v <= 1)
_radius = _number("must be a number in (0, 255], such as 8", float, lambda v: 0 < v <= 255)
_limit = _number("must be a number above 0, such as 1e6", float, lambda v: 0 < v < math.inf)
_seconds = _number("must be a number of seconds above 0", float, lambda v: 0 < v < math.inf)
_port = _number("must be a whole number from 0 to 65535", int, lambda v: 0 <= v <= 65535)
_seed = _number("must be a whole number from 0 to 2**30 - 1", int, lambda v: 0 <= v < 2**30)
_eps = _number("must be a number in [0, 255], such as 8", float, lambda v: 0 <= v <= 255)
_count = _number("must be a whole number, 0 or more", int, lambda v: v >= 0)
_dashboard_port = _number("must be a whole number from 1 to 65535", int, lambda v: 0 < v <= 65535)
_positive_int = _number("must be a whole number, 1 or more", int, lambda v: v >= 1)


def _file(text: str) -> str:
    """Return the name of a file or folder. A script with an empty variable gives none."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must be a name, got {text!r}")
    return text


def _page(text: str) -> str:
    if not text.endswith(PAGES):
        raise argparse.ArgumentTypeError(f"must be a name that ends in .html, got {text!r}")
    return _file(text)


def _notebook(text: str) -> str:
    if not text.endswith(".ipynb"):
        raise argparse.ArgumentTypeError(f"must be a name that ends in .ipynb, got {text!r}")
    return _file(text)


def _no_page(text: str) -> str:
    if text.endswith(PAGES):
        raise argparse.ArgumentTypeError(f"must not end in .html, got {text!r}: use --html for it")
    return _file(text)


def _rule(text: str) -> str:
    from ..networks.lambdas import RULES

    return _one_of("rule", text, RULES)


def _attack(text: str) -> str:
    return _one_of("attack", text, ATTACKS)


def _one_of(kind: str, text: str, names: Iterable[str]) -> str:
    """Return `text` if it is one of the names, or raise the error that argparse prints."""
    try:
        return lookup(kind, text, {name: name for name in names})
    except ValueError as error:
        raise argparse.ArgumentTypeError(error) from None


def _recipe_option(text: str) -> tuple[str, object]:
    """Parse NAME=VALUE, an option of a recipe."""
    from ..training.recipes import OPTIONS

    name, value = _name_and_value(text, "widths=4")
    _one_of("option", name, OPTIONS)
    return name, value


def _data_option(text: str) -> tuple[str, object]:
    """Parse NAME=VALUE, an option of a data set. `load_data` knows which ones there are."""
    name, value = _name_and_value(text, "size=64")
    if name in ("name", "seed", "device"):
        own = {"name": "--data", "seed": "--data-seed", "device": "--device"}[name]
        raise argparse.ArgumentTypeError(f"{name} is no option of a data set: use {own}")
    return name, value


def _name_and_value(text: str, example: str) -> tuple[str, object]:
    """Split NAME=VALUE. The value is a number, true, false or a list as in JSON, or else a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, such as {example}, got {text!r}")
    for parse in (json.loads, float):  # numbers like .1 are not valid JSON
        try:
            return name, parse(value)
        except ValueError:
            pass
    return name, value


def _device(text: str) -> str:
    if text == "cpu":
        return text
    from .._check import device_of  # imports PyTorch

    try:
        if not re.fullmatch(r"cuda(:[0-9]{1,4})?", text):
            raise ValueError(f"unknown device {text!r}: use cpu, cuda or cuda:INDEX")
        return str(device_of(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(error) from None
