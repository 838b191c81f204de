"""Command line: `oatlib train | eval | audit | even | choose | export | explore | course | rerun
| doctor`.

This module parses the arguments; commands.py runs the commands. Wrong input gives one line on
stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings

from .. import __version__

# Names that `oatlib eval --attack` accepts. The first four are suites of attacks.
ATTACKS = ("quick", "fast", "full", "suite", "pgd", "apgd", "fgsm", "fgsm-rs", "square")


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after `oatlib`. None: those of the process (`sys.argv`).

    Returns:
        Exit code. 0: success. 1: the command ran, but its result is negative, for instance a failed
        audit. 2: wrong input. 130: interrupted.

    Raises:
        SystemExit: From argparse, for --help and for arguments that cannot be parsed.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # not every terminal or pipe can show a λ
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
            return _run(options) or 0
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
        print(f"oatlib {options.command}: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(options) -> int | None:
    """Run the command, and import only now what it needs.

    PyTorch takes seconds to import, and the server of the explorer does not need it.
    """
    if options.command == "explore":
        return _explore(options)
    from . import commands

    return commands.COMMANDS[options.command](options)


def _explore(options) -> int:
    if options.html:
        from ..explorer import app  # needs the lab extra

        size = app.write(options.html, options.weights, options.state)
        print(f"{options.html}: {size / 1e6:.2f} MB, open it in any browser")
        return 0
    from ..explorer import server

    return server.serve(options.weights, options.state, options.port, not options.no_browser)


class _Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        """Return the help text. An epilog that is a function is called only now.

        The options of `train` are known only after PyTorch is imported.
        """
        if callable(self.epilog):
            self.epilog = self.epilog()
        return super().format_help()

    def error(self, message: str):
        """Print the message on one line and exit. argparse would print the usage, too."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "oatlib", description="Once-for-all adversarial training: learn, explore, measure."
    )
    parser.add_argument("--version", action="version", version=f"oatlib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_eval(commands)
    _add_audit(commands)
    _add_use(commands)
    _command(commands, "doctor", "versions, device, threads, and what does not work here")
    return parser


def _add_train(commands) -> None:
    one = _command(commands, "train", "train a recipe and write its weights")
    one.add_argument("recipe", help="see below")
    one.add_argument("--data", default="shapes", help="data set (default %(default)s)")
    one.add_argument("--n-train", type=int, help="only this many training images")
    one.add_argument(
        "--seed", type=int, default=0, help="of data, weights and training (default 0)"
    )
    one.add_argument("--backbone", default="tiny", help="see below (default %(default)s)")
    one.add_argument("--lam", type=_lam, help="the one λ of pgd-at")
    one.add_argument(
        "--set",
        type=_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="options",
        help="another value in the recipe's row, such as widths=4; see below",
    )
    one.add_argument("--preset", default="fast", help="see below (default %(default)s)")
    one.add_argument("--epochs", type=int, help="instead of the preset's")
    one.add_argument("--device", type=_device, default="cpu", help="cpu or cuda (default cpu)")
    one.add_argument("--checkpoint", help="save the state here after every epoch")
    one.add_argument("--resume", action="store_true", help="go on from --checkpoint")
    one.add_argument("--out", required=True, help="where the weights go (.safetensors)")
    one.epilog = _names


def _names() -> str:
    """Return the names that `train` accepts, for its help text."""
    from .. import PRESETS, RECIPES
    from ..networks.backbones import BACKBONES
    from ..training.recipes import OPTIONS

    known = {"recipes": RECIPES, "backbones": BACKBONES, "presets": PRESETS, "--set": OPTIONS}
    return ". ".join(f"{what}: {', '.join(names)}" for what, names in known.items())


def _add_eval(commands) -> None:
    one = _command(commands, "eval", "clean and robust accuracy on the test split, per λ")
    one.add_argument("weights")
    one.add_argument("--data", help="another data set than the one it was trained on")
    one.add_argument("--seed", type=int, default=0, help="of the attack (default 0)")
    one.add_argument("--device", type=_device, default="cpu", help="cpu or cuda (default cpu)")
    one.add_argument(
        "--attack",
        default="quick",
        type=_attack,
        help=f"{', '.join(ATTACKS)}: the first three are cascades of attacks, suite is another "
        "name for fast (default %(default)s)",
    )
    one.add_argument("--steps", type=int, help="of pgd (default 20) or apgd (default 100)")
    one.add_argument("--restarts", type=int, help="of pgd or apgd (default 1)")
    one.add_argument("--eps", type=float, default=8, help="in 1/255 (default 8)")
    one.add_argument("--norm", default="linf", choices=("linf", "l2"))
    one.add_argument("--draws", type=int, default=10, help="of noisy weights (default 10)")
    where = one.add_mutually_exclusive_group()
    where.add_argument("--lam", type=_lam, nargs="+", help="other λ than the recipe's stops")
    where.add_argument(
        "--slider", type=_position, nargs="+", help="slider positions instead of λ, see oatlib even"
    )
    one.add_argument(
        "--width",
        type=_share,
        nargs="+",
        help="only these widths of a slimmable network (default: all)",
    )
    one.add_argument("--n", type=int, help="only this many test images, class-balanced")
    one.add_argument("--json", help="write the results here, too")
    _add_dial(one)

    one = _command(
        commands,
        "even",
        "fit the slider, so that equal moves make equal moves along the frontier; measured with "
        "the quick suite",
    )
    one.add_argument("weights", help="the file; the fitted slider is written into it")
    one.add_argument("--n", type=int, default=512, help="validation images (default 512)")


def _add_audit(commands) -> None:
    one = _command(
        commands,
        "audit",
        "look for faults in the robustness of one setting; exit code 0 if none is found",
    )
    one.add_argument("weights", help="file of the network (.safetensors)")
    one.add_argument("--lam", type=_lam, help="λ to audit (default: the largest of the recipe)")
    one.add_argument("--width", type=_share, help="width of a slimmable network (default 1)")
    one.add_argument(
        "--claim",
        type=_lam,
        help="robust accuracy that is claimed, in [0, 1] (default: the accuracy under PGD-20)",
    )
    one.add_argument("--claim-n", type=int, help="number of images the claim was measured on")
    one.add_argument(
        "--eps", type=float, default=8, help="radius of the attacks in 1/255 (default 8)"
    )
    one.add_argument("--n", type=int, default=256, help="number of validation images (default 256)")
    one.add_argument("--data", help="data set (default: the one that the network was trained on)")
    one.add_argument("--seed", type=int, default=0, help="seed of the attacks (default 0)")
    one.add_argument(
        "--seconds", type=float, help="time limit of the suite in seconds (default: none)"
    )
    one.add_argument("--json", help="file to write the report to, as JSON")
    one.add_argument("--html", help="file to write the report to, as a web page")


def _add_use(commands) -> None:
    one = _command(
        commands, "choose", "the most robust setting within limits, out of what eval wrote"
    )
    one.add_argument("results", help="the file that eval --json wrote")
    one.add_argument("--min-clean", type=_share, help="clean accuracy, in (0, 1]")
    one.add_argument("--min-robust", type=_share, help="robust accuracy, in (0, 1]")
    one.add_argument("--max-macs", type=float, help="multiply-adds for one image, such as 1e6")
    one.add_argument("--max-parameters", type=float, help="of the plain network of that setting")

    one = _command(commands, "export", "write one setting as ONNX, checked against onnxruntime")
    one.add_argument("weights")
    one.add_argument("--lam", type=_lam)
    one.add_argument("--width", type=_share, help="of a slimmable network (default 1)")
    one.add_argument(
        "--noise-seed",
        type=int,
        default=0,
        help="which draw of noisy weights is frozen (default 0)",
    )
    one.add_argument("--out", required=True, help="the .onnx file")
    _add_dial(one)

    one = _command(commands, "explore", "sliders that move real networks, in the browser")
    one.add_argument(
        "weights", nargs="*", help="files of your own (default: the networks that come with oatlib)"
    )
    one.add_argument(
        "--state", default="", help="where the dials stand, such as 'lam=0.3&width=0.5'"
    )
    one.add_argument(
        "--html",
        metavar="FILE",
        help="write it as one file that needs no Python, instead of opening it",
    )
    one.add_argument(
        "--port", type=int, default=0, help="of the page, on 127.0.0.1 (default: any that is free)"
    )
    one.add_argument("--no-browser", action="store_true", help="only print the address")

    one = _command(commands, "course", "copy the lessons into a folder, to open them in Jupyter")
    one.add_argument(
        "folder", nargs="?", default="oatlib-course", help="is made (default %(default)s)"
    )

    one = _command(commands, "rerun", "run a notebook with other parameters, and keep its record")
    one.add_argument("notebook", help="a file, or the name of a lesson, such as 01_attack")
    one.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        dest="given",
    )
    one.add_argument("--list", action="store_true", help="only print what parameters there are")
    one.add_argument(
        "--out", default=".", help="folder for the executed notebook and its record (default: here)"
    )
    one.add_argument("--name", help="of these two files (default: that of the notebook)")
    one.add_argument("--timeout", type=int, help="seconds that a cell may take (default: any)")


def _add_dial(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--dial",
        type=_rule,
        metavar="RULE",
        help="read λ by this rule instead of the file's; see below",
    )
    one.epilog = _rules


def _rules() -> str:
    """Return the rules that --dial accepts, for the help text."""
    from ..networks.lambdas import RULES

    return "--dial: " + ", ".join(f"{rule} ({about})" for rule, about in RULES.items())


def _command(commands, name: str, about: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=about, description=about)


def _number(complaint: str, zero: bool):
    """Return a parser of numbers in [0, 1], or in (0, 1] if `zero` is False."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1 or (value == 0 and not zero):
            raise argparse.ArgumentTypeError(f"{complaint}, got {text!r}")
        return value

    return parse


_lam = _number("λ must be a number in [0, 1]", zero=True)
_position = _number("a slider position must be a number in [0, 1]", zero=True)
_share = _number("must be a share in (0, 1]", zero=False)


def _rule(text: str) -> str:
    from .._suggest import did_you_mean
    from ..networks.lambdas import RULES

    if text not in RULES:
        raise argparse.ArgumentTypeError(
            f"unknown rule {text!r}{did_you_mean(text, RULES)}: use one of {', '.join(RULES)}"
        )
    return text


def _option(text: str) -> tuple[str, object]:
    """Parse NAME=VALUE. The value is a number, true, false or a list as in JSON, or else a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, such as widths=4, got {text!r}")
    from .._suggest import did_you_mean
    from ..training.recipes import OPTIONS

    if name not in OPTIONS:
        raise argparse.ArgumentTypeError(
            f"a recipe has no option {name!r}{did_you_mean(name, OPTIONS)}; "
            f"it has {', '.join(OPTIONS)}"
        )
    for parse in (json.loads, float):  # numbers like .1 are not valid JSON
        try:
            return name, parse(value)
        except ValueError:
            pass
    return name, value


def _attack(text: str) -> str:
    from .._suggest import lookup

    try:
        return lookup("attack", text, {name: name for name in ATTACKS})
    except ValueError as error:
        raise argparse.ArgumentTypeError(error) from None


def _device(text: str) -> str:
    kind, _, index = text.partition(":")
    if kind not in ("cpu", "cuda") or not (index or "0").isdecimal():
        raise argparse.ArgumentTypeError(f"unknown device {text!r}: use cpu or cuda")
    if kind == "cuda":
        import torch

        if int(index or 0) >= (seen := torch.cuda.device_count()):
            raise argparse.ArgumentTypeError(
                f"{text} is not there: PyTorch {torch.__version__} sees {seen} CUDA "
                "devices. Use cpu, or ask `oatlib doctor`"
            )
    return text
