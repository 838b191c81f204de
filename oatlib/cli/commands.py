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
    Suite,
    Table,
    build,
    check,
    choose,
    evaluate,
    even_dial,
    export,
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
    preset = lookup("preset", options.preset, PRESETS)
    if options.epochs is not None:
        preset = replace(preset, epochs=options.epochs)
    wanted = {
        "backbone": options.backbone,
        "seed": options.seed,
        "lam": options.lam,
        **dict(options.options),
    }
    # find wrong options before a download: build once with a small data set
    build(options.recipe, load_data("shapes", n_train=8, n_val=8, n_test=8), **wanted)
    amount = {} if options.n_train is None else {"n_train": options.n_train}
    data = load_data(options.data, options.seed, options.device, **amount)
    net = build(options.recipe, data, **wanted)
    history = train(net, data, preset, options.seed, options.checkpoint, options.resume)
    save(net, options.out)
    seen = next((row for row in reversed(history.rows) if "clean" in row), None)
    watched = (
        f", validation panel: clean {seen['clean']:.1%}, robust {seen['robust']:.1%}"
        if seen
        else ""
    )
    print(
        f"{options.out}: {options.recipe} {history.status} after {history.seconds:.0f} s{watched}"
    )
    return {"finished": 0, "interrupted": 130}.get(history.status, 1)


def _eval(options) -> int:
    if options.json:
        check_writable(options.json)
    attack = _attack(options)
    net = _with_dial(load(options.weights, options.device), options)
    attack = attack if net.spec.noise else replace(attack, eot_samples=1)
    lams = [net.lam(u) for u in options.slider] if options.slider else options.lam
    for lam in lams or ():
        net.check(lam)
    for width in options.width or ():
        net.width(width)
    data = data_of(net.spec.data, options.data, options.device)
    split = data.test if options.n is None else data.test.panel(options.n)
    table = evaluate(
        net, split, attack, lams, options.width, seed=options.seed, draws=options.draws
    )
    print(table)
    if options.json:
        table.save(options.json)
    return 0


def _with_dial(net: Network, options) -> Network:
    """Return the network with the rule of --dial, if there is one."""
    return net if options.dial is None else net.with_dial(options.dial)


def _attack(options) -> Attack:
    """Return the attack that --attack, --steps, --restarts, --eps, --norm and --draws describe."""
    own = {
        name: value
        for name in ("steps", "restarts")
        if (value := getattr(options, name)) is not None
    }
    if own and options.attack not in ("pgd", "apgd"):
        raise ValueError(
            f"--{' and --'.join(own)}: only of --attack pgd and apgd, got --attack {options.attack}"
        )
    if options.attack == "square" and options.norm != "linf":
        raise ValueError(f"--attack square paints L-infinity squares, got --norm {options.norm}")
    if options.draws < 1:
        raise ValueError(f"--draws must be at least 1, got {options.draws}")
    same = {"eps": options.eps / 255, "eot_samples": options.draws}
    if options.attack == "square":
        return Square(**same)
    same["norm"] = options.norm
    if options.attack in ATTACKS:
        return ATTACKS[options.attack](**same, **own)
    return Suite(**same, budget="fast" if options.attack == "suite" else options.attack)


def _check(options) -> int:
    for path in filter(None, (options.json, options.html)):
        check_writable(path)
    if options.n < 1:
        raise ValueError(f"--n must be at least 1, got {options.n}")
    net = load(options.weights)
    # find a wrong setting before any work
    net.check(net.spec.stops[-1] if options.lam is None else options.lam, options.width)
    report = check(
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
    print(
        f"{best.macs:,} multiply-adds an image, {best.parameters:,} parameters"
        if best.macs
        else "",
        end="",
    )
    print(
        f"; oatlib export WEIGHTS {' '.join(where)} --out model.onnx writes it" if best.macs else ""
    )
    return 0


def _export(options) -> int:
    check_writable(options.out)
    net = _with_dial(load(options.weights), options)
    gap = export(net, options.out, options.lam, options.width, noise_seed=options.noise_seed)
    print(f"{options.out}: written; onnxruntime agrees with PyTorch to {gap:.1g}")
    return 0


def _rerun(options) -> int:
    from .. import rerun  # without the extra `lab`, this import says how to install it
    from ..reruns.rerun import RerunError, describe

    if options.list:
        print(describe(options.notebook))
        return 0
    names = [name for name, _ in options.given]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"-p {name} is given twice")
    try:
        print(
            rerun(
                options.notebook,
                dict(options.given),
                options.out,
                name=options.name,
                timeout=options.timeout,
            )
        )
    except RerunError as error:
        print(f"oatlib rerun: {error}", file=sys.stderr)
        return 1
    return 0


def _course(options) -> int:
    from ..reruns.copies import copy_lessons

    lessons = copy_lessons(options.folder)
    print(
        f"{len(lessons)} lessons are in {options.folder}: open the first one with\n"
        f"jupyter lab {shlex.quote(str(lessons[0]))}"
    )
    return 0


COMMANDS = {
    "train": _train,
    "eval": _eval,
    "check": _check,
    "even": _even,
    "choose": _choose,
    "export": _export,
    "course": _course,
    "rerun": _rerun,
    "doctor": lambda _: doctor(),
}
