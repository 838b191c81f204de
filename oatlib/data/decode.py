"""Decode image files into one tensor of bytes.

In a folder of small images, most of the time would go into the Python code with which PIL reads the
header of each file, under the interpreter lock. So there are two ways to the same decoder:

* a plain JPEG file (`_plain_jpeg_size`) is given to PIL's JPEG decoder at once;
* every other file is opened by PIL, and so is a JPEG file with which the first way fails.

An image is turned, converted and resized only if it has to be.
"""

import os
import struct
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from .image_files import ImageFile

# Version of what is done with a file. Increase it if files give other pixels than before.
VERSION = 1

# An image of more pixels is refused, because a small file can hold an image that fills the memory.
# One of 50 million pixels takes 150 MB, and one is decoded on every thread.
MAX_PIXELS = 50_000_000

# Formats that PIL may read, whatever the name of a file says. Others are not images of pixels: for
# EPS, PIL would start another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# PIL gives the interpreter lock free while it decodes and resizes. For a small image, the work that
# needs the lock takes about as long, so that more threads would only wait for it.
SMALL_FILE = 32_768  # bytes, on average
THREADS_FOR_SMALL_FILES = 2
FILES_AT_ONCE = 32  # taken by a thread

ORIENTATION = 0x0112  # tag of EXIF: 1 is upright

# Markers of a JPEG file, the second of two bytes.
START = b"\xff\xd8"
FRAMES = (0xC0, 0xC2)  # bits, height, width and channels: baseline and progressive
PLAIN_SEGMENTS = (0xC4, 0xDB, 0xDD, 0xE0, 0xFE)  # tables, restart interval, JFIF, comment
SCAN = 0xDA  # the pixels begin here
MODES = {1: "L", 3: "RGB"}  # by number of channels


def decode(files: Sequence[ImageFile], size: int, title: str = "images") -> Tensor:
    """Read image files as RGB, resize the shorter side to `size` and crop the centre square.

    Args:
        files: N image files.
        size: Height and width of the result in pixels.
        title: Label of the progress bar.

    Returns:
        Images, uint8 (N, 3, size, size).

    Raises:
        ValueError: If a file cannot be read, has more than MAX_PIXELS pixels, or has more than 8
            bits per channel.
    """
    from PIL import Image
    from tqdm.auto import tqdm

    x = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    images = x.numpy()  # shares its memory

    def fill(start: int) -> int:
        """Decode the files from `start` on that a thread takes, and return their number."""
        part = files[start : start + FILES_AT_ONCE]
        for index, file in enumerate(part, start):
            images[index] = _pixels(file, size)
        return len(part)

    bar = tqdm(total=len(files), desc=title, unit="image", leave=False)
    with warnings.catch_warnings(), ThreadPoolExecutor(_threads(files)) as pool, bar:
        # PIL warns of large images. They are refused below, with a limit of our own.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            for n_decoded in pool.map(fill, range(0, len(files), FILES_AT_ONCE)):
                bar.update(n_decoded)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # the other files need not be read
            raise
    return x


def decoder() -> str:
    """Return the versions that decide which pixels a file gives.

    Example:
        >>> decoder()
        'decoder 1, Pillow 13.0.0, libjpeg-turbo 3.2.0'
    """
    import PIL
    from PIL import features

    jpeg = features.version("libjpeg_turbo")
    return f"decoder {VERSION}, Pillow {PIL.__version__}, libjpeg-turbo {jpeg}"


def _threads(files: Sequence[ImageFile]) -> int:
    """Return how many threads decode these files fastest."""
    cores = os.cpu_count() or 1
    if sum(file.n_bytes for file in files) < SMALL_FILE * len(files):
        return min(cores, THREADS_FOR_SMALL_FILES)
    return cores


def _pixels(file: ImageFile, size: int) -> np.ndarray:
    """Return one image file as an array, uint8 (3, size, size)."""
    from PIL import Image, ImageOps

    image = _plain_jpeg(file) or _any_image(file.path)
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.frombuffer(image.tobytes(), np.uint8).reshape(size, size, 3).transpose(2, 0, 1)


def _plain_jpeg(file: ImageFile):
    """Return a plain JPEG file as an RGB image. None if it is none, or cannot be decoded."""
    from PIL import Image

    if file.n_bytes > MAX_PIXELS:
        return None
    try:
        with open(file.path, "rb", buffering=0) as stream:
            content = stream.read()
        if (found := _plain_jpeg_size(content)) is None:
            return None
        mode, size = found
        image = Image.frombytes(mode, size, content, "jpeg", mode, "")
        return image if mode == "RGB" else image.convert("RGB")
    except (OSError, ValueError):  # if the other way fails, too, it says why
        return None


def _plain_jpeg_size(content: bytes) -> tuple[str, tuple[int, int]] | None:
    """Return mode (L or RGB) and size of a JPEG file that holds nothing but an image, or None.

    One with EXIF data may have to be turned, and one with a segment of Adobe may be CMYK: they are
    not plain. Nor is an image of more than MAX_PIXELS pixels.
    """
    if content[:2] != START:
        return None
    # A segment is two bytes of marker, two bytes of length, and its content. Look at all of them.
    found = None
    at = 2
    while at + 10 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == SCAN:
            return found
        if marker in FRAMES and found is None:
            bits, height, width, channels = struct.unpack_from(">BHHB", content, at + 4)
            if bits != 8 or channels not in MODES or not 0 < width * height <= MAX_PIXELS:
                return None
            found = MODES[channels], (width, height)
        elif marker not in PLAIN_SEGMENTS:
            return None
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def _any_image(path: str):
    """Return any image file that PIL can read as an upright RGB image."""
    from PIL import ImageOps

    with _opened(path) as image:
        # PIL would clip images of 16 bits or floats to white without a warning
        if image.mode[:1] in "IF":
            raise ValueError(
                f"cannot use the image {path}: it has more than 8 bits per channel, save it with 8"
            )
        try:
            image.load()
            if image.getexif().get(ORIENTATION, 1) != 1:
                image = ImageOps.exif_transpose(image)
            return image if image.mode == "RGB" else image.convert("RGB")
        except Exception as error:  # every PIL reader raises errors of its own
            raise _unreadable(path, error) from error


def _opened(path: str):
    """Return an image whose header has been read, and whose pixels have not been decoded yet."""
    from PIL import Image, UnidentifiedImageError

    too_large = f"cannot use the image {path}: it has %s, more than {MAX_PIXELS:,}: shrink it first"
    try:
        image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:  # beyond the limit of PIL, which is larger
        raise ValueError(too_large % "hundreds of millions of pixels") from error
    except UnidentifiedImageError as error:
        raise _unreadable(path, f"it is damaged, or none of {', '.join(FORMATS)}") from error
    except Exception as error:
        raise _unreadable(path, error) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ValueError(too_large % f"{width} x {height} pixels")
    return image


def _unreadable(path: str, reason: Exception | str) -> ValueError:
    """Return the error for an image that cannot be read."""
    return ValueError(f"cannot read the image {path}: {reason or type(reason).__name__}")
