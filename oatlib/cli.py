"""The shell's way in: `oatlib train | eval | export | explore | doctor`. Bad input ends in one sentence and exit code 2."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from . import PRESETS, RECIPES, RecordError, __version__, build, evaluate, export, load, load_data, save, train
from .attacks import FGSM, PGD
from .backbones import BACKBONES
from .doctor import doctor


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
        print(f"oatlib {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("oatlib", description="Once-for-all adversarial training: learn, explore, measure.")
    parser.add_argument("--version", action="version", version=f"oatlib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    one = _command(commands, "train", _train, "train a recipe and write its weights")
    one.add_argument("recipe", help=f"one of {', '.join(RECIPES)}")
    _data_arguments(one, "shapes")
    one.add_argument("--backbone", default="tiny", help=f"one of {', '.join(BACKBONES)}")
    one.add_argument("--lam", type=float, help="the one λ of pgd-at")
    one.add_argument("--preset", default="fast", help=f"one of {', '.join(PRESETS)}")
    one.add_argument("--epochs", type=int, help="instead of the preset's")
    one.add_argument("--checkpoint", help="save the state here after every epoch")
    one.add_argument("--resume", action="store_true", help="go on from --checkpoint")
    one.add_argument("--out", required=True, help="where the weights go (.safetensors)")

    one = _command(commands, "eval", _eval, "clean and robust accuracy on the test split, per λ")
    one.add_argument("weights")
    _data_arguments(one, None)
    one.add_argument("--attack", default="pgd", choices=("pgd", "fgsm"))
    one.add_argument("--steps", type=int, default=20, help="of PGD")
    one.add_argument("--restarts", type=int, default=1, help="of PGD")
    one.add_argument("--eps", type=float, default=8, help="in 1/255 (default 8)")
    one.add_argument("--norm", default="linf", choices=("linf", "l2"))
    one.add_argument("--lam", type=float, nargs="+", help="other λ than the recipe's stops")
    one.add_argument("--n", type=int, help="only this many test images, class-balanced")
    one.add_argument("--json", help="write the results here, too")

    one = _command(commands, "export", _export, "write one setting as ONNX, checked against onnxruntime")
    one.add_argument("weights")
    one.add_argument("--lam", type=float)
    one.add_argument("--out", required=True, help="the .onnx file")

    one = _command(commands, "explore", _explore, "train or load OAT on shapes and show its trade-off")
    one.add_argument("--weights", default="data/oat-shapes.safetensors", help="made if missing (default %(default)s)")

    _command(commands, "doctor", lambda _: doctor(), "versions, device, threads, and what does not work here")
    return parser


def _command(commands, name: str, run, about: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run)
    return parser


def _data_arguments(parser, default: str | None) -> None:
    parser.add_argument("--data", default=default, help="data set; the one it was trained on by default"
                        if default is None else "data set (default %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of data, weights and attack (default 0)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")


def _train(options) -> int:
    _writable(options.out)
    data = load_data(options.data, seed=options.seed, device=options.device)
    net = build(options.recipe, data, options.backbone, options.seed, options.lam)
    changes = {} if options.epochs is None else {"epochs": options.epochs}
    history = train(
        net, data, options.preset, options.seed, checkpoint=options.checkpoint, resume=options.resume, **changes
    )
    save(net, options.out)
    last = history.rows[-1] if history.rows else None
    watched = f", validation panel: clean {last['clean']:.1%}, robust {last['robust']:.1%}" if last else ""
    print(f"{options.out}: {options.recipe} {history.status} after {history.seconds:.0f} s{watched}")
    return {"finished": 0, "interrupted": 130}.get(history.status, 1)


def _eval(options) -> int:
    if options.json:
        _writable(options.json)
    net = load(options.weights, options.device)
    if options.data is None:
        data = load_data(net.spec.data["name"], device=options.device, **net.spec.data["options"])
    else:
        data = load_data(options.data, seed=options.seed, device=options.device)
    eps = options.eps / 255
    attack = FGSM(eps) if options.attack == "fgsm" else PGD(eps, options.steps, norm=options.norm, restarts=options.restarts)
    split = data.test if options.n is None else data.test.panel(options.n)
    table = evaluate(net, split, attack, options.lam, seed=options.seed)
    print(table)
    if options.json:
        table.save(options.json)
    return 0


def _export(options) -> int:
    _writable(options.out)
    gap = export(load(options.weights), options.out, options.lam)
    print(f"{options.out}: written; onnxruntime agrees with PyTorch to {gap:.1g}")
    return 0


def _explore(options) -> int:
    path = Path(options.weights)
    data = load_data("shapes", seed=0)
    if path.exists():
        net = load(path)
    else:
        print(f"training OAT on shapes once (it is kept in {path})")
        net = build("oat", data, seed=0)
        train(net, data, seed=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(net, path)
    print(evaluate(net, data.test.panel(512)))
    print("The explorer with its sliders will open here. Until then: net.at(lam) gives any λ in [0, 1].")
    return 0


def _writable(path) -> None:
    """Complain about an output path before the work, not after it."""
    if not Path(path).parent.is_dir():
        raise RecordError(f"cannot write {path}: the folder {Path(path).parent} does not exist")
    if Path(path).is_dir():
        raise RecordError(f"cannot write {path}: it is a folder")
