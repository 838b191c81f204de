"""Exercises of lesson 04: FiLM, its generator, a block with it, and the channels that it turns off.

FiLM scales and shifts each channel by γ and β, which a small network computes from a code of λ.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..._random import global_seed
from ...layers.folded import per_channel
from .. import parts
from ..curve import CurveNet, curve_error, learn
from . import Wrong, exercise, same

CURVE_CHANNELS, STEPS = 16, 500  # of the network on the toy curve
FEW, CLOSE = 64, 0.015  # largest number of parameters, largest squared error
BLIND = 0.06  # squared error from which on a generator hardly follows λ


def _like(got, want: Tensor) -> bool:
    return (
        isinstance(got, Tensor)
        and got.shape == want.shape
        and torch.allclose(got.to(want), want, atol=1e-4)
    )


def _film(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return x * per_channel(gamma) + per_channel(beta)


@exercise(_film, "oatlib.layers.unit.Unit")
def film(theirs) -> None:
    """x (N, C, H, W), gamma, beta (N, C) -> x, each channel of each image scaled and shifted."""
    draw = torch.Generator().manual_seed(0)
    # all sizes are equal, so that γ and β of the wrong shape (for columns) raise no error
    x, gamma, beta = (torch.randn(size, generator=draw) for size in ((4, 4, 4, 4), (4, 4), (4, 4)))
    got, want = theirs(x.clone(), gamma.clone(), beta.clone()), _film(x, gamma, beta)
    if _like(got, x * gamma + beta):
        raise Wrong("it scales columns, not channels: γ and β need the shape (N, C, 1, 1).")
    if _like(got, _film(x, gamma[:1], beta[:1])) or _like(
        got, _film(x, gamma.mean(0)[None], beta.mean(0)[None])
    ):
        raise Wrong(
            "all images get the same γ and β: each image has a λ of its own, so take row i for "
            "image i."
        )
    if _like(got, x + per_channel(beta)):
        raise Wrong("that only shifts: γ is missing.")
    if _like(got, x * per_channel(gamma)):
        raise Wrong("that only scales: β is missing.")
    if _like(got, _film(x, 1 + gamma, beta)):
        raise Wrong("it multiplies by 1 + γ. Some people do that; here γ is the whole factor.")
    if _like(got, _film(x + per_channel(beta), gamma, torch.zeros_like(beta))):
        raise Wrong("β is added before the scaling: first multiply, then add.")
    same(got, want, "it should be γ·x + β, with γ and β of the image and of the channel.")


@exercise(parts.FiLM, "oatlib.layers.film.FiLM")
def FiLM(theirs) -> None:
    """code_dim, channels -> a module, which maps codes (N, d) to γ and β, each (N, C)."""
    built = _module(theirs, 6, 5)
    layers = dict(built.named_children())
    for name, shape in (("hidden", (10, 6)), ("out", (10, 10))):
        layer = layers.get(name)
        if not isinstance(layer, nn.Linear):
            raise Wrong(f"there should be a linear layer self.{name}.")
        if tuple(layer.weight.shape) != shape:
            raise Wrong(
                f"self.{name} should map {'codes (N, d)' if name == 'hidden' else '2C numbers'} to "
                f"2C numbers: its weight should be {shape} for d = 6 and C = 5, but is "
                f"{tuple(layer.weight.shape)}."
            )
    codes = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    gamma, beta = _two(built(codes), (64, 5))
    _look_at_start(gamma, beta)
    _look_at_formula(built, codes)


def _module(theirs: Callable, *sizes: int) -> nn.Module:
    """Build the learner's module, with the same random numbers every time."""
    with global_seed(0):
        built = theirs(*sizes)
    if not isinstance(built, nn.Module):
        raise Wrong(
            "it should be a class that inherits from nn.Module, and __init__ must call "
            "super().__init__()."
        )
    return built


def _two(got, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return γ and β, after a look at their shapes."""
    if not (isinstance(got, tuple | list) and len(got) == 2):
        raise Wrong("forward should return two tensors: γ and β.")
    gamma, beta = got
    for name, value in (("γ", gamma), ("β", beta)):
        if not isinstance(value, Tensor):
            raise Wrong(f"{name} should be a tensor, but is {type(value).__name__}.")
        if tuple(value.shape) != shape:
            raise Wrong(
                f"{name} should have the shape (N, C), here {shape}, but has {tuple(value.shape)}: "
                "one row for each code, one column for each channel."
            )
    return gamma, beta


def _look_at_start(gamma: Tensor, beta: Tensor) -> None:
    """Raise Wrong unless γ starts near 1 and β near 0."""
    mean_gamma, mean_beta = gamma.mean().item(), beta.mean().item()
    if abs(mean_beta - 1) < 0.3 and abs(mean_gamma) < 0.3:
        raise Wrong("it starts at γ = 0 and β = 1: the first half of the output is γ.")
    if abs(mean_gamma - 1) > 0.2 or abs(mean_beta) > 0.2:
        raise Wrong(
            f"before training γ should be near 1 and β near 0, but their means are "
            f"{mean_gamma:.2f} and {mean_beta:.2f}: set the bias of self.out."
        )
    spread = gamma.std().item()
    if spread > 0.1:
        raise Wrong(
            f"the bias is right, but γ scatters by {spread:.2f} around 1: make the weights of "
            "self.out ten times smaller."
        )
    if spread < 1e-6:
        raise Wrong(
            "γ is the same for every code: weights of self.out that are zero pass no gradient to "
            "self.hidden. Make them small, not zero."
        )


def _look_at_formula(built: nn.Module, codes: Tensor) -> None:
    """Raise Wrong unless the module computes what the reference does with the same weights."""
    own = parts.FiLM(6, 5)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():  # large weights, so that signs differ
        for mine, theirs in zip(own.parameters(), _of_layers(built), strict=True):
            mine.copy_(torch.randn(mine.shape, generator=draw))
            theirs.copy_(mine)
        got = torch.cat(_two(built(codes), (64, 5)), 1)
        want = torch.cat(own(codes), 1)
        hidden, out = own.hidden, own.out
        bent = F.leaky_relu(hidden(codes))
        mistakes = {
            "LeakyReLU is missing behind self.hidden: two linear layers in a row are one.": (
                F.leaky_relu(out(hidden(codes)))
            ),
            "LeakyReLU is missing behind self.out. The published layer has it there, too.": (
                out(bent)
            ),
            "there is no LeakyReLU: one belongs behind each of the two layers.": out(hidden(codes)),
            "it uses ReLU: a channel whose γ becomes 0 would get no gradient. Use LeakyReLU.": (
                F.relu(out(F.relu(hidden(codes))))
            ),
        }
    for message, result in mistakes.items():
        if _like(got, result):
            raise Wrong(message)
    if _like(got, torch.cat([want[:, 5:], want[:, :5]], 1)):
        raise Wrong("γ and β are the wrong way round: return γ first.")
    same(got, want, "γ and β should be the halves of leaky(out(leaky(hidden(code)))).", 1e-4)


def _of_layers(built: nn.Module) -> list[nn.Parameter]:
    """Weights and biases of `hidden` and `out`, in this order."""
    layers = dict(built.named_children())
    return [*layers["hidden"].parameters(), *layers["out"].parameters()]


@exercise(parts.Block, "oatlib.layers.unit.Unit")
def Block(theirs) -> None:
    """cin, cout, stride, code_dim -> a module: x, branch, code -> (N, cout, H/stride, W/stride)."""
    # Blocks are built from the learner's own parts. Where a part is missing, oatlib's is taken.
    for name in ("DualBN", "FiLM"):
        _globals_of(theirs).setdefault(name, getattr(parts, name))
    built = _module(theirs, 3, 5, 2, 6)
    _look_at_parts(built)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 8, 8, generator=draw)
    code = torch.randn(6, 6, generator=draw)
    branch = torch.tensor([0, 1, 1, 0, 1, 0])
    with torch.no_grad():
        for tensor in built.state_dict().values():  # no statistics, γ or β is 0 or 1
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand(tensor.shape, generator=draw))
        built.eval()
        got = built(x, branch, code)
        if isinstance(got, Tensor) and got.shape[2:] == (8, 8):
            raise Wrong(
                "the stride is not passed to the conv: the output is as large as the input."
            )
        if isinstance(got, Tensor) and got.shape[2:] == (3, 3):
            raise Wrong("the output has 3 x 3 pixels instead of 4 x 4: give the conv padding=1.")
        _look_at_order(built, x, branch, code, got)


def _globals_of(theirs: Callable) -> dict:
    """Return the names that the methods of the learner's class can use."""
    return getattr(vars(theirs).get("__init__"), "__globals__", {})


def _look_at_parts(built: nn.Module) -> None:
    """Raise Wrong unless the block has a conv without bias, a norm and FiLM."""
    layers = dict(built.named_children())
    for name in ("conv", "norm", "film"):
        if name not in layers:
            raise Wrong(f"there should be a module self.{name}.")
    conv = layers["conv"]
    if not isinstance(conv, nn.Conv2d) or tuple(conv.weight.shape) != (5, 3, 3, 3):
        raise Wrong("self.conv should be nn.Conv2d(cin, cout, 3, stride, ...).")
    if conv.bias is not None:
        raise Wrong("the conv has a bias, which the norm behind it takes away: bias=False.")
    if not hasattr(layers["norm"], "scale") or tuple(layers["norm"].scale.shape) != (2, 5):
        raise Wrong("self.norm should be DualBN(cout).")


def _look_at_order(built: nn.Module, x: Tensor, branch: Tensor, code: Tensor, got) -> None:
    """Raise Wrong unless the block is conv, norm, FiLM, ReLU."""
    layers = dict(built.named_children())
    conv, norm = layers["conv"], layers["norm"]
    gamma, beta = layers["film"](code)
    normed = norm(conv(x), branch)
    mistakes = {
        "ReLU is missing at the end.": _film(normed, gamma, beta),
        "ReLU comes before FiLM: γ and β belong directly behind the norm.": _film(
            torch.relu(normed), gamma, beta
        ),
        "FiLM is missing: γ and β are not used.": torch.relu(normed),
        "that only scales: β is missing.": torch.relu(normed * per_channel(gamma)),
        "FiLM comes before the norm, which takes a scale and a shift away again.": torch.relu(
            norm(_film(conv(x), gamma, beta), branch)
        ),
        "every image gets the γ and β of the first code: one row for each image.": torch.relu(
            _film(normed, gamma[:1], beta[:1])
        ),
        "the branches are the wrong way round, or not passed to the norm.": torch.relu(
            _film(norm(conv(x), 1 - branch), gamma, beta)
        ),
        "all images go through the clean BatchNorm: pass `branch` to the norm.": torch.relu(
            _film(norm(conv(x), torch.zeros_like(branch)), gamma, beta)
        ),
    }
    for message, result in mistakes.items():
        if _like(got, result):
            raise Wrong(message)
    want = torch.relu(_film(normed, gamma, beta))
    same(got, want, "it should be relu(γ·norm(conv(x), branch) + β).", 1e-4)


class _TwoGroups(nn.Module):
    """γ is 1 - λ in one half of the channels and λ in the other: no parameters at all."""

    def __init__(self, channels: int):
        super().__init__()
        self.group = channels // 2

    def forward(self, lam: Tensor) -> tuple[Tensor, Tensor]:
        """λ (N, 1) -> γ, β (N, C)."""
        gamma = torch.cat([(1 - lam).expand(-1, self.group), lam.expand(-1, self.group)], 1)
        return gamma, torch.zeros_like(gamma)


@exercise(_TwoGroups, "oatlib.layers.film.FiLM")
def SmallGenerator(theirs) -> str:
    """channels -> a module, which maps λ (N, 1) to γ and β, each (N, C)."""
    built = _module(theirs, CURVE_CHANNELS)
    lam = torch.tensor([[0.0], [0.5], [1.0]])
    gamma, beta = _two(built(lam), (3, CURVE_CHANNELS))
    if _like(gamma[0], gamma[-1]) and _like(beta[0], beta[-1]):
        raise Wrong("γ and β are the same at every λ: nothing can bend the curve.")
    count = sum(p.numel() for p in built.parameters())
    if count > FEW:
        raise Wrong(f"it has {count} parameters; try at most {FEW}.")
    errors = [
        curve_error(learn(lambda: CurveNet(CURVE_CHANNELS, theirs(CURVE_CHANNELS)), STEPS, seed))
        for seed in (0, 1, 2)
    ]
    worst = max(errors)
    if not math.isfinite(worst):
        raise Wrong("training ended with an error that is not a finite number.")
    if worst > CLOSE:
        reason = _why_far(gamma, beta, worst)
        raise Wrong(
            f"{count} parameters, but the squared error is {worst:.3f} with the worst of three "
            f"seeds; at most {CLOSE} is wanted. {reason}"
        )
    shown = ", ".join(f"{error:.4f}" for error in errors)
    return (
        f"{count} parameters; squared error with three seeds: {shown}. A class FiLM of code length "
        "1 has 1120 parameters."
    )


def _why_far(gamma: Tensor, beta: Tensor, error: float) -> str:
    """A sentence about what a generator that does not follow the curve cannot do."""
    if _like(gamma, gamma[:, :1].expand_as(gamma)):
        return "All channels have the same γ: the wave and the line need different ones."
    if error > BLIND:
        return "It hardly follows λ."
    return "It comes near; give some channels more freedom."


def _reads_texture(weight: Tensor, texture: Tensor, drawn: Tensor) -> Tensor:
    of_texture, of_shape = F.conv2d(texture, weight), F.conv2d(drawn, weight)  # (N, C, h, w)
    return (of_texture.square().mean((0, 2, 3)) / of_shape.square().mean((0, 2, 3))).sqrt()


@exercise(_reads_texture, "oatlib.data.scenes.parts_of")
def reads_texture(theirs) -> None:
    """weight (C, 3, 3, 3), texture, drawn (N, 3, H, W) -> ratio of the responses (C,)."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 3, 3, 3, generator=draw)
    texture = 0.1 * torch.randn(4, 3, 8, 8, generator=draw)
    drawn = 0.5 + torch.randn(4, 3, 8, 8, generator=draw)
    got = theirs(weight.clone(), texture.clone(), drawn.clone())
    want = _reads_texture(weight, texture, drawn)
    responses = [F.conv2d(part, weight) for part in (texture, drawn)]
    power = [response.square().mean((0, 2, 3)) for response in responses]
    mistakes = {
        "it is upside down: the response to the texture goes above the line.": (
            (power[1] / power[0]).sqrt()
        ),
        "the root is missing: that is the ratio of mean squares.": power[0] / power[1],
        "responses are positive and negative and cancel in a plain mean: square them first.": (
            responses[0].mean((0, 2, 3)) / responses[1].mean((0, 2, 3))
        ),
        "that is the response to the texture alone: divide by the response to the shape.": (
            power[0].sqrt()
        ),
    }
    for message, result in mistakes.items():
        if _like(got, result):
            raise Wrong(message)
    if isinstance(got, Tensor) and got.shape == (4, 5):
        raise Wrong("it has a value for each image: take the mean over the images, too.")
    if isinstance(got, Tensor) and got.ndim == 0:
        raise Wrong("it is one number for all filters: keep one value for each channel.")
    same(
        got,
        want,
        "it should be the root mean square over images and pixels, texture / drawn.",
        1e-4,
    )


class _Turned(nn.Module):
    def __init__(self, film: nn.Module, channels: Tensor, to: int = 1, source: int = -1):
        super().__init__()
        self.film = film
        self.channels = channels
        self.to = to
        self.source = source

    def forward(self, codes: Tensor, width=None) -> tuple[Tensor, Tensor]:
        gamma, beta = self.film(codes, width)
        gamma = gamma.clone()
        gamma[self.to, self.channels] = gamma[self.source, self.channels]
        return gamma, beta


class _Fixed(nn.Module):
    """A generator that gives the same tables for all codes."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.gamma, self.beta = (torch.randn(6, 5, generator=draw) for _ in range(2))

    def forward(self, codes: Tensor, width=None) -> tuple[Tensor, Tensor]:
        return self.gamma, self.beta


@exercise(_Turned, "oatlib.layers.film.FiLM")
def Turned(theirs) -> None:
    """film, channels, to, source -> a module: codes -> γ and β, with γ of the channels replaced."""
    inner, channels = _Fixed(), torch.tensor([0, 3])
    gamma, beta = inner.gamma.clone(), inner.beta.clone()
    built = theirs(inner, channels)
    if not isinstance(built, nn.Module):
        raise Wrong("it should be a class that inherits from nn.Module.")
    got_gamma, got_beta = _two(built(torch.zeros(6, 4), None), (6, 5))
    want = gamma.clone()
    want[1, channels] = gamma[-1, channels]
    every_stop, every_channel, backwards = gamma.clone(), gamma.clone(), gamma.clone()
    every_stop[:, channels] = gamma[-1, channels]
    every_channel[1] = gamma[-1]
    backwards[-1, channels] = gamma[1, channels]
    mistakes = {
        "γ has not changed: put γ of the last stop into row 1.": gamma,
        "all stops have changed: only row 1, which is λ = 0.1, should.": every_stop,
        "all channels have changed: only `channels` should.": every_channel,
        "it is the other way round: row 1 should get the γ of the last row.": backwards,
    }
    for message, result in mistakes.items():
        if _like(got_gamma, result):
            raise Wrong(message)
    same(got_gamma, want, "row 1 of γ should hold γ of the last row in these channels.")
    same(got_beta, beta, "β has changed, too: only γ should, so that you know what the reason is.")
    if not torch.equal(inner.gamma, gamma):
        raise Wrong("it changes the table of the wrapped generator in place: clone γ first.")
    got_gamma, _ = _two(theirs(inner, channels, to=-1, source=2)(torch.zeros(6, 4), None), (6, 5))
    if _like(got_gamma, want):
        raise Wrong("`to` and `source` are not used: it always copies the last row into row 1.")
    if _like(got_gamma, backwards):
        raise Wrong("`source` is not used: with source=2, γ should come from row 2.")
    want = gamma.clone()
    want[-1, channels] = gamma[2, channels]
    same(got_gamma, want, "with to=-1 and source=2, the last row of γ should hold γ of row 2.")
