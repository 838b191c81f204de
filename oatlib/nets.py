"""A network with dials: the unfolded form that trains, and the folded forms that everything else runs.

* `net(x, lam)` is the unfolded network: dual BN, FiLM, routing. Training uses it; it knows only the λ stops.
* `net.bind(lams)` folds norm and FiLM into one scale and shift per sample: what attacks inside training run.
* `net.at(lam)` folds them into the conv weights: a plain network, for any λ between the first and the last stop.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from . import record
from .backbones import BACKBONES
from .layers.film import lambda_codes
from .layers.head import Head
from .layers.setting import ADV, CLEAN, Setting, Width
from .layers.unit import Dials, Unit, UnitOptions


@dataclass(frozen=True)
class Spec:
    """Everything needed to build a network again, empty; saved with its weights as JSON."""

    recipe: str
    backbone: str
    shape: tuple[int, int, int]  # C, H, W of an image
    classes: tuple[str, ...]
    stops: tuple[float, ...]  # the λ values it is trained at, ascending
    dual: bool = False
    film: bool = False
    codes: str = "none"
    code_dim: int = 1
    film_start: str = "identity"
    loss: str = "hybrid"
    beta: float = 6.0  # weight of the KL term where the loss is `trades`
    widths: tuple[float, ...] = (1.0,)  # shares of the channels, ascending, the last one 1
    norm_sharing: str = "none"  # what the BatchNorms of the widths share: none | affine | all
    own_heads: bool = False  # an output layer for every width
    width_loss: str = "mean"  # or "sum"
    draw: str = "all"  # which widths a training step uses; or "sandwich"
    data: dict = field(default_factory=dict)  # name and options for load_data

    def __post_init__(self):
        stops = self.stops
        if not stops or any(not 0 <= s <= 1 for s in stops) or any(a >= b for a, b in pairwise(stops)):
            raise ValueError(f"λ stops must be ascending numbers in [0, 1], got {_listed(stops) or 'none'}")
        widths = self.widths
        if not widths or widths[0] <= 0 or widths[-1] != 1 or any(a >= b for a, b in pairwise(widths)):
            raise ValueError(f"widths must be ascending shares in (0, 1], the last 1, got {_listed(widths) or 'none'}")


class Network(nn.Module):
    """A backbone and its dials. Images (N, C, H, W) in [0, 1] -> logits (N, classes)."""

    def __init__(self, spec: Spec, seed: int = 0):
        super().__init__()
        self.spec = spec
        self.trained: list[dict] = []  # how it was trained, newest last; goes into the file
        with torch.random.fork_rng(devices=[]):  # PyTorch's initialisers only know the global generator
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerators, too
            codes = _codes_of(spec, seed)
            dim = 1 if codes is None else codes.shape[1]
            options = UnitOptions(
                spec.dual, spec.film, dim, spec.film_start, spec.widths, spec.norm_sharing, spec.own_heads
            )
            self.body = lookup("backbone", spec.backbone, BACKBONES)(options, spec.shape[0], len(spec.classes))
        self.register_buffer("codes", codes)
        # BN_c iff λ is exactly 0; a single BN sees the whole batch at once, so there all samples share a branch
        self.branches = torch.tensor([CLEAN if lam == 0 or not spec.dual else ADV for lam in spec.stops])
        self.to(memory_format=torch.channels_last)  # up to 3x faster convs on a CPU
        self.eval()

    def forward(self, x: Tensor, lam: float | Tensor | Setting | None = None, width: float | None = None) -> Tensor:
        """The unfolded network at λ stops, one for all or one per sample, in any order. See also `at` and `bind`."""
        setting = lam if isinstance(lam, Setting) else self.setting(lam, len(x), width)
        if len(setting.stop) != len(x):
            raise ValueError(f"a setting for {len(setting.stop)} images was given {len(x)}")
        route = setting.route(len(self.spec.stops), self._like)
        x = route.enter(x.contiguous(memory_format=torch.channels_last))
        return route.leave(self.body(x, Dials(route, self.codes, setting.width)))

    def width(self, share: float | None = None) -> Width:
        """The width of this network that is nearest to `share` up to rounding; None is the full width."""
        widths = self.spec.widths
        share = widths[-1] if share is None else share
        index = min(range(len(widths)), key=lambda i: abs(widths[i] - share))
        if not abs(widths[index] - share) <= 1e-6:
            more = "; oatlib.calibrate adds others" if self.spec.norm_sharing == "affine" else ""
            raise ValueError(f"width {share:g} is not in this network: its widths are {_listed(widths)}{more}")
        return Width(widths[index], index)

    def setting(self, lam: float | Tensor | None, n: int, width: float | Width | None = None) -> Setting:
        """Resolve λ (one, or one per sample) for a batch of n, and the width; λ must be one of the stops."""
        width = width if isinstance(width, Width) else self.width(width)
        lams = self._lams(lam)
        if len(lams) not in (1, n):
            raise ValueError(f"{len(lams)} values of λ for {n} images: give one for all, or one each")
        if n == 0:
            return Setting(torch.empty(0).long(), torch.empty(0).long(), (0,), width)
        stops = torch.tensor(self.spec.stops, dtype=torch.float64)
        distance, stop = (lams[:, None] - stops).abs().min(1)
        if distance.max() > 1e-6:
            raise ValueError(
                f"λ = {lams[distance.argmax()]:g} is not a stop of this network: its stops are "
                f"{_listed(self.spec.stops)}. Between stops use net.at(lam) or net.bind(lams)."
            )
        stop = stop.expand(n)
        return Setting(stop, self.branches[stop], (n,), width)

    def at(self, lam: float | None = None, width: float | None = None) -> nn.Module:
        """A plain nn.Module for one λ and one width: no FiLM, no branches, no dials. It shares nothing with this."""
        folded = self._folded(*self.check(lam, width))
        for part in folded.modules():  # a copy of a slice would keep all of what it was taken from
            part._buffers = {name: None if b is None else b.clone() for name, b in part._buffers.items()}
        return copy.deepcopy(folded)

    def check(self, lam: float | None = None, width: float | None = None) -> tuple[Tensor, Width]:
        """Raise a ValueError unless `at` can give this setting. Returns its weights over the λ stops, (1, S)."""
        mix = self._mix(lam)
        if len(mix) != 1:
            raise ValueError(f"net.at takes one λ, got {len(mix)}; for one λ per image use net.bind(lams)")
        return mix, self.width(width)

    def bind(self, lams: Tensor, width: float | None = None) -> nn.Module:
        """The network for a batch whose images carry the given λ (N,): scale and shift computed once, weights shared.

        It is valid until the weights of this network change.
        """
        return self._folded(self._mix(lams), self.width(width))

    def bind_stops(self, setting: Setting) -> nn.Module:
        """`bind` for a setting that is already resolved (training)."""
        mix = nn.functional.one_hot(setting.stop, len(self.spec.stops)).to(self._like)
        return self._folded(mix, setting.width)

    @torch.no_grad()
    def _folded(self, mix: Tensor, width: Width) -> nn.Module:
        branches = self.branches.to(mix.device)
        return _replace(self.body, lambda part: part.fold(self.codes, branches, mix, width))

    @property
    def _like(self) -> Tensor:
        """A tensor of the network's device and type."""
        return self.body.head.each[0].weight

    def _mix(self, lam: float | Tensor | None) -> Tensor:
        """λ (one or N) -> weights over the stops (1 or N, S): 1 at a stop, linear between two neighbouring stops."""
        lams = self._lams(lam)
        if len(lams) == 0:
            raise ValueError("no λ was given: one for all images, or one for each")
        stops = torch.tensor(self.spec.stops, dtype=torch.float64)
        if lams.min() < stops[0] - 1e-6 or lams.max() > stops[-1] + 1e-6:
            raise ValueError(
                f"λ = {lams.min() if lams.min() < stops[0] else lams.max():g} is outside this network's dial: "
                f"it was trained at {_listed(self.spec.stops)}"
            )
        right = torch.searchsorted(stops, lams.clamp(stops[0], stops[-1])).clamp(min=1, max=max(len(stops) - 1, 1))
        mix = torch.zeros(len(lams), len(stops), dtype=torch.float64)
        if len(stops) == 1:
            mix.fill_(1.0)
        else:
            t = ((lams - stops[right - 1]) / (stops[right] - stops[right - 1])).clamp(0, 1)
            t = torch.where((t - t.round()).abs() < 1e-6, t.round(), t)  # 0.1 + 0.2 is the stop 0.3
            mix.scatter_(1, right[:, None] - 1, (1 - t)[:, None]).scatter_(1, right[:, None], t[:, None])
        return mix.to(self._like)

    def _lams(self, lam: float | Tensor | None) -> Tensor:
        if lam is None:
            if len(self.spec.stops) > 1:
                raise ValueError(
                    f"which λ? This network has a dial: give lam, for instance one of {_listed(self.spec.stops)}"
                )
            lam = self.spec.stops[0]
        lams = torch.as_tensor(lam, dtype=torch.float64).cpu().reshape(-1)
        if not bool(((lams >= -1e-6) & (lams <= 1 + 1e-6)).all()):
            raise ValueError(f"λ must lie in [0, 1], got {lam}")
        return lams

    def extra_repr(self) -> str:
        """One line: recipe, backbone, stops."""
        spec = self.spec
        return f"{spec.recipe} on {spec.backbone}, λ stops {_listed(spec.stops)}, widths {_listed(spec.widths)}"


def _codes_of(spec: Spec, seed: int) -> Tensor | None:
    if not spec.film:
        return None
    return lambda_codes(spec.codes, spec.stops, spec.code_dim, torch.Generator().manual_seed(seed))


def _replace(module: nn.Module, convert: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A twin of a module tree with every unit and the head converted; other leaves are frozen copies."""
    if isinstance(module, (Unit, Head)):
        return convert(module)
    if not module._modules:
        return copy.deepcopy(module).requires_grad_(False).eval()
    twin = copy.copy(module)
    twin._modules = {
        name: child if child is None else _replace(child, convert) for name, child in module._modules.items()
    }
    twin.training = False
    return twin


def lookup(kind: str, name: str, table: dict):
    """`table[name]`, or an error that lists the valid names and guesses which one was meant."""
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}{did_you_mean(name, table)}: use one of {', '.join(table)}")
    return table[name]


def did_you_mean(name, names) -> str:
    """' (did you mean ...?)', or '' if nothing is close."""
    close = difflib.get_close_matches(str(name), list(names), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _listed(values) -> str:
    return ", ".join(f"{v:g}" for v in values)


def save(net: Network, path) -> None:
    """Write a network to one safetensors file: weights, λ codes, and a JSON header that says what it is."""
    record.write_weights(path, net.state_dict(), {"spec": asdict(net.spec), "trained": net.trained})


def load(path, device=None) -> Network:
    """Read a network back. The file must fit exactly: no missing, extra or misshapen tensor is accepted."""
    tensors, header = record.read_weights(path)
    if "checkpoint" in header:
        raise record.RecordError(f"{path} is a checkpoint of a training run: go on with train(..., resume=True)")
    try:
        spec = {k: tuple(v) if isinstance(v, list) else v for k, v in header["spec"].items()}
        net = Network(Spec(**spec))
        net.trained = list(header["trained"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise record.RecordError(
            f"{path}: its header describes no network that this oatlib knows ({type(error).__name__}: {error}). "
            "Copy the file again, or update oatlib."
        ) from error
    record.fill(net, tensors, path)
    return net.to(device) if device else net
