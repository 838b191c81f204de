"""Networks with dials: an unfolded form for training, and folded forms for everything else.

An unfolded network routes each sample by its λ. Folding fixes λ and width and merges norm and FiLM
into other layers, which makes the network cheaper to run.

* `net(x, lam)` runs the unfolded network, with dual BatchNorm, FiLM and routing. Training uses it.
  λ must be a λ stop, unless the dial rule is `outputs`.
* `net.bind(lams)` folds norm and FiLM into one scale and one shift per sample. The attacks inside
  training use such a network.
* `net.at(lam)` folds norm and FiLM into the conv weights. The result is a plain network, for any λ
  from the first to the last stop.
* `net.noisy(lam, generator=...)` is `at` for networks with weight noise. It samples the noise at
  every forward.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, replace
from numbers import Real

import torch
from torch import Tensor, nn

from .. import record
from .._check import briefly, device_of, of_type, path_of, real, seed_of
from .._random import global_seed
from .._suggest import lookup
from ..layers.film import lambda_codes
from ..layers.folded import FoldPlan
from ..layers.head import Head
from ..layers.mixture import OutputMixture, log_mixture
from ..layers.setting import ADV, CLEAN, Position, Setting, Width
from ..layers.unit import Dials, Unit
from .backbones import BACKBONES
from .lambdas import lambdas, listed, nearest, resolve
from .spec import Spec, spec_from

# A network with more classes and channels than this may be too large for the memory, see `load`.
USUAL_SIZE = 4096


class Network(nn.Module):
    """A backbone with its dials: images (N, C, H, W) in [0, 1] -> logits (N, classes).

    `oatlib.build` makes a network from the name of a recipe. A new network is in eval mode.

    Args:
        spec: Everything needed to build the network.
        seed: Seed of the initial weights, λ codes and masks.

    Attributes:
        spec: The spec.
        trained: One dictionary per training run, newest last. It is saved with the weights.
        slider: λ at evenly spaced slider positions, see `lam`.
        body: The backbone.
        codes: λ codes of shape (S, d), or None without FiLM.
        branches: BatchNorm branch of each stop, (S,).
        paths: Weight path of each stop.
    """

    def __init__(self, spec: Spec, seed: int = 0):
        super().__init__()
        self.spec = spec
        self.trained: list[dict] = []
        self.slider = (spec.stops[0], spec.stops[-1])
        with global_seed(seed_of(seed)):
            codes = _codes_of(spec, seed)
            backbone = lookup("backbone", spec.backbone, BACKBONES)
            options = spec.unit_options(1 if codes is None else codes.shape[1])
            self.body = backbone(options, spec.shape[0], len(spec.classes), centre=spec.centre)
        self.register_buffer("codes", codes)
        # The clean BatchNorm is used if and only if λ is exactly 0. A single BatchNorm has to see
        # the whole batch at once, so without a pair all samples share a branch.
        self.branches = torch.tensor(
            [CLEAN if lam == 0 or not spec.dual else ADV for lam in spec.stops]
        )
        self.paths = tuple(ADV if lam > 0 and spec.two_paths else CLEAN for lam in spec.stops)
        self.to(memory_format=torch.channels_last)  # up to 3x faster convs on a CPU
        self.eval()

    def forward(
        self,
        x: Tensor,
        lam: float | Tensor | Setting | None = None,
        width: float | None = None,
        noise: torch.Generator | None = None,
    ) -> Tensor:
        """Run the unfolded network. See also `at` and `bind`.

        Args:
            x: Images of shape (N, C, H, W) in [0, 1].
            lam: λ stops: one for all images, or one per image (N,), in any order. None: the only
                stop. With the dial rule `outputs`, any λ from the first to the last stop. Training
                passes a `Setting`.
            width: Fraction of the channels. None: the full width. Ignored if `lam` is a `Setting`.
            noise: Source of weight noise. Required if the network has weight noise and a λ is above
                0 (with the dial rule `outputs`: at any λ).

        Returns:
            Logits of shape (N, classes).

        Raises:
            ValueError: If λ or width is not in this network, if the number of λ does not match the
                number of images, or if `noise` is missing.
        """
        self._check_images(x)
        if self.spec.dial == "outputs" and not isinstance(lam, Setting):  # training passes settings
            return self._unfolded_mixture(x, lam, width, noise)
        setting = lam if isinstance(lam, Setting) else self.setting(lam, len(x), width)
        if len(setting.stop) != len(x):
            raise ValueError(f"a setting for {len(setting.stop)} images was given {len(x)}")
        if (
            noise is None
            and self.spec.noise
            and setting.path is not None
            and bool(setting.path.any())
        ):
            raise ValueError(
                "at λ > 0 the weights of this network are noisy: say where from, "
                "noise=torch.Generator()"
            )
        # Sort the batch once; `leave` restores the order of the images.
        route = setting.route(len(self.spec.stops), self._reference)
        x = route.enter(x.contiguous(memory_format=torch.channels_last))
        return route.leave(self.body(x, Dials(route, self.codes, setting.width, noise)))

    def _check_images(self, x: Tensor) -> None:
        """Raise an error unless x are images that this network takes, (N, C, H, W)."""
        of_type("images", x, Tensor, f"a tensor (N, {', '.join(map(str, self.spec.shape))})")
        if x.ndim != 4 or x.shape[1] != self.spec.shape[0] or not x.is_floating_point():
            raise ValueError(
                f"this network takes images {tuple(self.spec.shape)}, floating point in [0, 1], as "
                f"a tensor (N, C, H, W); got {x.dtype} {tuple(x.shape)}"
            )

    def width(self, fraction: float | None = None) -> Width:
        """Return the width of this network that equals `fraction` up to rounding errors.

        Args:
            fraction: Fraction of the channels. None: the full width.

        Raises:
            ValueError: If the network does not have this width.
        """
        widths = self.spec.widths
        fraction = widths[-1] if fraction is None else fraction
        if not isinstance(fraction, Real):
            raise ValueError(
                f"a width is a fraction of the channels, here {listed(widths)}, got "
                f"{briefly(fraction)}"
            )
        index = min(range(len(widths)), key=lambda i: abs(widths[i] - fraction))
        if not abs(widths[index] - fraction) <= 1e-6:
            more = "; oatlib.calibrate adds others" if self.spec.norm_sharing == "affine" else ""
            raise ValueError(
                f"width {fraction:g} is not in this network: its widths are {listed(widths)}{more}"
            )
        return Width(widths[index], index)

    def setting(
        self, lam: float | Tensor | None, n: int, width: float | Width | None = None
    ) -> Setting:
        """Resolve λ and width for a batch of n images.

        Args:
            lam: λ stops: one for all images, or one per image (n,). None: the only stop.
            n: Number of images.
            width: Fraction of the channels, or a `Width`. None: the full width.

        Returns:
            The `Setting` of the batch, as one training pass.

        Raises:
            ValueError: If a λ is not a stop, if the number of λ does not match n, or if the network
                does not have this width.
        """
        width = width if isinstance(width, Width) else self.width(width)
        lams = lambdas(self.spec.stops, lam)
        if len(lams) not in (1, n):
            raise ValueError(
                f"{len(lams)} values of λ for {n} images: give one for all, or one each"
            )
        stop = nearest(self.spec.stops, lams).expand(n) if n else torch.empty(0).long()
        return self.setting_of_stops(stop, width)

    def setting_of_stops(self, lambda_stop: Tensor, width: Width) -> Setting:
        """Return `setting` for λ stops that are known by their index. Training uses it.

        Args:
            lambda_stop: Index of the λ stop of each image, int64 (n,), on the CPU.
            width: The width.

        Returns:
            The `Setting` of the batch, as one training pass.
        """
        path = torch.tensor(self.paths)[lambda_stop] if self.spec.two_paths else None
        branch = self.branches[lambda_stop]
        return Setting(lambda_stop, branch, (len(lambda_stop),), width, path)

    def at(
        self, lam: float | None = None, width: float | None = None, noise_seed: int = 0
    ) -> nn.Module:
        """Return a plain module for one λ and one width: no FiLM, no branches, no dials.

        The module shares nothing with this network. If the weights are noisy, it contains one
        frozen sample of the noise.

        Args:
            lam: λ, from the first to the last stop. None: the only stop.
            width: Fraction of the channels. None: the full width.
            noise_seed: Seed of the noise sample.

        Returns:
            A module, images (N, C, H, W) in [0, 1] -> logits (N, classes), for any N.

        Raises:
            ValueError: If the network does not have this λ or this width.

        Example:
            >>> plain = net.at(0.5)
            >>> logits = plain(images)
        """
        generator = torch.Generator().manual_seed(seed_of(noise_seed))
        return self.fold(self._position_of_one(lam, width), generator)

    def noisy(
        self, lam: float, width: float | None = None, *, generator: torch.Generator
    ) -> nn.Module:
        """Return `at` with weight noise that is sampled at every forward.

        The module shares nothing with this network. It shares the generator with the caller.

        Args:
            lam: λ, from the first to the last stop.
            width: Fraction of the channels. None: the full width.
            generator: Source of weight noise.

        Returns:
            A module, images (N, C, H, W) in [0, 1] -> logits (N, classes), for any N.

        Raises:
            ValueError: If the network does not have this λ or this width.
        """
        of_type("generator", generator, torch.Generator, "a torch.Generator")
        return self.fold(self._position_of_one(lam, width), generator, resample=True)

    def position(self, lam: float | Tensor | None = None, width: float | None = None) -> Position:
        """Check λ and width, and return where the dials stand.

        Args:
            lam: λ, from the first to the last stop: one for all images, or one per image (N,).
                None: the only stop.
            width: Fraction of the channels. None: the full width.

        Returns:
            The `Position`, which `fold` takes. `position.noisy` says whether the weights are random
            there.

        Raises:
            ValueError: If the network does not have this λ or this width.

        Example:
            >>> net.position(0.1).weights  # λ stops 0, 0.2, 1
            tensor([[0.5000, 0.5000, 0.0000]], dtype=torch.float64)
        """
        return resolve(self.spec, lambdas(self.spec.stops, lam), self.width(width))

    def _position_of_one(self, lam: float | None, width: float | None) -> Position:
        """Return the position of one λ for all images. Raise a ValueError if there are several."""
        position = self.position(lam, width)
        if position.per_image:
            raise ValueError(
                f"net.at takes one λ, got {len(position.weights)}; for one λ per image use "
                "net.bind(lams)"
            )
        return position

    def lam(self, u: float) -> float:
        """Return λ at a slider position. It is linear in u until `fit_slider` fits the slider.

        Args:
            u: Slider position in [0, 1]. 0 is the first stop, 1 the last stop.

        Raises:
            ValueError: If u lies outside [0, 1].
        """
        real("a slider position", u, 0, 1)
        at = u * (len(self.slider) - 1)
        left = min(int(at), len(self.slider) - 2)
        return self.slider[left] + (at - left) * (self.slider[left + 1] - self.slider[left])

    def bind(
        self, lams: Tensor, width: float | None = None, noise: torch.Generator | None = None
    ) -> nn.Module:
        """Return the network for one batch, with a λ per image.

        Scale and shift are computed once. Weights may be shared with this network, so the result is
        valid until they change.

        Args:
            lams: λ of each image, (N,), from the first to the last stop.
            width: Fraction of the channels. None: the full width.
            noise: Source of weight noise, which is sampled at every forward. None: one frozen
                sample, of seed 0.

        Returns:
            A module, images (N, C, H, W) in [0, 1] -> logits (N, classes), for a batch of N images.

        Raises:
            ValueError: If the network does not have one of these λ, or not this width.
        """
        generator = torch.Generator().manual_seed(0) if noise is None else noise
        return self._fold(self.position(lams, width), generator, resample=noise is not None)

    def with_dial(self, rule: str) -> Network:
        """Return a network that shares all weights with this one and reads λ by another rule.

        Nothing is trained.

        Args:
            rule: One of `oatlib.networks.lambdas.RULES`, for instance "outputs", which mixes the
                outputs of both ends.

        Returns:
            A new Network. Its slider is not fitted. This network is not changed.

        Raises:
            ValueError: If there is no such rule, or if it needs something that this network does
                not have.

        Example:
            >>> mixed = net.with_dial("outputs")
            >>> mixed.at(0.6)(images)
            log(0.4 softmax(net.at(0)(images)) + 0.6 softmax(net.at(1)(images)))
        """
        spec = replace(self.spec, dial=rule)
        twin = copy.copy(self)  # a shallow copy: the same tensors in the same submodules
        twin.spec = spec
        twin.slider = (spec.stops[0], spec.stops[-1])
        return twin

    def members(self, position: Position) -> list[tuple[Network, Position]]:
        """Return the networks that are used at a position, each with its own position.

        More than one only for `oatlib.mix`.

        Args:
            position: A position of one λ for all images.
        """
        return [(self, position)]

    def fold(
        self, position: Position, generator: torch.Generator | None = None, resample: bool = False
    ) -> nn.Module:
        """Return the plain network at a position of the dials. `at` and `noisy` are built on it.

        The module shares nothing with this network, apart from the generator.

        Args:
            position: Where the dials stand, from `position`.
            generator: Source of weight noise. Needed only where the position is noisy.
            resample: True: noise is sampled at every forward. False: it is sampled once.

        Returns:
            A module, images (N, C, H, W) in [0, 1] -> logits (N, classes).
        """
        return _detach_buffers(self._fold(position, generator, resample))

    def _fold(
        self, position: Position, generator: torch.Generator | None, resample: bool
    ) -> nn.Module:
        """Return what `fold` returns, but with tensors that may be shared with this network."""
        if self.spec.dial != "outputs":
            return self._fold_body(position, generator, resample)
        # Rule `outputs`: fold the ends that have a weight, then mix their outputs.
        weights = position.weights[:, [0, -1]]  # of the first and the last stop, (N or 1, 2)
        used = [end for end in (0, -1) if bool(weights[:, end].any())]
        ends = [self._fold_end(end, position.width, generator, resample) for end in used]
        if len(ends) == 1 and not position.per_image:
            return ends[0]
        return OutputMixture(ends, weights[:, used].to(self._reference))

    def _fold_end(
        self, end: int, width: Width, generator: torch.Generator | None, resample: bool
    ) -> nn.Module:
        """Fold one end of the dial: the first stop (0) or the last one (-1)."""
        lam = lambdas(self.spec.stops, self.spec.stops[end])
        return self._fold_body(resolve(self.spec, lam, width), generator, resample)

    def _unfolded_mixture(
        self, x: Tensor, lam, width: float | None, noise: torch.Generator | None
    ) -> Tensor:
        """Run the unfolded form under the rule `outputs`: mix the outputs of both ends."""
        position = self.position(lam, width)
        n_lams = len(position.weights)
        if n_lams not in (1, len(x)):
            raise ValueError(
                f"{n_lams} values of λ for {len(x)} images: give one for all, or one each"
            )
        weights = position.weights[:, [0, -1]]  # (N or 1, 2)
        return log_mixture([self._unfolded_end(end, x, width, noise) for end in (0, -1)], weights)

    def _unfolded_end(
        self, end: int, x: Tensor, width: float | None, noise: torch.Generator | None
    ) -> Tensor:
        """The logits of one end of the dial, unfolded: the first stop (0) or the last one (-1)."""
        return self.forward(x, self.setting(self.spec.stops[end], len(x), width), noise=noise)

    def bind_stops(self, setting: Setting, noise: torch.Generator | None = None) -> nn.Module:
        """Return `bind` for a setting that is already resolved. Training uses it.

        Args:
            setting: The setting of N images.
            noise: Source of weight noise. If the spec says redraw="forward", it is sampled at every
                forward, otherwise once.
        """
        # At a stop all of the weight is on it. Its noise has level 1 on the adversarial path.
        weights = nn.functional.one_hot(setting.stop, len(self.spec.stops))
        levels = tuple(float(path) for path in self.paths) if self.spec.noise else ()
        position = Position(weights, setting.width, levels)
        return self._fold_body(position, noise, self.spec.redraw == "forward")

    @torch.no_grad()
    def _fold_body(
        self, position: Position, generator: torch.Generator | None, resample: bool
    ) -> nn.Module:
        """Fold the backbone at a position of the dials."""
        weights = position.weights.to(self._reference)
        plan = FoldPlan(
            replace(position, weights=weights),
            self.branches.to(self._reference.device),
            self.codes,
            self.paths,
            generator,
            resample,
        )
        return _replace(self.body, lambda part: part.fold(plan))

    @property
    def _reference(self) -> Tensor:
        """A tensor with the device and type of the network."""
        return self.body.head.each[0].weight

    def header(self) -> dict:
        """Return what a file stores about this network beside its tensors, ready for JSON."""
        return {"spec": asdict(self.spec), "trained": self.trained, "slider": self.slider}

    def extra_repr(self) -> str:
        """Return one line for `print(net)`: recipe, backbone, stops and widths."""
        spec = self.spec
        return (
            f"{spec.recipe} on {spec.backbone}, λ stops {listed(spec.stops)}, widths "
            f"{listed(spec.widths)}"
        )


def _codes_of(spec: Spec, seed: int) -> Tensor | None:
    """The λ codes of a spec, (S, d), or None without FiLM."""
    if not spec.film:
        return None
    return lambda_codes(spec.codes, spec.stops, spec.code_dim, torch.Generator().manual_seed(seed))


def _replace(module: nn.Module, convert: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Return a copy of a module tree in which every unit and the head is converted.

    Other modules without children become frozen copies.
    """
    if isinstance(module, (Unit, Head)):
        return convert(module)
    if not module._modules:
        return copy.deepcopy(module).requires_grad_(False).eval()
    # A shallow copy with a new dictionary of submodules: `module` keeps its own.
    twin = copy.copy(module)
    twin._modules = {
        name: child if child is None else _replace(child, convert)
        for name, child in module._modules.items()
    }
    twin.training = False
    return twin


def _detach_buffers(folded: nn.Module) -> nn.Module:
    """Give a folded network its own copy of every buffer, and return it.

    A buffer may be a slice. Saving or copying it would keep the whole tensor that it was cut from.
    """
    for part in folded.modules():
        part._buffers = {
            name: None if b is None else b.clone() for name, b in part._buffers.items()
        }
    return folded


def masked_units(net: Network) -> list[Unit]:
    """Return the units of a network whose conv is masked."""
    return [part for part in net.modules() if isinstance(part, Unit) and part.masks is not None]


def check_network(net) -> None:
    """Raise a TypeError unless a value is a network of oatlib.

    Args:
        net: The argument of a user.
    """
    of_type(
        "net", net, Network, "a network, such as oatlib.build('oat', data) or oatlib.load(path)"
    )


def save(net: Network, path, half: bool = False) -> None:
    """Write a network to one safetensors file: weights, λ codes and a JSON header with the spec.

    Args:
        net: The network.
        path: The file to write.
        half: Round filters and matrices to half precision (11 bits), so that the file has half the
            size. Vectors, such as the statistics of BatchNorm, stay exact. `load` returns all in
            single precision.

    Raises:
        RecordError: If the file cannot be written.
        ValueError: If the network is a mix of two networks (`oatlib.mix`), or if a weight is too
            large for half precision.
    """
    check_network(net)
    tensors, header = net.state_dict(), net.header()
    if half:
        tensors = {name: _rounded(name, tensor) for name, tensor in tensors.items()}
        header["half"] = True
    record.write_weights(path_of(path), tensors, header)


def _rounded(name: str, tensor: Tensor) -> Tensor:
    """Return a filter or a matrix in half precision, and any other tensor as it is."""
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor
    rounded = tensor.half()
    if not rounded.isfinite().all():
        raise ValueError(f"{name} holds numbers that half precision cannot: save with half=False")
    return rounded


def load(path, device=None) -> Network:
    """Read a network that `save` wrote.

    The file must fit exactly: a missing, extra or misshapen tensor is an error.

    Args:
        path: The file to read.
        device: Where to put the network. None: it stays on the CPU.

    Raises:
        RecordError: If the file cannot be read, is a checkpoint, or does not describe and fit a
            network.
    """
    path = path_of(path)
    device = device_of(device)
    tensors, header = record.read_weights(path)
    if "checkpoint" in header:
        raise record.RecordError(
            f"{path} is a checkpoint of a training run: go on with train(..., resume=True)"
        )
    try:
        spec = spec_from(header.get("spec"))
        _check_size(spec, tensors)
        net = Network(spec)
        net.trained = header.get("trained")
        if not (isinstance(net.trained, list) and all(isinstance(r, dict) for r in net.trained)):
            raise ValueError(f"trained must be a list of training runs, got {net.trained!r:.80}")
        # The first files have no slider.
        net.slider = tuple(float(lam) for lam in header.get("slider", net.slider))
        if len(net.slider) < 2 or list(net.slider) != sorted(net.slider):
            raise ValueError(f"a slider needs ascending λ, got {net.slider}")
        for lam in net.slider:
            net.position(lam)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        OverflowError,
    ) as error:
        raise record.RecordError(
            f"{path}: its header describes no network that this oatlib knows: {error}. "
            "Copy the file again, or update oatlib."
        ) from error
    if header.get("half") is True:
        tensors = {n: t.float() if t.dtype == torch.float16 else t for n, t in tensors.items()}
    record.load_exactly(net, tensors, path)
    return net.to(device) if device else net


def _check_size(spec: Spec, tensors: dict[str, Tensor]) -> None:
    """Raise a ValueError if a network would be larger than the tensors of its file.

    Most networks are built to find that out. One with unusually many classes or channels could fill
    the memory, so it is first built without memory, which takes seconds.
    """
    if len(spec.classes) + spec.shape[0] <= USUAL_SIZE:
        return
    with torch.device("meta"):
        wanted = sum(tensor.numel() for tensor in Network(spec).state_dict().values())
    found = sum(tensor.numel() for tensor in tensors.values())
    if wanted > found:
        raise ValueError(
            f"it has {len(spec.classes):,} classes and {spec.shape[0]:,} channels, which takes "
            f"{wanted:,} numbers, and the file holds {found:,}"
        )
