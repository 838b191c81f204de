"""Run the commands of the command line with their parsed options.

`oatlib explore` is not among them: main.py starts its server without PyTorch, see
explorer/server.py.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path

from .. import (
    PRESETS,
    History,
    Preset,
    Table,
    audit,
    build,
    choose,
    evaluate,
    export,
    fit_slider,
    load,
    load_data,
    load_published,
    save,
    train,
)
from .._check import USER_ERRORS
from .._processes import Processes, ProcessesError, is_reported, join_processes
from .._suggest import lookup
from ..attacks.named import attack_by_name
from ..data.load import data_of
from ..evaluation.choose import LIMITS
from ..explorer.own_copy import is_elsewhere
from ..networks.compiled import Compiler, compiler_for
from ..networks.history import facts_of, results_of
from ..networks.lambdas import listed
from ..networks.network import Network
from ..networks.ready import ready_path
from ..record import RecordError, claimed, rescue, same_file, write_json
from .doctor import doctor


def _writes(*names: str):
    """Make a command check and claim its outputs before it starts, until it ends.

    Args:
        *names: Names of the options that hold paths of outputs, or None.
    """

    def decorate(command: Callable) -> Callable:
        @wraps(command)
        def run(options) -> int:
            paths = [getattr(options, name) for name in names]
            weights = getattr(options, "weights", None)
            for path in paths:
                if "weights" not in names and weights and path and same_file(path, weights):
                    raise ValueError(f"{path} is the network: choose another file for the output")
            with claimed(*paths):
                return command(options)

        return run

    return decorate


def _save(write: Callable[[Path], object], path, options, what: str, *folders) -> bool:
    """Write a result. If that fails, write it to another place, and say where.

    Args:
        write: Writes the result to the path that it is given.
        path: Where to write it.
        options: The options of the command, for its name.
        what: What the result is, for the message.
        *folders: Other folders to try.

    Returns:
        Whether it was written to `path`.
    """
    try:
        write(path)
    except RecordError as error:
        rescued = rescue(write, path, folders)
        where = f"is in {rescued}" if rescued else "could not be written to any other folder"
        print(f"oatlib {options.command}: {error}. The {what} {where}", file=sys.stderr)
        return False
    return True


def _train(options) -> int:
    with join_processes(options.device, options.sync_batchnorm) as processes:
        try:
            # Only one process writes.
            with ExitStack() as claims:
                with processes.agreed(USER_ERRORS, ProcessesError):
                    if processes.first:
                        claims.enter_context(claimed(options.out))
                    preset, compiler, recipe_options = _checked_training(options, processes)
                return _train_in(processes, options, preset, compiler, recipe_options)
        except USER_ERRORS as error:
            if is_reported(error):
                return 2
            raise


def _checked_training(options, processes: Processes) -> tuple[Preset, Compiler | None, dict]:
    """Check the options of a training before a download.

    Returns:
        The preset, the compiler if attacks run compiled, and the options of `build`.
    """
    checkpoint = options.checkpoint
    if checkpoint and same_file(checkpoint, options.out):
        raise ValueError(f"--checkpoint and --out must be two files, both are {options.out}")
    with claimed(checkpoint if processes.first else None):  # training does it again
        pass
    if options.resume and not options.checkpoint:
        raise ValueError("--resume needs --checkpoint FILE, the file that the earlier run wrote")
    preset = lookup("preset", options.preset, PRESETS)
    if options.epochs is not None:
        preset = replace(preset, epochs=options.epochs)
    if options.eps is not None:
        preset = preset.at_eps(options.eps / 255)
    recipe_options = {
        "backbone": options.backbone,
        "seed": options.seed,
        "lam": options.lam,
        **dict(options.options),
    }
    compiler = compiler_for(options.compiled or None, options.device)
    # find wrong options by building once with a small data set
    build(options.recipe, load_data("shapes", n_train=8, n_val=8, n_test=8), **recipe_options)
    return preset, compiler, recipe_options


def _train_in(
    processes: Processes, options, preset: Preset, compiler: Compiler | None, recipe_options: dict
) -> int:
    """Train as one of several processes, usually the only one."""
    checkpoint = options.checkpoint
    data_options = dict(options.data_options)
    if options.n_train is not None:
        data_options["n_train"] = options.n_train
    data_seed = options.seed if options.data_seed is None else options.data_seed
    with processes.agreed(USER_ERRORS, ProcessesError), processes.one_before_the_others():
        data = load_data(options.data, data_seed, processes.device(options.device), **data_options)
    net = build(options.recipe, data, **recipe_options)
    history = train(
        net,
        data,
        preset,
        options.seed,
        checkpoint,
        options.resume,
        compiled=compiler,
        processes=processes,
    )
    exit_code = {"finished": 0, "interrupted": 130}.get(history.status, 1)
    if not processes.first:
        return exit_code
    folders = [Path(checkpoint).parent] if checkpoint else []
    saved = _save(partial(save, net), options.out, options, "trained network", *folders)
    print(
        f"{options.out}: {'written' if saved else 'not written'}. Recipe {options.recipe}, "
        f"training {history.status} after {history.seconds:.0f} s{_last_accuracies(history)}"
    )
    if history.compiled not in ("yes", "no"):
        print(f"attacks ran uncompiled: {history.compiled}")
    if not saved:
        if checkpoint and Path(checkpoint).is_file():
            print(f"--resume continues from {checkpoint}, and writes {options.out} at the end")
        return 1
    return exit_code


def _last_accuracies(history: History) -> str:
    """Return the last accuracies that were measured during training, as the end of a sentence."""
    measured = [row for row in history.rows if "clean" in row]
    # A run that has failed goes back to the weights of an earlier epoch.
    if not measured or history.status == "stopped":
        return ""
    last = measured[-1]
    return f"; validation panel: clean {last['clean']:.1%}, robust {last['robust']:.1%}"


@_writes("json")
def _eval(options) -> int:
    attack = attack_by_name(
        options.attack,
        options.eps / 255,
        options.norm,
        steps=options.steps,
        restarts=options.restarts,
        eot_samples=options.noise_samples,
        mark="--",
    )
    compiler = compiler_for(options.compiled or None, options.device)
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
        compiled=compiler,
    )
    print(table)  # before it is saved, so that it is seen in any case
    saved = not options.json or _save(table.save, options.json, options, "table of results")
    return 0 if saved else 1


def _with_dial(net: Network, options) -> Network:
    """Return the network with the rule of --dial, if there is one."""
    return net if options.dial is None else net.with_dial(options.dial)


@_writes("json", "html")
def _audit(options) -> int:
    net = load(options.weights)
    # Find a wrong setting before the data are loaded.
    net.position(net.spec.stops[-1] if options.lam is None else options.lam, options.width)
    data = data_of(net.spec.data, options.data)
    report = audit(
        net,
        # Of the user's own copy, the validation split may hold training images of the network.
        data.test if is_elsewhere(net.spec) else data,
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
    paths = filter(None, (options.json, options.html))
    saved = [_save(report.save, path, options, "report") for path in paths]
    return 0 if report.stands and all(saved) else 1


@_writes("weights")
def _fit_slider(options) -> int:
    net = load(options.weights)
    fit_slider(net, data_of(net.spec.data), n=options.n)
    saved = _save(partial(save, net), options.weights, options, "network with its slider")
    positions = [0, 0.2, 0.4, 0.6, 0.8, 1]
    pairs = ", ".join(f"{position:g} is {net.lam(position):.3f}" for position in positions)
    written = "slider written" if saved else "not written"
    print(f"{options.weights}: {written}. λ at slider position: {pairs}")
    return 0 if saved else 1


def _info(options) -> int:
    path = Path(options.network)
    if not path.exists() and path.suffix != ".safetensors":
        path = ready_path(options.network)
    net = load(path)
    rows = [("file", str(path)), *facts_of(net)]
    width = max(len(word) for word, _ in rows)
    for word, text in rows:
        print(f"{word:{width}}  {text}")
    if results := results_of(net):
        print(f"\n{results['title']}")
        for row in (results["headings"], *results["rows"]):
            print("".join(f"{text:>9}" for text in row))
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


@_writes("out")
def _export(options) -> int:
    net = _with_dial(load(options.weights), options)
    gap = export(net, options.out, options.lam, options.width, noise_seed=options.noise_seed)
    print(
        f"{options.out}: written. onnxruntime agrees with PyTorch: the logits differ by at most "
        f"{gap:.1g}"
    )
    return 0


@_writes("out")
def _convert(options) -> int:
    net = load_published(
        options.weights,
        options.layout,
        data=options.data,
        codes=options.codes,
        stops=options.stops,
        backbone=options.backbone,
    )
    saved = _save(partial(save, net), options.out, options, "network")
    spec, source = net.spec, net.trained[-1]
    codes = f"; λ codes: {source['codes']}" if "codes" in source else ""
    print(
        f"{options.out}: {'written' if saved else 'not written'}. {spec.recipe} on "
        f"{spec.backbone}, {sum(p.numel() for p in net.parameters()):,} parameters, for "
        f"{spec.data['name']}; λ stops {listed(spec.stops)}; widths {listed(spec.widths)}{codes}"
    )
    return 0 if saved else 1


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


def _sweep(options) -> int:
    from .. import read_plan, sweep
    from ..sweeps.pool import check_installed

    plan = read_plan(options.plan)
    print(plan)
    if options.dry_run:
        return 0
    if options.out is None:
        raise ValueError("--out FOLDER is missing: the folder for the results (or --dry-run)")
    if options.workers != 0:
        check_installed()
    done = sweep(
        plan,
        options.out,
        workers=options.workers,
        threads=options.threads,
        scheduler=options.scheduler,
        dashboard=options.dashboard,
    )
    print(done)
    print(f"report: {shlex.join(['oatlib', 'report', options.out])}")
    return 1 if done.failed else 0


def _report(options) -> int:
    from .. import sweep_report

    report = sweep_report(options.folder)
    print(report)
    path = options.html or Path(options.folder) / "report.html"
    with claimed(path, options.notebook):
        saved = [_save(report.save, path, options, "page")]
        print(f"{path}: {'written. It needs no network' if saved[0] else 'not written'}")
        if options.notebook:
            saved.append(_save(report.save_notebook, options.notebook, options, "notebook"))
            print(f"{options.notebook}: {'written' if saved[1] else 'not written'}")
    return 0 if all(saved) else 1


def _course(options) -> int:
    from ..reruns.copies import copy_lessons

    lessons = copy_lessons(options.folder)
    print(
        f"{options.folder}: {len(lessons)} lessons written. Open the first one with\n"
        f"jupyter lab {shlex.quote(str(lessons[0]))}"
    )
    return 0


@_writes("html")
def _class(options) -> int:
    from ..course.class_report import read_class

    report = read_class(options.folder)
    print(report)
    if options.html and not _save(report.save, options.html, options, "report"):
        return 1
    return 0


@_writes("json")
def _claims(options) -> int:
    from ..claims import board

    judged = board.rows(options.name and [options.name], options.records)
    print(board.in_full(judged[0]) if options.name else board.as_text(judged))
    write = partial(write_json, value=board.as_json(judged))
    return 0 if not options.json or _save(write, options.json, options, "claims") else 1


COMMANDS = {
    "train": _train,
    "eval": _eval,
    "audit": _audit,
    "fit-slider": _fit_slider,
    "info": _info,
    "choose": _choose,
    "export": _export,
    "convert": _convert,
    "course": _course,
    "class": _class,
    "claims": _claims,
    "rerun": _rerun,
    "sweep": _sweep,
    "report": _report,
    "doctor": lambda _: doctor(),
}
