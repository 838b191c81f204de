"""Exercises of lesson 03: BatchNorm, dual BatchNorm, and a network that has one.

A branch is one of two groups of images: 0 for clean ones, 1 for attacked ones.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..._random import global_seed
from .. import parts, two_branches
from . import Wrong, exercise, same

MIXED = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])  # branches in no particular order
LEAST_GAIN = 0.15  # of separate statistics on changed images, for `second_domain`
LEAST_KEPT = 0.5  # accuracy on changed images with statistics of their own


def _batch(seed: int) -> Tensor:
    """Return features (4, 3, 2, 2) on which mistakes show.

    There are few values per channel, so that n and n - 1 differ, and the last channel hardly
    varies, so that eps matters.
    """
    x = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    spread = torch.tensor([1.0, 3.0, 0.003]).view(3, 1, 1)
    centre = torch.tensor([0.5, -2.0, 1.0]).view(3, 1, 1)
    return x * spread + centre


def _two_batches(seed: int) -> Tensor:
    """Return features (8, 3, 2, 2) of two groups with different statistics."""
    x = torch.cat([_batch(seed), 2 * _batch(seed + 1) + 1])
    return x[torch.argsort(MIXED, stable=True).argsort()]


def _like(got, want: Tensor) -> bool:
    return (
        isinstance(got, Tensor)
        and got.shape == want.shape
        and torch.allclose(got, want, atol=1e-4, rtol=1e-4)
    )


def _batch_norm(x, mean, var, training=True, momentum=0.1, eps=1e-5):
    mean, var = mean.clone(), var.clone()
    z = F.batch_norm(x, mean, var, None, None, training, momentum, eps)
    return z, mean, var


def _normal(x: Tensor, mean: Tensor, var: Tensor, eps: float = 1e-5) -> Tensor:
    return (x - mean.view(-1, 1, 1)) / (var.view(-1, 1, 1) + eps).sqrt()


@exercise(_batch_norm, "torch.nn.BatchNorm2d")
def batch_norm(theirs) -> None:
    """x (N, C, H, W), running mean and var (C,), training -> normalised x, new mean, new var."""
    x, mean, var = _batch(0), torch.tensor([0.2, -1.0, 0.9]), torch.tensor([1.5, 2.0, 0.5])
    got = theirs(x.clone(), mean.clone(), var.clone(), True)
    if not (isinstance(got, tuple | list) and len(got) == 3):
        raise Wrong("it should return three tensors: x normalised, the new mean, the new variance.")
    want = _batch_norm(x, mean, var)
    _check_values(got[0], x, mean, var)
    same(
        got[0],
        want[0],
        "x should come out as (x - mean) / sqrt(variance + eps), with one mean for each channel.",
    )
    _check_running(got, want, x, mean, var)
    got, want = (
        theirs(x.clone(), mean.clone(), var.clone(), False),
        _batch_norm(x, mean, var, False),
    )
    if _like(got[0], _normal(x, x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0))):
        raise Wrong("with training=False, x should be normalised with the running mean and var.")
    same(got[0], want[0], "with training=False, x should be (x - mean) / sqrt(var + eps).")
    if not (_like(got[1], mean) and _like(got[2], var)):
        raise Wrong("with training=False, the running mean and var should be returned unchanged.")


def _check_values(got, x: Tensor, mean: Tensor, var: Tensor) -> None:
    """Raise Wrong if x was normalised with one of the common mistakes."""
    batch, biased, unbiased = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0), x.var((0, 2, 3))
    if _like(got, _normal(x, mean, var)):
        raise Wrong("it uses the running statistics: in training, use those of this batch.")
    if _like(got, _normal(x, batch, unbiased)):
        raise Wrong(
            "within the batch the variance is the mean of the squares: divide by n, not by n - 1."
        )
    if _like(got, _normal(x, batch, biased, eps=0)):
        raise Wrong("eps is missing: a channel that hardly varies would be blown up.")
    if _like(got, (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()):
        raise Wrong(
            "every pixel has a mean of its own: average over images, rows and columns, dims (0, 2, "
            "3)."
        )


def _check_running(got, want, x: Tensor, mean: Tensor, var: Tensor) -> None:
    """Raise Wrong if the new running statistics differ from the expected ones."""
    if _like(got[1], 0.1 * mean + 0.9 * x.mean((0, 2, 3))):
        raise Wrong(
            "the running mean changes too fast: take one tenth (momentum) of the batch mean and "
            "nine tenths of the running mean."
        )
    same(
        got[1],
        want[1],
        "the new mean should be (1 - momentum)·mean + momentum·(mean of this batch).",
    )
    if _like(got[2], 0.9 * var + 0.1 * x.var((0, 2, 3), correction=0)):
        raise Wrong(
            "the running variance is an estimate for all images to come: there, divide by n - 1."
        )
    if _like(got[2], 0.9 * var + 0.1 * x.std((0, 2, 3))):
        raise Wrong("the running var is a variance, not a standard deviation.")
    same(
        got[2],
        want[2],
        "the new variance should be (1 - momentum)·var + momentum·(variance of this batch).",
    )


@exercise(parts.DualBN, "oatlib.course.parts.DualBN")
def DualBN(theirs) -> None:
    """channels -> module of scale, shift, mean, var (2, C); forward(x, branch) -> normalised x."""
    mine, reference = theirs(3), parts.DualBN(3)
    _check_tensors(mine)
    values = {
        "scale": torch.tensor([[1.0, 2.0, 0.5], [-1.0, 0.3, 3.0]]),
        "shift": torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.5, 0.2]]),
    }
    for module in (mine, reference):
        for name, value in values.items():
            getattr(module, name).data.copy_(value)
        module.train()
    x = _two_batches(1)
    kept = copy.deepcopy(reference)  # before the first batch
    given = x.clone()
    got, want = mine(given, MIXED.clone()), reference(x, MIXED)
    if not torch.equal(given, x):
        raise Wrong("it changes x itself: write into a new tensor, such as torch.empty_like(x).")
    _check_dual_values(got, want, kept, x)
    same(
        got,
        want,
        "each image should be normalised with mean and variance (divide by n) of the images of its "
        "branch, then scaled and shifted with the row of its branch.",
    )
    _check_dual_running(mine, reference, x)
    _check_gradients(mine, x)
    _check_eval(mine, reference)


def _check_tensors(mine) -> None:
    """Raise Wrong if the module lacks a parameter or a buffer, or starts with other values."""
    if not isinstance(mine, nn.Module):
        raise Wrong("it should be a module: class DualBN(nn.Module), with super().__init__().")
    parameters, buffers = dict(mine.named_parameters()), dict(mine.named_buffers())
    for name, start in (("scale", 1.0), ("shift", 0.0)):
        if name not in parameters:
            raise Wrong(f"self.{name} should be an nn.Parameter, so that an optimizer finds it.")
        same(parameters[name].data, torch.full((2, 3), start), f"{name} should start at {start:g}.")
    for name, start in (("mean", 0.0), ("var", 1.0)):
        if name in parameters:
            raise Wrong(f"self.{name} is measured, not trained: a buffer, not an nn.Parameter.")
        if name not in buffers:
            raise Wrong(
                f"self.{name} should be a buffer, so that it is saved with the weights: "
                f'self.register_buffer("{name}", ...).'
            )
        same(buffers[name], torch.full((2, 3), start), f"{name} should start at {start:g}.")


def _check_dual_values(got, want: Tensor, kept: parts.DualBN, x: Tensor) -> None:
    """Raise Wrong if a common mistake explains the output of the first training batch."""
    scale, shift = kept.scale.data[MIXED, :, None, None], kept.shift.data[MIXED, :, None, None]
    shared = _normal(x, x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0))
    if _like(got, shared * scale + shift):
        raise Wrong("all images share one mean and variance: take those of each branch by itself.")
    z = (want.detach() - shift) / scale
    if _like(got, z):
        raise Wrong("scale and shift are missing: the output is z·scale + shift.")
    if _like(got, z * kept.scale.data[0, :, None, None] + kept.shift.data[0, :, None, None]):
        raise Wrong("both branches get scale and shift of row 0: use the row of the branch.")
    if _like(got, want.detach()[torch.argsort(MIXED, stable=True)]):
        raise Wrong("the images come out sorted by branch: put each back where it came from.")
    if _like(got, x * scale + shift):
        raise Wrong("in train mode it uses the running statistics: use those of this batch.")
    halves = torch.arange(8) // 4
    with torch.no_grad():
        if _like(got, copy.deepcopy(kept)(x, halves)):
            raise Wrong("it takes the first half for branch 0: the branches come in any order.")


def _check_dual_running(mine, reference: parts.DualBN, x: Tensor) -> None:
    """Raise Wrong if the running statistics after the first batch are not the expected ones."""
    if _like(mine.mean, torch.zeros(2, 3)) and _like(mine.var, torch.ones(2, 3)):
        raise Wrong("the running mean and var do not change in train mode.")
    if _like(mine.mean[0], mine.mean[1]):
        raise Wrong("both rows of the running mean are the same: each branch updates its own row.")
    same(
        mine.mean,
        reference.mean,
        "row k of mean should become 0.9·mean + 0.1·(mean of the images of branch k).",
    )
    biased = torch.stack([x[row == MIXED].var((0, 2, 3), correction=0) for row in (0, 1)])
    if _like(mine.var, 0.9 + 0.1 * biased):
        raise Wrong("the running var divides by n: there, divide by n - 1 (torch's default).")
    same(
        mine.var,
        reference.var,
        "row k of var should become 0.9·var + 0.1·(variance of the images of branch k).",
    )
    before = mine.mean.clone()
    ones = torch.ones(8, dtype=torch.long)
    try:
        mine(x, ones)
    except (RuntimeError, IndexError, ValueError) as error:
        raise Wrong(f"a batch may hold images of one branch only: {error}.") from None
    reference(x, ones)
    if not torch.isfinite(mine.mean).all():
        raise Wrong("a batch of one branch fills the other row with NaN: skip an empty one.")
    if not torch.equal(before[0], mine.mean[0]):
        raise Wrong("a batch of branch 1 changes the running mean of branch 0.")


def _check_gradients(mine, x: Tensor) -> None:
    """Raise Wrong if gradients do not reach x and the parameters, or if buffers carry a graph."""
    twin = copy.deepcopy(mine)
    x = x.clone().requires_grad_(True)
    out = twin(x, MIXED)
    if twin.mean.requires_grad or twin.var.requires_grad:
        raise Wrong("the running statistics carry gradients: update them under torch.no_grad().")
    if not out.requires_grad:
        raise Wrong("the output has no gradient: only the update belongs under torch.no_grad().")
    out.square().sum().backward()
    if x.grad is None or twin.scale.grad is None or twin.shift.grad is None:
        raise Wrong("the gradient does not reach x, scale and shift: only the update is no_grad.")


def _check_eval(mine, reference: parts.DualBN) -> None:
    """Raise Wrong if eval mode differs from that of the reference."""
    mine.eval()
    reference.eval()
    x, before = _two_batches(5), mine.mean.clone()
    got, want = mine(x.clone(), MIXED.clone()), reference(x, MIXED)
    if not torch.equal(before, mine.mean):
        raise Wrong("in eval mode the running statistics should not change.")
    with torch.no_grad():
        if _like(got, copy.deepcopy(reference).train()(x, MIXED)):
            raise Wrong("in eval mode use the running statistics of the branch, not this batch.")
    same(got, want, "in eval mode x should be (x - mean[k]) / sqrt(var[k] + eps)·scale + shift.")


@exercise(two_branches.SmallNet, "oatlib.course.two_branches.SmallNet")
def SmallNet(theirs) -> None:
    """norm, cin, classes -> network with convs, norms, head; forward(x, branch) -> logits."""
    with global_seed(0):
        reference = two_branches.SmallNet(parts.DualBN, 3, 8)
        mine = theirs(parts.DualBN, 3, 8)
    with torch.no_grad():  # the two branches differ
        for norm in reference.norms:
            norm.scale[1] *= -2.0
            norm.shift[0] += 0.5
    _load(mine, reference)
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for module in (mine, reference):
        module.train()
    got, want = mine(x.clone(), MIXED.clone()), reference(x, MIXED)
    if isinstance(got, Tensor) and got.shape != want.shape:
        raise Wrong(f"it should return logits (N, classes) = (8, 8), not {tuple(got.shape)}.")
    for mistake, output in _other_networks(reference, x).items():
        if _like(got, output):
            raise Wrong(mistake)
    same(
        got,
        want,
        "it should be: (x - 0.5)·4, three times conv -> norm -> ReLU, mean over pixels, head.",
        1e-4,
    )


def _load(mine, reference: two_branches.SmallNet) -> None:
    """Copy the weights of the reference, or raise Wrong if the layers differ."""
    own = mine.state_dict() if isinstance(mine, nn.Module) else {}
    if "convs.0.bias" in own:
        raise Wrong("the convs need no bias: the norm behind them has a shift. bias=False.")
    wanted = {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in own.items()}
    for name, shape in wanted.items():
        if name not in found:
            raise Wrong(f"the layer {name.rpartition('.')[0]!r} is missing: convs, norms, head.")
        if found[name] != shape:
            raise Wrong(f"{name} has the shape {found[name]}, not {shape}.")
    mine.load_state_dict(reference.state_dict())


def _other_networks(net: two_branches.SmallNet, x: Tensor) -> dict[str, Tensor]:
    """Return what networks with a common mistake compute, by what to say about it."""
    net = copy.deepcopy(net).train()

    def run(x: Tensor, branch: Tensor = MIXED, relu_first: bool = False, relus: int = 3) -> Tensor:
        for i, (conv, norm) in enumerate(zip(net.convs, net.norms, strict=True)):
            x = conv(x)
            if relu_first:
                x = norm(torch.relu(x), branch)
            else:
                x = norm(x, branch)
                x = torch.relu(x) if i < relus else x
        return net.head(x.mean((2, 3)))

    centred = (x - 0.5) * 4
    with torch.no_grad():
        return {
            "the network does not look at branch: pass it on to every norm.": run(
                centred, torch.zeros_like(MIXED)
            ),
            "the ReLU stands before the norm: it should come after it.": run(
                centred, relu_first=True
            ),
            "the pixels are not centred: begin with (x - 0.5)·4.": run(x),
            "there is no ReLU.": run(centred, relus=0),
            "the last block has no ReLU.": run(centred, relus=2),
        }


class _Probe(nn.Module):
    """A network of one norm and one layer. It notes how it is called."""

    def __init__(self):
        super().__init__()
        self.norm = parts.DualBN(3)
        self.head = nn.Linear(3, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0, -0.5, 0.3], [-0.2, 0.8, -1.0]]))
            self.head.bias.zero_()
        self.calls: list[tuple[bool, list[int]]] = []

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        self.calls.append((self.training, torch.as_tensor(branch).tolist()))
        return self.head(self.norm(x, branch).square().mean((2, 3)))


@exercise(two_branches.half_step, "oatlib.course.two_branches.half_step")
def half_step(theirs) -> None:
    """net, optimizer, x, y, attack(f, x, y) -> loss of one step, half clean and half attacked."""
    x, y = _two_batches(3), torch.tensor([0, 1, 1, 0, 0, 1, 0, 1])
    attacked: list[Tensor] = []

    def attack(f: Callable, images: Tensor, labels: Tensor) -> Tensor:
        attacked.append(images)
        f(images)
        return images + 0.3 * (1 + labels[:, None, None, None])

    nets = [_Probe(), _Probe()]
    losses = []
    for run, net in zip((two_branches.half_step, theirs), nets, strict=True):
        attacked.clear()
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        net.head.weight.grad = torch.full_like(net.head.weight, 10.0)  # left from an earlier step
        losses.append(run(net, optimizer, x.clone(), y.clone(), attack))
    reference, mine = nets
    _check_attack(attacked, mine, x)
    final = mine.calls[-1]
    if not final[0]:
        raise Wrong("the step itself needs train mode: net.train() after the attack.")
    if final[1] == [0] * 4 + [1] * 4:
        pass
    elif final[1] == [1] * 4 + [0] * 4:
        raise Wrong("the branches are swapped: clean images are branch 0, attacked ones branch 1.")
    else:
        raise Wrong(
            "the step is one forward of the whole batch: the clean half in branch 0, then the "
            f"attacked half in branch 1. It was called with the branches {final[1]}."
        )
    if not isinstance(losses[1], float):
        raise Wrong("it should return the loss as a number: loss.item().")
    if abs(losses[0] - losses[1]) > 1e-4:
        raise Wrong("the loss should be the mean cross-entropy of the whole batch.")
    shift = (mine.head.weight - reference.head.weight).abs().max().item()
    if abs(shift - 1) < 1e-3:
        raise Wrong("an old gradient is left over: optimizer.zero_grad() before loss.backward().")
    same(
        mine.head.weight.data,
        reference.head.weight.data,
        "the weights are not those after loss.backward() and optimizer.step().",
    )


def _check_attack(attacked: list[Tensor], mine: _Probe, x: Tensor) -> None:
    """Raise Wrong if the attack got other images, or another network, than it should."""
    if not attacked:
        raise Wrong("nothing is attacked: call attack(f, x[half:], y[half:]).")
    if not _like(attacked[0], x[4:]):
        raise Wrong(
            f"the attack should get the second half, 4 images; it gets {len(attacked[0])}."
            if len(attacked[0]) != 4
            else "the attack should get the second half of the batch, not the first."
        )
    training, branch = mine.calls[0]
    if branch != [1] * 4:
        raise Wrong(
            "the attack sees another branch than the one that answers: f should call the net with "
            "branch 1."
        )
    if training:
        raise Wrong("the attack should see the network in eval mode: net.eval() before it.")


@exercise(two_branches.gap, "oatlib.course.two_branches.gap")
def gap(theirs) -> None:
    """first (N, C, H, W), second (M, C, H, W) -> distance of their means in standard deviations."""
    first, second = _batch(1), (1.5 * _batch(2) - 0.4)[:3]
    got, want = theirs(first.clone(), second.clone()), two_branches.gap(first, second)
    difference = first.mean((0, 2, 3)) - second.mean((0, 2, 3))
    spread = first.std((0, 2, 3))
    got = torch.as_tensor(got).float()
    for mistake, value in {
        "differences of opposite sign cancel: take the absolute value.": difference / spread,
        "it divides by the variance: a distance is counted in standard deviations.": (
            difference.abs() / spread.square()
        ),
        "it divides by the spread of the second set: use that of the first.": (
            difference.abs() / second.std((0, 2, 3))
        ),
        "it does not divide by the standard deviation.": difference.abs(),
        "it divides the mean distance by the mean spread: divide in each channel first.": (
            difference.abs().mean() / spread.mean()
        ),
        "it adds up the channels: take their mean.": 3 * (difference.abs() / spread),
    }.items():
        if got.ndim == 0 and torch.isclose(got, value.mean(), rtol=1e-3):
            raise Wrong(mistake)
    if got.ndim:
        raise Wrong(f"it should return one number, not the shape {tuple(got.shape)}.")
    loose = 0.02  # divided by n or by n - 1
    if abs(got.item() - want) > loose * want:
        raise Wrong("it should be the mean over channels of |mean - mean| / standard deviation.")


@exercise(two_branches.faint_and_bright, "oatlib.course.two_branches.faint_and_bright")
def second_domain(theirs) -> str:
    """x (N, C, H, W) in [0, 1] -> changed images of the same shape, in [0, 1]."""
    x = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    got = theirs(x.clone())
    if not isinstance(got, Tensor) or got.shape != x.shape:
        raise Wrong("it should return a tensor of the shape of x.")
    if not bool(((got >= 0) & (got <= 1)).all()):
        low, high = got.min().item(), got.max().item()
        raise Wrong(f"pixels should stay in [0, 1]; they reach from {low:.2f} to {high:.2f}.")
    if not _like(theirs(x.clone()), got):
        raise Wrong("it gives the same images another result each time: use no random numbers.")
    if not _like(theirs(x[:2].clone()), got[:2]):
        raise Wrong("an image should change alone: the result depends on the rest of the batch.")
    if _like(got, x):
        raise Wrong("the images have not changed.")
    found = two_branches.domain_test(theirs)
    one, two = found["one BatchNorm"][1], found["two sets of statistics"][1]
    numbers = (
        f"On changed images, one BatchNorm reaches {one:.1%} and two sets of statistics "
        f"{two:.1%} (n = {found['n'][0]}, mean of {len(two_branches.DOMAIN_SEEDS)} seeds)."
    )
    if two < LEAST_KEPT:
        raise Wrong(
            f"{numbers} Too little is left even with separate statistics: the change destroys what "
            "the network has to see."
        )
    if two - one < LEAST_GAIN:
        raise Wrong(
            f"{numbers} The difference should be at least {100 * LEAST_GAIN:.0f} points. Move the "
            "mean of a channel far, compared with its spread."
        )
    return numbers
