"""The shell's way in: `oatlib train | eval | even | choose | export | explore | rerun | doctor`.

Bad input ends in one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from dataclasses import replace

import torch

from . import (
    PRESETS,
    RECIPES,
    Table,
    __version__,
    build,
    choose,
    evaluate,
    even_dial,
    export,
    load,
    load_data,
    save,
    train,
)
from .attacks import FGSM, PGD
from .backbones import BACKBONES
from .choose import LIMITS
from .data import data_of
from .doctor import doctor
from .evaluate import DRAWS
from .recipes import OPTIONS
from .record import check_writable
from .spec import did_you_mean, lookup


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # not every terminal or pipe has a λ
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
            return options.run(options) or 0
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
        print(f"oatlib {options.command}: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """One line; argparse would print the usage, too."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("oatlib", description="Once-for-all adversarial training: learn, explore, measure.")
    parser.add_argument("--version", action="version", version=f"oatlib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_eval(commands)
    _add_use(commands)
    _command(commands, "doctor", lambda _: doctor(), "versions, device, threads, and what does not work here")
    return parser


def _add_train(commands) -> None:
    one = _command(commands, "train", _train, "train a recipe and write its weights")
    one.add_argument("recipe", help=f"one of {', '.join(RECIPES)}")
    one.add_argument("--data", default="shapes", help="data set (default %(default)s)")
    one.add_argument("--n-train", type=int, help="only this many training images")
    one.add_argument("--seed", type=int, default=0, help="of data, weights and training (default 0)")
    one.add_argument("--backbone", default="tiny", help=f"one of {', '.join(BACKBONES)}")
    one.add_argument("--lam", type=_lam, help="the one λ of pgd-at")
    one.add_argument("--set", type=_option, action="append", default=[], metavar="NAME=VALUE", dest="options",
                     help=f"another value in the recipe's row, such as widths=4; {', '.join(OPTIONS)}")  # fmt: skip
    one.add_argument("--preset", default="fast", help=f"one of {', '.join(PRESETS)}")
    one.add_argument("--epochs", type=int, help="instead of the preset's")
    one.add_argument("--device", type=_device, default="cpu", help="cpu or cuda (default cpu)")
    one.add_argument("--checkpoint", help="save the state here after every epoch")
    one.add_argument("--resume", action="store_true", help="go on from --checkpoint")
    one.add_argument("--out", required=True, help="where the weights go (.safetensors)")


def _add_eval(commands) -> None:
    one = _command(commands, "eval", _eval, "clean and robust accuracy on the test split, per λ")
    one.add_argument("weights")
    one.add_argument("--data", help="another data set than the one it was trained on")
    one.add_argument("--seed", type=int, default=0, help="of the attack (default 0)")
    one.add_argument("--device", type=_device, default="cpu", help="cpu or cuda (default cpu)")
    one.add_argument("--attack", default="pgd", choices=("pgd", "fgsm"))
    one.add_argument("--steps", type=int, default=20, help="of PGD (default 20)")
    one.add_argument("--restarts", type=int, default=1, help="of PGD (default 1)")
    one.add_argument("--eps", type=float, default=8, help="in 1/255 (default 8)")
    one.add_argument("--norm", default="linf", choices=("linf", "l2"))
    one.add_argument("--draws", type=int, default=DRAWS, help="of noisy weights (default 10)")
    where = one.add_mutually_exclusive_group()
    where.add_argument("--lam", type=_lam, nargs="+", help="other λ than the recipe's stops")
    where.add_argument("--slider", type=_position, nargs="+", help="slider positions instead of λ, see oatlib even")
    one.add_argument("--width", type=_share, nargs="+", help="only these widths of a slimmable network (default: all)")
    one.add_argument("--n", type=int, help="only this many test images, class-balanced")
    one.add_argument("--json", help="write the results here, too")

    one = _command(commands, "even", _even, "fit the slider: equal moves shall make equal moves along the frontier")
    one.add_argument("weights", help="the file; the fitted slider is written into it")
    one.add_argument("--n", type=int, default=512, help="validation images (default 512)")


def _add_use(commands) -> None:
    one = _command(commands, "choose", _choose, "the most robust setting within limits, out of what eval wrote")
    one.add_argument("results", help="the file that eval --json wrote")
    one.add_argument("--min-clean", type=_share, help="clean accuracy, in (0, 1]")
    one.add_argument("--min-robust", type=_share, help="robust accuracy, in (0, 1]")
    one.add_argument("--max-macs", type=float, help="multiply-adds for one image, such as 1e6")
    one.add_argument("--max-parameters", type=float, help="of the plain network of that setting")

    one = _command(commands, "export", _export, "write one setting as ONNX, checked against onnxruntime")
    one.add_argument("weights")
    one.add_argument("--lam", type=_lam)
    one.add_argument("--width", type=_share, help="of a slimmable network (default 1)")
    one.add_argument("--noise-seed", type=int, default=0, help="which draw of noisy weights is frozen (default 0)")
    one.add_argument("--out", required=True, help="the .onnx file")

    one = _command(commands, "explore", _explore, "sliders that move real networks, in the browser")
    one.add_argument("weights", nargs="*", help="files of your own (default: the networks that come with oatlib)")
    one.add_argument("--state", default="", help="where the dials stand, such as 'lam=0.3&width=0.5'")
    one.add_argument("--html", metavar="FILE", help="write it as one file that needs no Python, instead of opening it")
    one.add_argument("--port", type=int, default=0, help="of the page, on 127.0.0.1 (default: any that is free)")
    one.add_argument("--no-browser", action="store_true", help="only print the address")

    one = _command(commands, "rerun", _rerun, "run a notebook with other parameters, and keep its record")
    one.add_argument("notebook", help="a file, or the name of a lesson, such as 01_attack")
    one.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="given")
    one.add_argument("--list", action="store_true", help="only print what parameters there are")
    one.add_argument("--out", default=".", help="folder for the executed notebook and its record (default: here)")
    one.add_argument("--name", help="of these two files (default: that of the notebook)")
    one.add_argument("--timeout", type=int, help="seconds that a cell may take (default: any)")


def _command(commands, name: str, run, about: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run)
    return parser


def _number(complaint: str, zero: bool):
    """A parser of numbers in [0, 1], or in (0, 1] if zero makes no sense."""

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


def _option(text: str) -> tuple[str, object]:
    """name=value, where the value is a number, true, false or a list as in JSON, or else a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, such as widths=4, got {text!r}")
    if name not in OPTIONS:
        raise argparse.ArgumentTypeError(f"a recipe has no option {name!r}{did_you_mean(name, OPTIONS)}; "
                                         f"it has {', '.join(OPTIONS)}")  # fmt: skip
    for parse in (json.loads, float):  # JSON knows no .1
        try:
            return name, parse(value)
        except ValueError:
            pass
    return name, value


def _device(text: str) -> str:
    kind, _, index = text.partition(":")
    if kind not in ("cpu", "cuda") or not (index or "0").isdecimal():
        raise argparse.ArgumentTypeError(f"unknown device {text!r}: use cpu or cuda")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(
            f"{text} is not there: PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices. "
            "Use cpu, or ask `oatlib doctor`"
        )
    return text


def _train(options) -> int:
    for path in filter(None, (options.out, options.checkpoint)):
        check_writable(path)
    preset = lookup("preset", options.preset, PRESETS)
    if options.epochs is not None:
        preset = replace(preset, epochs=options.epochs)
    wanted = {"backbone": options.backbone, "seed": options.seed, "lam": options.lam, **dict(options.options)}
    build(options.recipe, load_data("shapes", n_train=8, n_val=8, n_test=8), **wanted)  # complains before a download
    amount = {} if options.n_train is None else {"n_train": options.n_train}
    data = load_data(options.data, options.seed, options.device, **amount)
    net = build(options.recipe, data, **wanted)
    history = train(net, data, preset, options.seed, options.checkpoint, options.resume)
    save(net, options.out)
    seen = next((row for row in reversed(history.rows) if "clean" in row), None)
    watched = f", validation panel: clean {seen['clean']:.1%}, robust {seen['robust']:.1%}" if seen else ""
    print(f"{options.out}: {options.recipe} {history.status} after {history.seconds:.0f} s{watched}")
    return {"finished": 0, "interrupted": 130}.get(history.status, 1)


def _eval(options) -> int:
    if options.json:
        check_writable(options.json)
    eps = options.eps / 255
    net = load(options.weights, options.device)
    pgd = PGD(eps, options.steps, norm=options.norm, restarts=options.restarts, draws=options.draws)
    attack = FGSM(eps, options.norm, draws=options.draws) if options.attack == "fgsm" else pgd
    attack = attack if net.spec.noise else replace(attack, draws=1)
    lams = [net.lam(u) for u in options.slider] if options.slider else options.lam
    for lam in lams or ():
        net.check(lam)
    for width in options.width or ():
        net.width(width)
    data = data_of(net.spec.data, options.data, options.device)
    split = data.test if options.n is None else data.test.panel(options.n)
    table = evaluate(net, split, attack, lams, options.width, seed=options.seed, draws=options.draws)
    print(table)
    if options.json:
        table.save(options.json)
    return 0


def _even(options) -> int:
    net = load(options.weights)
    even_dial(net, data_of(net.spec.data), n=options.n)
    save(net, options.weights)
    print("slider: " + "  ".join(f"{i / 10:g} -> λ {net.lam(i / 10):.3f}" for i in range(0, 11, 2)))
    return 0


def _choose(options) -> int:
    limits = {name: getattr(options, name) for name in LIMITS}
    best = choose(Table.load(options.results), **limits)
    print(Table([best]))
    where = [f"--lam {best.lam:g}"] * (best.lam is not None) + [f"--width {best.width:g}"]
    print(f"{best.macs:,} multiply-adds an image, {best.parameters:,} parameters" if best.macs else "", end="")
    print(f"; oatlib export WEIGHTS {' '.join(where)} --out model.onnx writes it" if best.macs else "")
    return 0


def _export(options) -> int:
    check_writable(options.out)
    gap = export(load(options.weights), options.out, options.lam, options.width, noise_seed=options.noise_seed)
    print(f"{options.out}: written; onnxruntime agrees with PyTorch to {gap:.1g}")
    return 0


def _explore(options) -> int:
    from .lab import app  # needs the lab extra

    if options.html:
        size = app.write(options.html, options.weights, options.state)
        print(f"{options.html}: {size / 1e6:.2f} MB, open it in any browser")
        return 0
    return app.serve(options.weights, options.state, options.port, not options.no_browser)


def _rerun(options) -> int:
    from . import rerun  # needs the lab extra, and says so
    from .reruns import RerunError, describe

    if options.list:
        print(describe(options.notebook))
        return 0
    names = [name for name, _ in options.given]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"-p {name} is given twice")
    try:
        print(rerun(options.notebook, dict(options.given), options.out, name=options.name, timeout=options.timeout))
    except RerunError as error:
        print(f"oatlib rerun: {error}", file=sys.stderr)
        return 1
    return 0
