"""Run folded networks compiled by `torch.compile`: the same numbers up to rounding.

An attack asks a folded network for one gradient after another. Much of that time goes into passes
over features that only scale, shift or clip them, and on a GPU into starting so many operations.
The compiler merges them.

To compile takes seconds, and a training step folds a new network. So what is compiled is a function
of the tensors of a folded network and of the images. Folded networks that differ in nothing but the
values of their tensors share it.

By default nothing is compiled. What is known:

* On a CPU compiled gradients are hardly faster, see the table. To compile takes 8 to 20 s, so a
  training of `fast` would lose 10 s or more.
* On an H100 (512 images, ResNet-18, PGD-7, bfloat16) a compiled attack at one λ took 35 ms instead
  of 43, after 15 s of compiling. With one λ per image the uncompiled attack took 75 ms, since its
  scales and shifts are slow there. How long it takes compiled has not been measured: `python -m
  bench gpu` does.
* The update of a training step gains nothing on a CPU, forward and backward in train mode. Compiled
  it takes 2 % more time with `tiny` and 11 % more with `small`. So only the attack is compiled.

With one λ per image (`bind`) every unit multiplies and adds a row per image. Other ways to do so
were tried on the same CPU, one thread. The table holds how many times as fast as `bind` one
gradient is, for 106 images; medians of two runs beside other work, which differ by up to 10 %:

    way                                            tiny, 16x16      small, 32x32
    `bind` compiled                                1.08, 0.95       1.03, 1.06
    one folded network for the images of each stop 1.04, 0.95       1.06, 1.09
    `at`: one λ for all, the most that can be won  1.10, 1.04       1.02, 1.06
    `bind` in bfloat16                             0.84             1.18

Nothing of it pays on a CPU. On a GPU, a network for each stop starts five times as many operations,
and they are what it waits for.

Multiply and add were also timed alone, for features of 16 to 256 channels. They are less than a
tenth of a gradient here. Time relative to a row per image:

    rows repeated along the width of the image        0.8 to 1.3
    the same, repeated at every forward               1.2 to 1.6
    scale and shift as large as the features          0.9 to 2.4
    `addcmul`, which cannot work in place             0.7 to 1.1
    blocks of images with equal stops                 1.2 to 1.4
    `batch_norm` on such blocks                       2.7 to 3.5
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import FunctionType

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .._check import of_type
from ..layers.folded import Folded
from ..layers.mixture import OutputMixture

PER_IMAGE = ("scale", "shift")  # tensors of a unit that may have a row per image
SHOWN = 200  # characters of an error message that are kept


class Compiler:
    """Makes compiled functions of folded networks, and remembers what it has compiled.

    If something cannot be compiled, for instance because the machine has no C++ compiler, the
    network runs as it is, and `problem` says why.

    Args:
        backend: Backend of `torch.compile`.
        mode: Mode of `torch.compile`, such as "reduce-overhead" for CUDA graphs. None: its default.

    Attributes:
        problem: Why networks run uncompiled, or "".

    Example:
        >>> compiler = Compiler()
        >>> f = compiler(net.at(0.3))  # images -> logits
        >>> x_adv = oatlib.PGD(8 / 255)(f, x, y)
    """

    def __init__(self, backend: str = "inductor", mode: str | None = None):
        self.backend = backend
        self.mode = mode
        self.problem = ""
        self._functions: dict[tuple, Callable[[dict[str, Tensor], Tensor], Tensor]] = {}

    def __call__(self, folded: nn.Module) -> Callable[[Tensor], Tensor]:
        """Return a folded network as a function from images to logits.

        Gradients are computed by compiled code. Without gradients the network runs as it is, and so
        do single images: a second and a third version of the code would cost more than they save.
        Networks whose weights are sampled at every forward are never compiled, and neither are
        mixtures of outputs.

        Args:
            folded: A network from `at`, `bind`, `fold` or `bind_stops`.
        """
        if self.problem or not can_be_compiled(folded):
            return folded.forward
        tensors = _tensors(folded)
        structure = structure_of(folded)
        if structure not in self._functions:
            self._functions[structure] = self._compiled(folded, len(self._functions))
        function = self._functions[structure]

        def f(x: Tensor) -> Tensor:
            if self.problem or len(x) < 2 or not torch.is_grad_enabled():
                return folded(x)
            try:
                return function(tensors, x)
            except Exception as error:
                # An error of the network itself, such as a wrong number of images, is raised here.
                logits = folded(x)
                self.problem = reason(error)
                return logits

        return f

    def _compiled(self, folded: nn.Module, number: int) -> Callable:
        """Return a compiled function (tensors, images) -> logits for one structure."""
        # A copy without numbers. The code must not depend on whether it is called with the tensors
        # of the first network.
        empty = {id(t): torch.empty_like(t, device="meta") for t in _tensors(folded).values()}
        skeleton = copy.deepcopy(folded, empty)

        def run(tensors: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(skeleton, tensors, (x,))

        # `torch.compile` counts versions per piece of code, and gives up after eight. If a size
        # has changed once, it also expects more changes. So every structure gets code of its own.
        name = f"folded_{number}"
        own = FunctionType(
            run.__code__.replace(co_name=name), globals(), name, None, run.__closure__
        )
        return torch.compile(own, fullgraph=True, backend=self.backend, mode=self.mode)


def compiler_for(compiled: bool | Compiler | None, device: torch.device | str) -> Compiler | None:
    """Return the compiler that an argument `compiled` asks for, or None if it asks for none.

    Args:
        compiled: The argument: True, False, a compiler, or None, which means False.
        device: The device of the work.

    Raises:
        ValueError: With compiled=True, if nothing can be compiled on this machine.
        TypeError: If it is anything else.
    """
    if isinstance(compiled, Compiler):
        return compiled
    valid = "True, False, None or an oatlib.Compiler"
    of_type("compiled", compiled, (bool, type(None)), valid)
    if compiled and (problem := compile_problem(device)):
        raise ValueError(
            f"compiled=True (--compiled), but nothing can be compiled here: {problem}. Install "
            "what is missing, usually a C++ compiler, or leave it out"
        )
    return Compiler() if compiled else None


def can_be_compiled(folded: nn.Module) -> bool:
    """Return whether `Compiler` compiles a folded network.

    Args:
        folded: A network from `at`, `bind`, `fold` or `bind_stops`.
    """
    if isinstance(folded, OutputMixture):  # suites look inside it
        return False
    units = [part for part in folded.modules() if isinstance(part, Folded)]
    return all(unit.generator is None for unit in units)


def structure_of(folded: nn.Module) -> tuple:
    """Return what two folded networks must have in common to share compiled code.

    That is everything except the values of their tensors and the number of images that they are
    bound to.

    Args:
        folded: A network from `at`, `bind`, `fold` or `bind_stops`.
    """
    parts = []
    for name, part in folded.named_modules():
        facts = vars(part).items()
        options = [(key, v) for key, v in facts if isinstance(v, int | float | str | tuple)]
        parts.append((name, type(part), tuple(options)))
    tensors: list[tuple] = []
    for name, tensor in _tensors(folded).items():
        shape: tuple = tuple(tensor.shape)
        if name.endswith(PER_IMAGE) and len(tensor) > 1:
            shape = ("per image", *shape[1:])
        tensors.append((name, shape, tensor.dtype, tensor.device))
    return tuple(parts), tuple(tensors)


def _tensors(folded: nn.Module) -> dict[str, Tensor]:
    """Return all tensors of a folded network by their names."""
    parameters = dict(folded.named_parameters(remove_duplicate=False))
    return parameters | dict(folded.named_buffers(remove_duplicate=False))


def compile_problem(device: torch.device | str) -> str:
    """Return why nothing can be compiled for a device, or "". It compiles a small function.

    Args:
        device: The device.
    """
    try:
        function = torch.compile(lambda x: (2 * x + 1).relu())
        function(torch.zeros(8, device=device))
    except Exception as error:
        return reason(error)
    return ""


def reason(error: Exception) -> str:
    """Return an error of the compiler as one line: its innermost cause.

    Args:
        error: What was raised.
    """
    cause: BaseException = getattr(error, "inner_exception", error)  # of a backend that failed
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return f"{type(cause).__name__}: {text}"[:SHOWN]
