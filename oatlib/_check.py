"""Check the values that users pass, and say in one sentence what was wrong and what is valid."""

from __future__ import annotations

import math
import os
from numbers import Integral, Real
from pathlib import Path

SEEDS = 2**63  # generators of PyTorch take seeds below it
# Errors that say what a user can change. Others are bugs.
USER_ERRORS = (ValueError, TypeError, ImportError, OSError, RuntimeError, MemoryError)

LONG = 60  # characters of a text that a message shows


def whole(name: str, value, low: int = 1, high: int | None = None) -> int:
    """Return a value as an int if it is a whole number in a range.

    Args:
        name: Name of the value, for the message.
        value: The value. True and 1.0 are not accepted as 1.
        low: The smallest valid number.
        high: The largest valid number. None: there is no limit.

    Raises:
        ValueError: If it is anything else.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < low or (high is not None and value > high):
        valid = f", {low} or more" if high is None else f" from {low} to {high}"
        raise ValueError(f"{name}={value!r}: must be a whole number{valid}")
    return int(value)


def positive_int(name: str, value) -> int:
    """Return a value if it is a whole number, 1 or more. The arguments are those of `whole`."""
    return whole(name, value)


def seed_of(value) -> int:
    """Return the value of an argument `seed` if a generator can be seeded with it.

    Args:
        value: A whole number below 2**63. It may be negative.

    Raises:
        ValueError: If it is anything else.
    """
    return whole("seed", value, -SEEDS, SEEDS - 1)


def real(
    name: str,
    value,
    low: float = -math.inf,
    high: float = math.inf,
    hint: str = "",
    what: str = "a number",
):
    """Return a value if it is a finite number in a range.

    Args:
        name: Name of the value, for the message.
        value: The value. True is not accepted as 1.
        low: The smallest valid number.
        high: The largest valid number.
        hint: Further words about what is valid, such as "in pixel units such as 8/255".
        what: What the number is, such as "an accuracy".

    Raises:
        ValueError: If it is anything else, for instance NaN.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or math.isinf(value):
        if math.isinf(high):
            valid = what if math.isinf(low) else f"{what} >= {low:g}"
        else:
            valid = f"{what} in [{low:g}, {high:g}]"
        raise ValueError(f"{name} must be {valid}{hint and ', '}{hint}, got {value!r}")
    return value


def of_type(name: str, value, kinds: type | tuple[type, ...], valid: str):
    """Return a value if it is an instance of a type.

    Args:
        name: Name of the value, for the message.
        value: The value.
        kinds: The valid type, or several.
        valid: What is valid and where to get it, such as "a network, see oatlib.build".

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {valid}, got {briefly(value)}")
    return value


def function(name: str, value, valid: str):
    """Return a value if it can be called. The arguments are those of `of_type`.

    Raises:
        TypeError: If it cannot be called.
    """
    if not callable(value):
        raise TypeError(f"{name} must be {valid}, got {briefly(value)}")
    return value


def path_of(value) -> Path:
    """Return the path of a file or a folder.

    Args:
        value: A text or a `Path`.

    Raises:
        TypeError: If it is anything else.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"expected a path, such as 'net.safetensors', got {value!r}")
    return Path(value)


def device_of(value):
    """Return a device of PyTorch, or None for None.

    Args:
        value: Name of a device, such as "cpu", "cuda" or "cuda:1", or a `torch.device`.

    Raises:
        ValueError: If there is no such device on this machine.
    """
    import torch  # only here: the server of the explorer works without it

    if value is None:
        return None
    try:
        device = torch.device(value)
    except (RuntimeError, TypeError):
        raise ValueError(f"unknown device {value!r}: use cpu, cuda or cuda:INDEX") from None
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(
            f"device {device} is not available: PyTorch {torch.__version__} finds {count} CUDA "
            "devices. Use cpu, or run oatlib doctor"
        )
    return device


def briefly(value) -> str:
    """Return a value for a message: texts and numbers as they are, otherwise the type."""
    if isinstance(value, str) and len(value) > LONG:
        return f"a text of {len(value)} characters"
    if isinstance(value, (str, int, float, type(None))):
        return repr(value)
    return type(value).__name__
