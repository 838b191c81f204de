"""Run functions in several processes that train together, as torchrun would start them.

The processes are forked from a server that has imported PyTorch already, so that one costs a tenth of a second. They
import this file only: what they run stands here.
"""

import contextlib
import io
import multiprocessing
import os
import pickle
import signal
import socket
import traceback

import torch
import torch._dynamo  # the first step of an optimiser imports it: once in the server, not in every process

import oatlib
from oatlib._processes import ALONE
from oatlib.cli import commands, main

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.many"])
PATIENCE = 120  # seconds; a test that hangs fails


def run(work, *arguments, count=2):
    """Call `work(*arguments)` in `count` processes. Return what each gave back.

    The text of an error stands for a process that raised one, and None for one that was killed.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    pipes = []
    for rank in range(count):
        ours, theirs = FORKED.Pipe(duplex=False)
        process = FORKED.Process(target=_work, args=(theirs, rank, count, port, work, arguments), daemon=True)
        process.start()
        theirs.close()
        pipes.append((process, ours))
    answers = []
    for process, pipe in pipes:
        assert pipe.poll(PATIENCE), "a process hangs"
        try:
            answers.append(pickle.loads(pipe.recv_bytes()))
        except EOFError:
            answers.append(None)
        process.join(PATIENCE)
    return answers


def _work(pipe, rank, count, port, work, arguments):
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        answer = work(*arguments)
    except BaseException:
        answer = traceback.format_exc()
    pipe.send_bytes(pickle.dumps(answer))  # copies tensors, instead of sharing their memory


# --- what they run ---


def data():
    return oatlib.load_data("shapes", n_train=128, n_val=32, n_test=8)


def train(recipe, options, changes, steps=None, processes=ALONE, **arguments):
    """Take some steps (None: all). Return the state of the network, the loss and the run's status."""
    images = data()
    net = oatlib.build(recipe, images, **options)
    changes = {"epochs": 1, "batch": 32, "panel": 32, "lr": 0.05, "clip": 0.5} | changes
    training = oatlib.Training(net, images, processes=processes, **arguments, **changes)
    for done, _ in enumerate(training, 1):
        if done == steps:
            break
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    return state, float(training.loss), training.history


def train_together(cases, sync):
    """Run `train` for each case, as a part of several processes."""
    with oatlib.join_processes(sync_batchnorm=sync) as processes:
        return [train(*case, processes=processes) for case in cases]


def resume_together(recipe, changes, path):
    """Return the state of an uninterrupted training, and of one that was resumed after an epoch."""
    with oatlib.join_processes() as processes:
        whole = train(recipe, {}, changes, processes=processes)[0]
        train(recipe, {}, changes, steps=4, processes=processes, checkpoint=path)
        processes.wait()  # the first one writes the checkpoint
        return whole, train(recipe, {}, changes, processes=processes, checkpoint=path, resume=True)[0]


def with_a_nan(recipe, steps):
    """Train, and let the weights of the last process become NaN for the attack of one step."""
    with oatlib.join_processes() as processes:
        images = data()
        net = oatlib.build(recipe, images)
        training = oatlib.Training(net, images, processes=processes, epochs=2, batch=32, panel=32)
        for done, _ in enumerate(training, 1):
            if done == steps and processes.rank == processes.count - 1:
                with torch.no_grad():
                    net.body.head.each[0].weight.fill_(torch.nan)
        return training.history.status, training.history.note


def killed(recipe):
    """Train, and kill the last process after a step."""
    with oatlib.join_processes() as processes:
        images = data()
        training = oatlib.Training(oatlib.build(recipe, images), images, processes=processes, epochs=9, batch=32)
        for _ in training:
            if processes.rank == processes.count - 1:
                os.kill(os.getpid(), signal.SIGKILL)


def shell(words, folder, fails_in=None, fault="no such folder"):
    """Run the command line. Return exit code and output. Loading the data fails in one process."""
    os.chdir(folder)
    if int(os.environ["RANK"]) == fails_in:

        def load_data(*arguments, **options):
            if options.get("n_val") == 8:  # the check of the options
                return oatlib.load_data(*arguments, **options)
            raise OSError(fault)

        commands.load_data = load_data
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main.main(words)
        except SystemExit as exit_:
            code = exit_.code
    return code, out.getvalue(), err.getvalue()


def with_fault(case, fault):
    """Run `train` with a fault in how the work is divided."""
    from oatlib.training import loop

    if fault == "no share":
        original = loop.LambdaBatch.part

        def part(batch, processes):
            result = original(batch, processes)
            result.share = 1.0
            return result

        loop.LambdaBatch.part = part
    elif fault == "own random starts":
        original_step = loop.train_step

        def train_step(net, batch, attack, generator, *arguments):
            generator.manual_seed(int(os.environ["RANK"]))
            return original_step(net, batch, attack, generator, *arguments)

        loop.train_step = train_step
    elif fault == "local clipping":
        original_sum = loop.add_up

        def add_up(net, *arguments):
            torch.nn.utils.clip_grad_norm_(net.parameters(), 0.05)
            return original_sum(net, *arguments)

        loop.add_up = add_up
    return train_together([case], sync=True)[0]


def other_seed():
    """Train with another seed in each process."""
    with oatlib.join_processes() as processes:
        images = data()
        oatlib.train(oatlib.build("standard", images), images, seed=processes.rank, processes=processes)
