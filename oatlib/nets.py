"""A network with dials: the unfolded form that trains, and the folded forms that everything else runs.

* `net(x, lam)` is the unfolded network: dual BN, FiLM, routing. Training uses it; it knows only the λ stops.
* `net.bind(lams)` folds norm and FiLM into one scale and shift per sample: what attacks inside training run.
* `net.at(lam)` folds them into the conv weights: a plain network, for any λ between the first and the last stop.
* `net.noisy(lam, generator=...)` is `at` for networks with weight noise, drawn anew at every forward.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, fields, replace

import torch
from torch import Tensor, nn

from . import record
from .backbones import BACKBONES
from .dial import lambdas, listed, nearest, position
from .layers.film import lambda_codes
from .layers.folded import Place
from .layers.head import Head
from .layers.mixture import OutputMixture, log_mixture
from .layers.setting import ADV, CLEAN, Setting, Width
from .layers.unit import Dials, Unit, UnitOptions
from .spec import Spec, lookup, spec_from


class Network(nn.Module):
    """A backbone and its dials. Images (N, C, H, W) in [0, 1] -> logits (N, classes)."""

    def __init__(self, spec: Spec, seed: int = 0):
        super().__init__()
        self.spec = spec
        self.trained: list[dict] = []  # how it was trained, newest last; goes into the file
        self.slider = (spec.stops[0], spec.stops[-1])  # λ at evenly spaced slider positions, see even.py
        with torch.random.fork_rng(devices=[]):  # PyTorch's initialisers only know the global generator
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerators, too
            codes = _codes_of(spec, seed)
            dim = 1 if codes is None else codes.shape[1]
            given = {f.name: getattr(spec, f.name) for f in fields(UnitOptions) if f.name != "code_dim"}
            options = UnitOptions(code_dim=dim, **given)
            self.body = lookup("backbone", spec.backbone, BACKBONES)(options, spec.shape[0], len(spec.classes))
        self.register_buffer("codes", codes)
        # BN_c iff λ is exactly 0; a single BN sees the whole batch at once, so there all samples share a branch
        self.branches = torch.tensor([CLEAN if lam == 0 or not spec.dual else ADV for lam in spec.stops])
        self.paths = tuple(ADV if lam > 0 and spec.two_paths else CLEAN for lam in spec.stops)
        self.to(memory_format=torch.channels_last)  # up to 3x faster convs on a CPU
        self.eval()

    def forward(
        self, x: Tensor, lam: float | Tensor | Setting | None = None, width: float | None = None,
        noise: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """The unfolded network at λ stops, one for all or one per sample, in any order. See also `at` and `bind`."""
        if self.spec.dial == "outputs" and not isinstance(lam, Setting):  # training passes settings
            return self._unfolded_mixture(x, lam, width, noise)
        setting = lam if isinstance(lam, Setting) else self.setting(lam, len(x), width)
        if len(setting.stop) != len(x):
            raise ValueError(f"a setting for {len(setting.stop)} images was given {len(x)}")
        if noise is None and self.spec.noise and setting.path is not None and bool(setting.path.any()):
            raise ValueError("at λ > 0 the weights of this network are noisy: say where from, noise=torch.Generator()")
        route = setting.route(len(self.spec.stops), self._like)
        x = route.enter(x.contiguous(memory_format=torch.channels_last))
        return route.leave(self.body(x, Dials(route, self.codes, setting.width, noise)))

    def width(self, share: float | None = None) -> Width:
        """The width of this network that is nearest to `share` up to rounding; None is the full width."""
        widths = self.spec.widths
        share = widths[-1] if share is None else share
        index = min(range(len(widths)), key=lambda i: abs(widths[i] - share))
        if not abs(widths[index] - share) <= 1e-6:
            more = "; oatlib.calibrate adds others" if self.spec.norm_sharing == "affine" else ""
            raise ValueError(f"width {share:g} is not in this network: its widths are {listed(widths)}{more}")
        return Width(widths[index], index)

    def setting(self, lam: float | Tensor | None, n: int, width: float | Width | None = None) -> Setting:
        """Resolve λ (one, or one per sample) for a batch of n, and the width; λ must be one of the stops."""
        width = width if isinstance(width, Width) else self.width(width)
        lams = lambdas(self.spec.stops, lam)
        if len(lams) not in (1, n):
            raise ValueError(f"{len(lams)} values of λ for {n} images: give one for all, or one each")
        stop = nearest(self.spec.stops, lams).expand(n) if n else torch.empty(0).long()
        path = torch.tensor(self.paths)[stop] if self.spec.two_paths else None
        return Setting(stop, self.branches[stop], (n,), width, path)

    def at(self, lam: float | None = None, width: float | None = None, noise_seed: int = 0) -> nn.Module:
        """A plain nn.Module for one λ and one width: no FiLM, no branches, no dials. It shares nothing with this.

        Where weights are noisy it holds one frozen draw, of `noise_seed`.
        """
        return _own(self.answering(*self.check(lam, width), torch.Generator().manual_seed(noise_seed)))

    def noisy(self, lam: float, width: float | None = None, *, generator: torch.Generator) -> nn.Module:
        """`at` with the noise of its weights drawn anew at every forward; it shares nothing but the generator."""
        return _own(self.answering(*self.check(lam, width), generator, fresh=True))

    def noise_at(self, lam: float | None = None) -> bool:
        """Whether the weights are noisy at this λ."""
        (mix, levels), _ = self.check(lam)
        return bool((mix * torch.tensor(levels)).any())

    def check(self, lam: float | None = None, width: float | None = None) -> tuple[tuple, Width]:
        """Raise a ValueError unless `at` can give this setting. Returns its position on the dial, and the width."""
        lams = lambdas(self.spec.stops, lam)
        if len(lams) != 1:
            raise ValueError(f"net.at takes one λ, got {len(lams)}; for one λ per image use net.bind(lams)")
        return position(self.spec, lams), self.width(width)

    def lam(self, u: float) -> float:
        """λ at slider position u in [0, 1]: u itself until `even_dial` has fitted the slider."""
        if not 0 <= u <= 1:
            raise ValueError(f"a slider position lies in [0, 1], got {u:g}")
        at = u * (len(self.slider) - 1)
        left = min(int(at), len(self.slider) - 2)
        return self.slider[left] + (at - left) * (self.slider[left + 1] - self.slider[left])

    def bind(
        self, lams: Tensor, width: float | None = None, noise: torch.Generator | None = None
    ) -> nn.Module:  # fmt: skip
        """The network for a batch whose images carry the given λ (N,): scale and shift computed once, weights shared.

        It is valid until the weights of this network change. Noise comes anew from `noise`; None: one draw, of seed 0.
        """
        generator = torch.Generator().manual_seed(0) if noise is None else noise
        where = position(self.spec, lambdas(self.spec.stops, lams))
        return self.answering(where, self.width(width), generator, noise is not None)

    def with_dial(self, rule: str) -> Network:
        """Return a network that shares all weights with this one and reads λ by another rule. Nothing is trained.

        Args:
            rule: One of `oatlib.dial.RULES`, for instance "outputs", which mixes the outputs of both ends.

        Returns:
            A new Network. Its slider is not fitted. This network stays as it is.

        Raises:
            ValueError: If there is no such rule, or if it needs something that this network does not have.

        Example:
            >>> mixed = net.with_dial("outputs")
            >>> mixed.at(0.6)(images)  # log(0.4 softmax(net.at(0)(images)) + 0.6 softmax(net.at(1)(images)))
        """
        spec = replace(self.spec, dial=rule)
        twin = copy.copy(self)  # a shallow copy: the same tensors in the same submodules
        twin.spec = spec
        twin.slider = (spec.stops[0], spec.stops[-1])
        return twin

    def members(self, lam: float) -> list[tuple[Network, float]]:
        """The networks that answer at λ, each with its own λ; more than one only for `oatlib.mix`."""
        return [(self, lam)]

    def answering(self, where: tuple, width: Width, generator: torch.Generator | None, fresh=False) -> nn.Module:
        """The folded network at a position on the dial, by the rule of this network. It may share its tensors."""
        if self.spec.dial != "outputs":
            return self._folded(where, width, generator, fresh)
        weights = where[0][:, [0, -1]]  # of the first and the last stop, (N or 1, 2)
        used = [end for end in (0, -1) if bool(weights[:, end].any())]
        ends = [self._end(end, width, generator, fresh) for end in used]
        if len(ends) == 1 and len(weights) == 1:
            return ends[0]
        return OutputMixture(ends, weights[:, used].to(self._like))

    def _end(self, end: int, width: Width, generator: torch.Generator | None, fresh: bool) -> nn.Module:
        """One end of the dial, folded: the first stop (0) or the last one (-1)."""
        stops = self.spec.stops
        return self._folded(position(self.spec, lambdas(stops, stops[end])), width, generator, fresh)

    def _unfolded_mixture(self, x: Tensor, lam, width: float | None, noise: torch.Generator | None) -> Tensor:
        """The unfolded form under the rule `outputs`: both ends, mixed."""
        lams = lambdas(self.spec.stops, lam)
        if len(lams) not in (1, len(x)):
            raise ValueError(f"{len(lams)} values of λ for {len(x)} images: give one for all, or one each")
        weights = position(self.spec, lams)[0][:, [0, -1]]
        return log_mixture([self._unfolded_end(end, x, width, noise) for end in (0, -1)], weights)

    def _unfolded_end(self, end: int, x: Tensor, width: float | None, noise: torch.Generator | None) -> Tensor:
        return self.forward(x, self.setting(self.spec.stops[end], len(x), width), noise=noise)

    def bind_stops(self, setting: Setting, noise: torch.Generator | None = None) -> nn.Module:
        """`bind` for a setting that is already resolved, with noise as the recipe wants it redrawn (training)."""
        mix = nn.functional.one_hot(setting.stop, len(self.spec.stops))
        return self._folded(
            (mix, tuple(float(path) for path in self.paths)), setting.width, noise, self.spec.redraw == "forward"
        )

    @torch.no_grad()
    def _folded(self, where: tuple, width: Width, generator: torch.Generator | None, fresh=False) -> nn.Module:
        """`where`: weights over the stops (N or 1, S), and the level of noise at each."""
        (mix, levels), branches = where, self.branches.to(self._like.device)
        place = Place(mix.to(self._like), branches, self.codes, width, self.paths, levels, generator, fresh)
        return _replace(self.body, lambda part: part.fold(place))

    @property
    def _like(self) -> Tensor:
        """A tensor of the network's device and type."""
        return self.body.head.each[0].weight

    def header(self) -> dict:
        """What a file says about this network, ready for JSON."""
        return {"spec": asdict(self.spec), "trained": self.trained, "slider": self.slider}

    def extra_repr(self) -> str:
        """One line: recipe, backbone, stops."""
        spec = self.spec
        return f"{spec.recipe} on {spec.backbone}, λ stops {listed(spec.stops)}, widths {listed(spec.widths)}"


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


def _own(folded: nn.Module) -> nn.Module:
    """A folded network with numbers of its own; a copy of a slice would keep all of what it was taken from."""
    for part in folded.modules():
        part._buffers = {name: None if b is None else b.clone() for name, b in part._buffers.items()}
    return folded


def save(net: Network, path) -> None:
    """Write a network to one safetensors file: weights, λ codes, and a JSON header that says what it is."""
    record.write_weights(path, net.state_dict(), net.header())


def load(path, device=None) -> Network:
    """Read a network back. The file must fit exactly: no missing, extra or misshapen tensor is accepted."""
    tensors, header = record.read_weights(path)
    if "checkpoint" in header:
        raise record.RecordError(f"{path} is a checkpoint of a training run: go on with train(..., resume=True)")
    try:
        net = Network(spec_from(header["spec"]))
        net.trained = list(header["trained"])
        net.slider = tuple(float(lam) for lam in header.get("slider", net.slider))  # none in the first files
        if len(net.slider) < 2 or list(net.slider) != sorted(net.slider):
            raise ValueError(f"a slider needs ascending λ, got {net.slider}")
        for lam in net.slider:
            net.check(lam)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise record.RecordError(
            f"{path}: its header describes no network that this oatlib knows ({type(error).__name__}: {error}). "
            "Copy the file again, or update oatlib."
        ) from error
    record.fill(net, tensors, path)
    return net.to(device) if device else net
