"""Data sets held in memory: their splits, random augmentation, and class-stratified division.

No worker processes and no data loaders are needed. A data set is six tensors, and an epoch is
`for i in batches(len(train), 128, generator)`. Pixels are in [0, 1] and are never normalised here.
Networks normalise in their first layer, so that attacks and users work in the same unit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from .._check import briefly, device_of, positive_int, whole


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a data set: images, labels, and other known facts about the images.

    Attributes:
        x: Images, float32 (N, C, H, W) in [0, 1].
        y: Labels, int64 (N,).
        name: "train", "val" or "test".
        facts: What else is known about the images, one tensor (N,) per name. For `shapes` these are
            the painted "shape", its "vividness" and its "trust". Networks never see them.
    """

    x: Tensor
    y: Tensor
    name: str
    facts: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.y)

    def __repr__(self) -> str:
        return (
            f"Split({self.name}: {len(self)} images {'x'.join(map(str, self.x.shape[1:]))} on "
            f"{self.x.device})"
        )

    def to(self, device: torch.device | str | None) -> "Split":
        """Return the same images on another device."""
        facts = {name: fact.to(device) for name, fact in self.facts.items()}
        return replace(self, x=self.x.to(device), y=self.y.to(device), facts=facts)

    def take(self, index: Tensor) -> "Split":
        """Return the images at `index` (M,), with their facts."""
        facts = {name: fact[index] for name, fact in self.facts.items()}
        return replace(self, x=self.x[index], y=self.y[index], facts=facts)

    def panel(self, n: int, seed: int = 0) -> "Split":
        """Return a fixed subset of n images, with class counts as equal as the split allows.

        Args:
            n: Number of images.
            seed: Another seed selects another subset.

        Raises:
            ValueError: If n is not between 1 and the number of images.
        """
        is_whole = isinstance(n, Integral) and not isinstance(n, bool)
        if not is_whole or not 1 <= n <= len(self):
            raise ValueError(
                f"panel({n!r}): the {self.name} split has {len(self)} images, so n must be a whole "
                f"number from 1 to {len(self)}"
            )
        order = shuffle(self.y.cpu(), data_generator(seed), balanced=True)
        return self.take(order[:n].to(self.y.device))


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set: three splits, class names, and the augmentation that suits it.

    For a set from `load_data`, the call `load_data(data.name, **data.options)` gives identical
    tensors.

    Attributes:
        name: Name of the data set.
        train: Training images.
        val: Validation images.
        test: Test images.
        classes: Class names; a label is an index into them.
        options: Options for `load_data`. Empty for data that was made with `from_tensors`.
        flip: Whether `augment` mirrors images at random.
        crop: Padding of the random crop in `augment`, in pixels. 0: no crop.
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    options: dict
    flip: bool = False
    crop: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        return tuple(self.train.x.shape[1:])

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(part)} {part.name}" for part in (self.train, self.val, self.test))
        return (
            f"Data({self.name}: {sizes}; {'x'.join(map(str, self.shape))}; {len(self.classes)} "
            "classes)"
        )

    def to(self, device: torch.device | str | None) -> "Data":
        """Return the same three splits on another device."""
        device = device_of(device)
        return replace(
            self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device)
        )

    def augment(self, x: Tensor, generator: Generator) -> Tensor:
        """Apply the random crop and flip that suit this data set.

        Args:
            x: Images (N, C, H, W). Each one gets a shift and a flip of its own.
            generator: Source of randomness.

        Returns:
            Images (N, C, H, W).
        """
        x = crop(x, self.crop, generator) if self.crop else x
        return flip(x, generator) if self.flip else x


def split_of(data: Data | Split, part: str) -> Split:
    """Return the images to work on, where a function takes a data set or a split of it.

    Args:
        data: A split, which is returned as it is, or a data set.
        part: The split that is used of a data set: "train", "val" or "test".

    Raises:
        TypeError: If `data` is neither.
    """
    if isinstance(data, Split):
        return data
    if isinstance(data, Data):
        return getattr(data, part)
    raise TypeError(
        f"expected a data set or one of its splits, such as data.{part}, got "
        f"{briefly(data)}; oatlib.from_tensors makes a data set of your own tensors"
    )


def flip(x: Tensor, generator: Generator) -> Tensor:
    """Mirror about half of the images left to right.

    Args:
        x: Images (N, C, H, W).
        generator: Chooses which images are mirrored.

    Returns:
        Images (N, C, H, W).
    """
    chosen = torch.rand(len(x), generator=generator, device=generator.device).to(x.device) < 0.5
    return torch.where(chosen[:, None, None, None], x.flip(-1), x)


def crop(x: Tensor, pad: int, generator: Generator) -> Tensor:
    """Shift each image by up to `pad` pixels in both directions. Zeros fill the border.

    Args:
        x: Images (N, C, H, W).
        pad: Largest shift in pixels, 0 or more.
        generator: Chooses the shift of each image.

    Returns:
        Images (N, C, H, W).

    Raises:
        ValueError: If `pad` is negative.
    """
    if pad < 0:
        raise ValueError(f"pad={pad}: must be 0 pixels or more")
    n, _, height, width = x.shape
    shifts = torch.randint(2 * pad + 1, (2, n), generator=generator, device=generator.device)
    down, right = shifts.to(x.device)
    # All windows of the padded images as a view: nothing is copied here.
    windows = F.pad(x, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(n, device=x.device), :, down, right]


def batches(
    n: int,
    size: int,
    generator: Generator | None = None,
    drop_last: bool = False,
    device: torch.device | str | None = None,
) -> Iterator[Tensor]:
    """Return an iterator over index tensors that together cover 0, ..., n - 1 once.

    Args:
        n: Number of images.
        size: Images per batch. The last batch may be smaller.
        generator: Shuffles the order. None: ascending order.
        drop_last: Leave out a last batch that is smaller than `size`.
        device: Device of the index tensors.

    Returns:
        Iterator over int64 tensors of shape (size,) or, for the last one, shorter.

    Raises:
        ValueError: If `size` is below 1, or if one of the two is no whole number.
    """
    whole("n", n, 0)
    if whole("size", size, 0) < 1:
        raise ValueError(f"size={size}: a batch needs at least one image")
    if generator is None:
        order = torch.arange(n)
    else:
        order = torch.randperm(n, generator=generator, device=generator.device)
    end = n - n % size if drop_last else n
    return (order[start : start + size].to(device) for start in range(0, end, size))


def from_tensors(
    name: str,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: Sequence[str],
    flip: bool = False,
    crop: int = 0,
    facts: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> Data:
    """Make a data set out of your own tensors, after checking them.

    Args:
        name: Name of the data set.
        train: Pair (x, y) of images, floating point (N, C, H, W) in [0, 1], and integer labels
            (N,).
        val: The same for validation.
        test: The same for testing.
        classes: Class names, at least two different ones.
        flip: Whether `Data.augment` mirrors images at random.
        crop: Padding of the random crop in `Data.augment`, in pixels. 0: no crop.
        facts: For "train", "val" and "test" what else is known about the images, see `Split`.

    Returns:
        The data set. Its `options` are empty, because `load_data` cannot load it again.

    Raises:
        ValueError: If shapes, types, pixels or labels are not as described. The message says what
            was found.
    """
    if not isinstance(classes, Iterable):
        raise ValueError(f"{name}: classes must be a list of names, got {briefly(classes)}")
    classes = tuple(map(str, classes))
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError(
            f"{name}: classes must be at least two different names, found {list(classes)}"
        )
    whole("crop", crop, 0)
    # Check each split by itself.
    pairs = {"train": train, "val": val, "test": test}
    splits = {}
    for part, pair in pairs.items():
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise ValueError(
                f"{name}, {part}: expected a pair (x, y) of images and labels, got {briefly(pair)}"
            )
        x, y = pair
        splits[part] = _checked_split(f"{name}, {part}", part, x, y, len(classes))
    # Attach the facts: one value per image.
    facts = {} if facts is None else facts
    if not isinstance(facts, Mapping) or not facts.keys() <= splits.keys():
        found = list(facts) if isinstance(facts, Mapping) else briefly(facts)
        raise ValueError(
            f"{name}: facts must be a dictionary with some of the keys {', '.join(splits)}, "
            f"got {found}"
        )
    for part, facts_of_part in facts.items():
        n_images = len(splits[part])
        for fact, values in facts_of_part.items():
            found = len(values) if isinstance(values, (Tensor, Sequence)) else briefly(values)
            if found != n_images:
                raise ValueError(
                    f"{name}, {part}: the fact {fact!r} must have one value per image, "
                    f"{n_images} in all, found {found}"
                )
        splits[part] = replace(splits[part], facts=dict(facts_of_part))
    # Check the splits against each other.
    shapes = {part: tuple(split.x.shape[1:]) for part, split in splits.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"{name}: the images of all splits must have one shape (C,H,W), found {shapes}"
        )
    return Data(name, **splits, classes=classes, options={}, flip=flip, crop=crop)


def _checked_split(where: str, part: str, x: Tensor, y: Tensor, n_classes: int) -> Split:
    """Return the split, or raise a ValueError that says what was found and what is expected."""
    try:
        x = torch.as_tensor(x).detach()
        y = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError):  # PyTorch names neither x nor y
        raise ValueError(
            f"{where}: x and y must be tensors or arrays, got {briefly(x)} and {briefly(y)}"
        ) from None
    _check_shapes_and_types(where, x, y)
    low, high = x.min().item(), x.max().item()
    # Written so that NaN fails, too. The tolerance is for rounding errors.
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise ValueError(
            f"{where}: pixels must be in [0,1], found {low:.4g} to {high:.4g}. If the images are "
            "normalised, undo that: networks normalise in their first layer"
        )
    if y.min() < 0 or y.max() >= n_classes:
        raise ValueError(
            f"{where}: labels must be from 0 to {n_classes - 1}, found {y.min().item()} to "
            f"{y.max().item()}"
        )
    return Split(x.float().clamp(0, 1).contiguous(), y.long(), part)


def _check_shapes_and_types(where: str, x: Tensor, y: Tensor) -> None:
    """Raise a ValueError unless x and y have the shapes and types of images and labels."""
    if x.ndim != 4:
        raise ValueError(
            f"{where}: x must be 4-dimensional (N,C,H,W), found shape {tuple(x.shape)}"
        )
    if y.shape != x.shape[:1]:
        raise ValueError(
            f"{where}: y must hold one label per image, {len(x)} in all, found shape "
            f"{tuple(y.shape)}"
        )
    if not x.numel():
        raise ValueError(f"{where}: there are no images, x has shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(
            f"{where}: x must be floating point in [0,1], found {x.dtype} (for bytes use "
            "x.float() / 255)"
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"{where}: y must be whole numbers, found {y.dtype}")


def data_generator(seed: int, index: int = 0) -> Generator:
    """Return one of the four independent generators of a data seed.

    Args:
        seed: Seed of the data set, below 2**30.
        index: Which of the four, 0 to 3.
    """
    return Generator().manual_seed(4 * seed + index)


def shuffle(y: Tensor, generator: Generator, balanced: bool = False) -> Tensor:
    """Return a random order of N labels in which every prefix has the class shares of the whole.

    Shares are met as closely as whole numbers allow.

    Args:
        y: Labels, int64 (N,).
        generator: Source of randomness.
        balanced: Aim at equal class counts in every prefix, instead of the class shares.

    Returns:
        Indices, int64 (N,).
    """
    order = torch.randperm(len(y), generator=generator)
    labels = y[order]
    counts = torch.bincount(labels)
    # Rank of each label: how many labels of the same class come before it.
    by_class = labels.argsort(stable=True)
    first_of_class = counts.cumsum(0) - counts  # position of each class in `by_class`
    rank = torch.empty_like(order)
    rank[by_class] = torch.arange(len(y)) - first_of_class[labels[by_class]]
    # Sorting by rank interleaves the classes. For class shares the rank is divided by the class
    # size.
    key = rank if balanced else (rank + 0.5) / counts[labels].double()
    return order[key.argsort(stable=True)]


def stratified_split(
    name: str, y: Tensor, generator: Generator, **sizes: int | None
) -> dict[str, Tensor]:
    """Return disjoint index tensors of given sizes, cut from one class-stratified shuffle.

    Args:
        name: Name of the data for error messages.
        y: Labels, int64 (N,).
        generator: Source of randomness.
        **sizes: Number of images of each part. The last size may be None: all the rest.

    Returns:
        Index tensors by name of the part. If no size is None, images may be left over.

    Raises:
        ValueError: If a size is not a positive int, or if there are not enough images.
    """
    known = {part: positive_int(f"n_{part}", n) for part, n in sizes.items() if n is not None}
    n_rest = len(y) - sum(known.values())
    n_unknown = len(sizes) - len(known)
    if n_rest < n_unknown:  # a part without a size needs at least one image, too
        wanted = [f"n_{part}={n}" for part, n in known.items()]
        wanted += [f"n_{part}=the rest" for part in sizes if part not in known]
        raise ValueError(
            f"{name}: {', '.join(wanted)} is more than the {len(y)} images that there are"
        )
    lengths = [known.get(part, n_rest) for part in sizes]
    chosen = shuffle(y, generator)[: sum(lengths)]
    return dict(zip(sizes, chosen.split(lengths), strict=True))
