"""Run the commands of the command line with their parsed options.

`oatlib explore` is not among them: main.py starts its server without PyTorch, see
explorer/server.py.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from functools import partial

from .. import (
    PRESETS,
    History,
    Suite,
    Table,
    audit,
    build,
    choose,
    evaluate,
    export,
    fit_slider,
    load,
    load_data,
    save,
    train,
)
from .._suggest import lookup
from ..attacks.apgd import APGD
from ..attacks.base import Attack
from ..attacks.pgd import FGSM, FGSMRS, PGD
from ..attacks.square import Square
from ..data.load import data_of
from ..evaluation.choose import LIMITS
from ..networks.network import Network
from ..record import check_writable
from .doctor import doctor

# Single attacks by name. `_attack` handles Square and the suites, which take other arguments.
ATTACKS = {"pgd": partial(PGD, steps=20), "apgd": APGD, "fgsm": FGSM, "fgsm-rs": FGSMRS}


def _train(options) -> int:
    for path in filter(None, (options.out, options.checkpoint)):
        check_writable(path)
    if options.resume and not options.checkpoint:
        raise ValueError("--resume needs --checkpoint FILE, the file that the earlier run wrote")
    preset = lookup("preset", options.preset, PRESETS)
    if options.epochs is not None:
        preset = replace(preset, epochs=options.epochs)
    recipe_options = {
        "backbone": options.backbone,
        "seed": options.seed,
        "lam": options.lam,
        **dict(options.options),
    }
    # find wrong options before a download: build once with a small data set
    build(options.recipe, load_data("shapes", n_train=8, n_val=8, n_test=8), **recipe_options)
    amount = {} if options.n_train is None else {"n_train": options.n_train}
    data = load_data(options.data, options.seed, options.device, **amount)
    net = build(options.recipe, data, **recipe_options)
    history = train(net, data, preset, options.seed, options.checkpoint, options.resume)
    save(net, options.out)
    print(
        f"{options.out}: written. Recipe {options.recipe}, training {history.status} after "
        f"{history.seconds:.0f} s{_last_accuracies(history)}"
    )
    exit_codes = {"finished": 0, "interrupted": 130}
    return exit_codes.get(history.status, 1)


def _last_accuracies(history: History) -> str:
    """Return the last accuracies that were measured during training, as the end of a sentence."""
    measured = [row for row in history.rows if "clean" in row]
    if not measured:
        return ""
    last = measured[-1]
    return f"; validation panel: clean {last['clean']:.1%}, robust {last['robust']:.1%}"


def _eval(options) -> int:
    if options.json:
        check_writable(options.json)
    attack = _attack(options)
    net = _with_dial(load(options.weights, options.device), options)
    attack = attack if net.spec.noise else replace(attack, eot_samples=1)
    lams = [net.lam(u) for u in options.slider] if options.slider else options.lam
    for lam in lams or ():
        net.position(lam)
    for width in options.width or ():
        net.width(width)
    data = data_of(net.spec.data, options.data, options.device)
    split = data.test
    if options.n is not None:
        if options.n > len(split):
            raise ValueError(f"--n {options.n}: the test split has only {len(split)} images")
        split = split.panel(options.n)
    table = evaluate(
        net,
        split,
        attack,
        lams,
        options.width,
        seed=options.seed,
        noise_samples=options.noise_samples,
    )
    print(table)
    if options.json:
        table.save(options.json)
    return 0


def _with_dial(net: Network, options) -> Network:
    """Return the network with the rule of --dial, if there is one."""
    return net if options.dial is None else net.with_dial(options.dial)


def _attack(options) -> Attack:
    """Return the attack that --attack and its options describe.

    These are --steps, --restarts, --eps, --norm and --noise-samples.
    """
    pgd_options = {name: getattr(options, name) for name in ("steps", "restarts")}
    pgd_options = {name: value for name, value in pgd_options.items() if value is not None}
    if pgd_options and options.attack not in ("pgd", "apgd"):
        raise ValueError(
            f"--{' and --'.join(pgd_options)} can be used with --attack pgd or --attack apgd only, "
            f"got --attack {options.attack}"
        )
    if options.attack == "square" and options.norm != "linf":
        raise ValueError(
            f"--attack square can be used with --norm linf only, got --norm {options.norm}"
        )
    common = {"eps": options.eps / 255, "eot_samples": options.noise_samples}
    if options.attack == "square":
        return Square(**common)
    common["norm"] = options.norm
    if options.attack in ATTACKS:
        return ATTACKS[options.attack](**common, **pgd_options)
    budget = "fast" if options.attack == "suite" else options.attack
    return Suite(**common, budget=budget)


def _audit(options) -> int:
    for path in filter(None, (options.json, options.html)):
        check_writable(path)
    if options.n < 1:
        raise ValueError(f"--n must be at least 1, got {options.n}")
    net = load(options.weights)
    # Find a wrong setting before the data are loaded.
    net.position(net.spec.stops[-1] if options.lam is None else options.lam, options.width)
    report = audit(
        net,
        data_of(net.spec.data, options.data),
        options.lam,
        options.width,
        eps=options.eps / 255,
        claim=options.claim,
        claim_n=options.claim_n,
        n=options.n,
        seed=options.seed,
        seconds=options.seconds,
    )
    print(report)
    for path in filter(None, (options.json, options.html)):
        report.save(path)
    return 0 if report.stands else 1


def _fit_slider(options) -> int:
    net = load(options.weights)
    fit_slider(net, data_of(net.spec.data), n=options.n)
    save(net, options.weights)
    positions = [0, 0.2, 0.4, 0.6, 0.8, 1]
    pairs = ", ".join(f"{position:g} is {net.lam(position):.3f}" for position in positions)
    print(f"{options.weights}: slider written. λ at slider position: {pairs}")
    return 0


def _choose(options) -> int:
    limits = {name: getattr(options, name) for name in LIMITS}
    best = choose(Table.load(options.results), **limits)
    print(Table([best]))
    if best.macs:
        lam = "" if best.lam is None else f"--lam {best.lam:g} "
        print(
            f"{best.macs:,} multiply-adds per image, {best.parameters:,} parameters\n"
            "To write this setting as ONNX: oatlib export WEIGHTS "
            f"{lam}--width {best.width:g} --out model.onnx"
        )
    return 0


def _export(options) -> int:
    check_writable(options.out)
    net = _with_dial(load(options.weights), options)
    gap = export(net, options.out, options.lam, options.width, noise_seed=options.noise_seed)
    print(
        f"{options.out}: written. onnxruntime agrees with PyTorch: the logits differ by at most "
        f"{gap:.1g}"
    )
    return 0


def _rerun(options) -> int:
    from .. import rerun  # without the extra `lab`, this import says how to install it
    from ..reruns.rerun import RerunError, describe

    if options.list:
        print(describe(options.notebook))
        return 0
    names = [name for name, _ in options.parameters]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"-p {name} is used {names.count(name)} times: use it once")
    try:
        result = rerun(
            options.notebook,
            dict(options.parameters),
            options.out,
            name=options.name,
            timeout=options.timeout,
        )
    except RerunError as error:
        print(f"oatlib rerun: {error}", file=sys.stderr)
        return 1
    print(result)
    return 0


def _course(options) -> int:
    from ..reruns.copies import copy_lessons

    lessons = copy_lessons(options.folder)
    print(
        f"{options.folder}: {len(lessons)} lessons written. Open the first one with\n"
        f"jupyter lab {shlex.quote(str(lessons[0]))}"
    )
    return 0


COMMANDS = {
    "train": _train,
    "eval": _eval,
    "audit": _audit,
    "fit-slider": _fit_slider,
    "choose": _choose,
    "export": _export,
    "course": _course,
    "rerun": _rerun,
    "doctor": lambda _: doctor(),
}
