"""Image files become tensors: decoding against PIL, the cache beside a folder, the archive of TinyImageNet."""

import io
import json
import os
import shutil
import warnings

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from oatlib.data import decode, pixel_cache
from oatlib.data.image_files import look_at
from oatlib.data.load import load_data
from oatlib.record import write_weights

PARTS = ("train", "val", "test")


def noise(width=32, height=32, channels=3, seed=0):
    """An image without any symmetry, smooth enough for a JPEG file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze()).resize((width, height), Image.Resampling.BILINEAR)


def reference(path, size):
    """The same with PIL alone, step by step, uint8 (3, size, size)."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    square = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def decoded(path, size):
    return decode.decode(look_at([str(path)]), size)[0]


def is_plain(path):
    """Whether a file goes the short way."""
    return decode._plain_jpeg(look_at([str(path)])[0]) is not None


# ---- decoding ---------------------------------------------------------------------------------------------------


def orientation(value):
    exif = Image.Exif()
    exif[decode.ORIENTATION] = value
    return exif


def with_orientation(value):
    return lambda path: noise(32, 20).save(path, "JPEG", exif=orientation(value))


def as_jpeg(mode="RGB", **options):
    return lambda path: noise(32, 20).convert(mode).save(path, "JPEG", **options)


# Name of a file, and what writes it.
PLAIN = {
    "444.jpg": as_jpeg(subsampling=0, quality=95),
    "422.jpg": as_jpeg(subsampling=1),
    "420.jpeg": as_jpeg(subsampling=2, quality=30),
    "optimised.JPG": as_jpeg(optimize=True),
    "progressive.JPEG": as_jpeg(progressive=True),
    "restarts.jpg": as_jpeg(restart_marker_blocks=1),
    "comment.jpg": as_jpeg(comment="a comment"),
    "grey.jpg": as_jpeg("L"),
    "grey, progressive.jpg": as_jpeg("L", progressive=True),
    "named wrongly.png": as_jpeg(),
}
OTHERS = {f"orientation {value}.jpg": with_orientation(value) for value in range(1, 9)} | {
    "cmyk.jpg": as_jpeg("CMYK"),
    "rgb inside.jpg": as_jpeg(keep_rgb=True),
    "profile.jpg": as_jpeg(icc_profile=bytes(500)),
    "several.jpg": lambda path: noise().save(path, "MPO", save_all=True, append_images=[noise(seed=1)]),
    "rgb.png": lambda path: noise(20, 32).save(path),
    "named wrongly.jpg": lambda path: noise(20, 32).save(path, "PNG"),
    "alpha.png": lambda path: noise(channels=4).save(path),
    "grey.png": lambda path: noise().convert("L").save(path),
    "grey alpha.png": lambda path: noise(channels=2).save(path),
    "black or white.png": lambda path: noise().convert("1").save(path),
    "palette.png": lambda path: noise().quantize(7).save(path),
    "palette, one colour transparent.png": lambda path: noise().quantize(7).save(path, transparency=3),
    "palette.gif": lambda path: noise(40, 32).save(path),
    "film.gif": lambda path: noise().save(path, save_all=True, append_images=[noise(seed=1)]),
    "rgb.bmp": lambda path: noise(33, 31).save(path),
    "rgb.ppm": lambda path: noise(31, 33).save(path),
    "rgb.tif": lambda path: noise().save(path, compression="tiff_lzw"),
    "turned.tiff": lambda path: noise(32, 20).save(path, exif=orientation(6)),
    "cmyk.tif": lambda path: noise().convert("CMYK").save(path),
    "lossy.webp": lambda path: noise(32, 40).save(path),
    "lossless, alpha.webp": lambda path: noise(channels=4).save(path, lossless=True),
    "turned.png": lambda path: noise(32, 20).save(path, exif=orientation(8)),
}


@pytest.mark.parametrize("size", [20, 13, 50])
@pytest.mark.parametrize("name", [*PLAIN, *OTHERS])
def test_every_type_of_file_has_the_pixels_of_pil_exactly(name, size, tmp_path):
    path = tmp_path / name
    (PLAIN | OTHERS)[name](path)
    assert is_plain(path) == (name in PLAIN)
    assert torch.equal(decoded(path, size), reference(path, size))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_image_of_the_right_size_is_only_copied(mode, tmp_path, monkeypatch):
    noise().convert(mode).save(tmp_path / "a.jpg")
    expected = reference(tmp_path / "a.jpg", 32)
    monkeypatch.setattr(ImageOps, "fit", lambda *_, **__: pytest.fail("it was resized"))
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened by PIL"))
    assert torch.equal(decoded(tmp_path / "a.jpg", 32), expected)


def test_orientation_is_seen_and_not_only_tolerated(tmp_path):
    for value in (1, 6):
        with_orientation(value)(tmp_path / f"{value}.jpg")
    assert torch.equal(decoded(tmp_path / "6.jpg", 20), decoded(tmp_path / "1.jpg", 20).rot90(-1, (1, 2)))


@st.composite
def damage(draw, content):
    """Content of a file with a part cut off, bytes changed, put in or added."""
    content = bytearray(content)
    at = draw(st.integers(0, len(content) - 1))
    kind = draw(st.sampled_from(["nothing", "cut", "change", "header", "put in", "add"]))
    if kind == "cut":
        return bytes(content[:at])
    if kind == "change":
        content[at] ^= draw(st.integers(1, 255))
    if kind == "header":
        content[at % 650 % len(content)] ^= draw(st.integers(1, 255))
    if kind == "put in":
        content[at:at] = draw(st.binary(min_size=1, max_size=4))
    if kind == "add":
        content += draw(st.binary(min_size=1, max_size=40))
    return bytes(content)


@settings(max_examples=150)
@given(
    data=st.data(), mode=st.sampled_from(["RGB", "L"]), progressive=st.booleans(), subsampling=st.integers(0, 2),
    size=st.sampled_from([(32, 32), (17, 9), (1, 1)]), seed=st.integers(0, 9),
)  # fmt: skip
def test_damaged_files_are_read_or_refused_as_by_pil(
    tmp_path_factory, data, mode, progressive, subsampling, size, seed
):
    written = io.BytesIO()
    options = {"subsampling": subsampling} if mode == "RGB" else {}
    noise(*size, seed=seed).convert(mode).save(written, "JPEG", progressive=progressive, **options)
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    path.write_bytes(data.draw(damage(written.getvalue())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = reference(path, 32)
        except Exception:  # every reader raises errors of its own
            expected = None
        if expected is None:
            with pytest.raises(ValueError, match="cannot (read|use) the image"):
                decoded(path, 32)
        else:
            assert torch.equal(decoded(path, 32), expected)


@pytest.mark.parametrize("segment", [b"\xff\xe1\x00\x08Exif\0\0", b"\xff\x01\x00\x02"], ids=["EXIF", "unknown"])
def test_segments_behind_the_size_are_seen_too(segment, tmp_path):
    noise().save(tmp_path / "a.jpg")
    assert is_plain(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    at = content.index(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:at] + segment + content[at:])
    assert not is_plain(tmp_path / "a.jpg")


def test_a_huge_jpeg_file_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    noise().save(tmp_path / "a.jpg")
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    at = content.index(b"\xff\xc0") + 5  # height and width
    content[at : at + 4] = b"\x1f\x40\x1f\x40"
    (tmp_path / "a.jpg").write_bytes(content)
    monkeypatch.setattr(Image, "frombytes", lambda *_, **__: pytest.fail("memory was asked for"))
    with pytest.raises(ValueError, match="a.jpg: it has 8000 x 8000 pixels, more than 50,000,000: shrink it first"):
        decoded(tmp_path / "a.jpg", 32)


def test_the_first_bad_file_is_named_whatever_thread_meets_it(tmp_path):
    for index in range(100):
        noise(seed=index).save(tmp_path / f"{index:03}.jpg")
    for index in (97, 40, 41):
        (tmp_path / f"{index:03}.jpg").write_bytes(b"no image")
    files = look_at(str(path) for path in sorted(tmp_path.iterdir()))
    with pytest.raises(ValueError, match="040.jpg: it is damaged, or none of BMP"):
        decode.decode(files, 32)
    good = [file for index, file in enumerate(files) if index not in (97, 40, 41)]
    assert torch.equal(decode.decode(good, 32), torch.stack([reference(file.path, 32) for file in good]))


# ---- the cache --------------------------------------------------------------------------------------------------


def class_folders(top, n=12, size=(32, 32), seed=0):
    for label, name in enumerate(("ant", "bee")):
        (top / name).mkdir(parents=True, exist_ok=True)
        for index in range(n):
            noise(*size, seed=seed + 1000 * label + index).save(top / name / f"{index:03}.jpg")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose files may be kept at once."""
    monkeypatch.setattr(pixel_cache, "UNSETTLED", -(10**12))
    class_folders(tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def n_decoded(monkeypatch):
    """Numbers of images that were decoded, one for each call."""
    numbers = []

    def count(files, *args, **kwargs):
        numbers.append(len(files))
        return decode.decode(files, *args, **kwargs)

    monkeypatch.setattr(pixel_cache, "decode", count)
    return numbers


def load(folder, **options):
    return load_data(f"folder:{folder}", **options)


def load_quietly(folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load(folder, **options)


def assert_true(data, folder, **options):
    """The images are those of the files, whatever the cache holds."""
    true = load(folder, cache=False, **options)
    for part in PARTS:
        assert torch.equal(getattr(data, part).x, getattr(true, part).x), part
        assert torch.equal(getattr(data, part).y, getattr(true, part).y), part


def cache_of(folder, size=32):
    return folder.with_name(f"{folder.name}.cache-{size}.safetensors")


def test_a_second_time_nothing_is_decoded(folder, n_decoded):
    first = load_quietly(folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["images", "images.cache-32.safetensors"]
    again = load_quietly(folder)
    assert n_decoded == [24]
    assert_true(first, folder)
    assert_true(again, folder)
    assert "cache" not in first.options
    assert_true(load_data(first.name, **json.loads(json.dumps(first.options))), folder)


def test_without_a_cache_none_is_read_or_written(folder, n_decoded):
    load_quietly(folder, cache=False)
    assert not cache_of(folder).exists() and n_decoded == []
    cache_of(folder).write_bytes(b"damaged")
    load_quietly(folder, cache=False)
    assert cache_of(folder).read_bytes() == b"damaged"
    for wrong in (2, None):
        with pytest.raises(ValueError, match=f"cache={wrong}: must be True or False"):
            load(folder, cache=wrong)


def test_other_seeds_sizes_and_amounts_share_what_they_can(folder, n_decoded):
    load_quietly(folder, n_train=6, n_val=2, n_test=2)
    data = load_quietly(folder)
    assert n_decoded == [10, 14]
    assert_true(data, folder)
    assert_true(load_quietly(folder, seed=5), folder, seed=5)
    assert_true(load_quietly(folder, n_train=4, n_val=2, n_test=2), folder, n_train=4, n_val=2, n_test=2)
    assert n_decoded == [10, 14]  # rows that were not asked for have stayed
    assert_true(load_quietly(folder, size=16), folder, size=16)
    assert n_decoded == [10, 14, 24] and cache_of(folder, 16).exists()


def test_what_was_not_asked_for_stays_in_a_cache_that_is_written_again(folder, n_decoded):
    few = {"n_train": 6, "n_val": 2, "n_test": 2}
    load_quietly(folder, **few)
    load_quietly(folder, seed=1, **few)
    assert_true(load_quietly(folder, **few), folder, **few)
    assert len(n_decoded) == 2 and 0 < n_decoded[1] <= 10


def test_a_large_cache_is_not_read_for_a_few_images_and_not_replaced(folder, n_decoded, monkeypatch):
    load(folder)
    written = cache_of(folder).read_bytes()
    monkeypatch.setattr(pixel_cache, "SMALL_CACHE", 0)
    data = load_quietly(folder, n_train=1, n_val=1, n_test=1)
    assert n_decoded == [24, 3] and cache_of(folder).read_bytes() == written
    assert_true(data, folder, n_train=1, n_val=1, n_test=1)
    monkeypatch.setattr(pixel_cache, "available_memory", lambda: 1e5)
    load_quietly(folder)
    assert n_decoded == [24, 3, 24] and cache_of(folder).read_bytes() == written


# What happens to one file, bee/007.jpg, after the cache was written.
def rewrite(path):
    noise(seed=77).save(path)


def rewrite_with_the_same_size_and_time(path):
    before = path.stat()
    content = bytearray(path.read_bytes())
    other = io.BytesIO()
    noise(seed=78).save(other, "JPEG", quality=20)
    content[: len(other.getvalue())] = other.getvalue()  # what follows the end of an image is ignored
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def replace_by_a_link(path):
    path.unlink()
    path.symlink_to(path.with_name("003.jpg"))


def swap_with_another(path):
    other = path.with_name("003.jpg")
    path.rename(path.with_name("x"))
    other.rename(path)
    path.with_name("x").rename(other)


@pytest.mark.skipif(os.name == "nt", reason="there, the time of creation stands for the time of the last change")
@pytest.mark.parametrize("change", [
    rewrite, rewrite_with_the_same_size_and_time, replace_by_a_link, swap_with_another,
])  # fmt: skip
def test_changed_files_are_decoded_again_with_a_word(change, folder, n_decoded):
    before = load(folder)
    change(folder / "bee" / "007.jpg")
    with pytest.warns(UserWarning, match=r"[12] of 24 images have changed since .*cache-32.safetensors was written"):
        data = load(folder)
    assert not all(torch.equal(getattr(before, part).x, getattr(data, part).x) for part in PARTS)
    assert_true(data, folder)
    assert sum(n_decoded) in (25, 26)
    assert_true(load_quietly(folder), folder)


def test_new_files_are_decoded_and_files_that_are_gone_are_forgotten(folder, n_decoded):
    load(folder)
    noise(seed=50).save(folder / "ant" / "new.jpg")
    (folder / "bee" / "007.jpg").unlink()
    assert_true(load_quietly(folder), folder)
    assert n_decoded == [24, 1]
    names = bytes(load_file(cache_of(folder))["names"].numpy()).decode().split("\0")
    assert len(names) == 24 and "/ant/new.jpg" in names and "/bee/007.jpg" not in names


@pytest.mark.skipif(os.name == "nt", reason="inodes of folders")
def test_folders_that_swapped_their_names_are_decoded_again(folder):
    load(folder)
    for old, new in (("ant", "x"), ("bee", "ant"), ("x", "bee")):
        (folder / old).rename(folder / new)
    with pytest.warns(UserWarning, match="24 of 24 images have changed"):
        data = load(folder)
    assert_true(data, folder)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def resave(path, **changes):
    """Write a cache anew as another program would, with its old header and other tensors."""
    with safe_open(path, "pt") as file:
        header = file.metadata()
    save_file(load_file(path) | changes, path, header)


def empty_folder(path):
    path.unlink()
    path.mkdir()


def link_to_nothing(path):
    path.unlink()
    path.symlink_to("nowhere")


X = torch.zeros(24, 3, 32, 32, dtype=torch.uint8)
ABOUT = {"cache": "folder", "decoder": decode.decoder()}
NAMES = torch.zeros(1, dtype=torch.uint8)
# What may be wrong with a cache: how to make it so, and the word about it.
DAMAGES = {
    "a bit": (flip_a_bit, "damaged: its content does not have the checksum"),
    "truncated": (lambda path: os.truncate(path, path.stat().st_size // 2), "truncated, damaged or no safetensors"),
    "its header cut": (lambda path: os.truncate(path, 5), "truncated, damaged or no safetensors"),
    "empty": (lambda path: path.write_bytes(b""), "truncated, damaged or no safetensors"),
    "text": (lambda path: path.write_text("a" * 5000), "truncated, damaged or no safetensors"),
    "other pixels": (lambda path: resave(path, x=X), "does not have the checksum"),
    "of another program": (lambda path: save_file({"x": X}, path), "not one that oatlib wrote"),
    "weights": (lambda path: write_weights(path, {"x": X}, {}), "no cache of a folder"),
    "no tensors": (lambda path: write_weights(path, {}, ABOUT), "does not hold images of 32 x 32 pixels"),
    "another shape": (
        lambda path: write_weights(path, {"x": X[:, :, :8], "names": NAMES, "stamps": X}, ABOUT),
        "does not hold images of 32 x 32 pixels",
    ),
    "a folder": (empty_folder, "is a folder, expected a file"),
    "a link to nothing": (link_to_nothing, None),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_cache_gives_the_true_images_and_a_word(kind, folder, n_decoded):
    load(folder)
    break_it, words = DAMAGES[kind]
    break_it(cache_of(folder))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load(folder)
    assert_true(data, folder)
    assert n_decoded == [24, 24]
    told = [str(warning.message) for warning in caught]
    if words:
        assert words in told[0] and str(cache_of(folder)) in told[0]
        assert all("decoded again" in text for text in told) or kind == "a folder"
        assert all(warning.filename == __file__ for warning in caught)  # the caller of load_data
    if kind == "a folder":
        assert len(told) == 2 and "cannot write" in told[1]
    else:
        assert_true(load_quietly(folder), folder)
        assert n_decoded == [24, 24]  # it was replaced


def test_a_cache_of_another_decoder_is_replaced(folder, monkeypatch):
    """Another Pillow, or a later oatlib that does something else with a file."""
    for attribute, owner, value in (("__version__", PIL, "1.2.3"), ("VERSION", decode, 99)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, attribute, value)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load(folder)
        with pytest.warns(UserWarning, match=f"was written with decoder .*{value}.*, and this is decoder 1, Pillow"):
            load(folder)
    assert_true(load_quietly(folder), folder)


@pytest.mark.parametrize("kind", ["read-only", "unreadable"])
def test_a_cache_that_cannot_be_written_or_read_costs_a_word(kind, folder, n_decoded, monkeypatch):
    if kind == "unreadable":
        load(folder)
    real_open = os.open

    def refuse(path, *args, **kwargs):
        if "cache-32" in os.fspath(path):
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, *args, **kwargs)

    def refuse_reading(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    if kind == "unreadable":
        monkeypatch.setattr(pixel_cache, "read_weights", refuse_reading)
    with pytest.warns(UserWarning) as caught:
        data = load(folder)
    assert_true(data, folder)
    told = [str(warning.message) for warning in caught]
    assert "cannot write" in told[-1] and "Permission denied" in told[-1] and "cache=False" in told[-1]
    assert len(told) == (2 if kind == "unreadable" else 1)
    assert [path.name for path in folder.parent.glob(".*.part")] == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_in_a_folder_that_is_read_only(folder):
    folder.parent.chmod(0o500)
    try:
        with pytest.warns(UserWarning, match="cannot write"):
            assert_true(load(folder), folder)
    finally:
        folder.parent.chmod(0o700)


def test_files_that_may_still_change_are_not_kept(tmp_path, n_decoded):
    class_folders(tmp_path / "images")
    load_quietly(tmp_path / "images")
    assert not cache_of(tmp_path / "images").exists()
    load_quietly(tmp_path / "images")
    assert n_decoded == [24, 24]


def test_of_a_file_that_changes_while_it_is_read_the_old_stamp_is_kept(folder, n_decoded, monkeypatch):
    path = folder / "bee" / "007.jpg"

    def change_first(files, *args, **kwargs):
        rewrite(path)
        return decode.decode(files, *args, **kwargs)

    monkeypatch.setattr(pixel_cache, "decode", change_first)
    load(folder)
    monkeypatch.setattr(pixel_cache, "decode", decode.decode)
    with pytest.warns(UserWarning, match="1 of 24 images have changed"):
        assert_true(load(folder), folder)


def test_large_numbers_of_a_file_system_and_odd_names_are_kept(folder, n_decoded, monkeypatch):
    try:
        noise(seed=9).save(folder / "ant" / "a\nb λ.jpg")
        shutil.copy(folder / "ant" / "000.jpg", os.fsencode(folder / "ant") + b"/\xff.jpg")
    except OSError:
        pass  # no such names here
    real = look_at

    def with_large_inodes(paths):
        return [file._replace(inode=file.inode + 2**63) for file in real(paths)]

    monkeypatch.setattr("oatlib.data.image_files.look_at", with_large_inodes)
    load_quietly(folder)
    assert_true(load_quietly(folder), folder)
    assert len(n_decoded) == 1


def test_a_folder_is_the_same_by_all_its_paths(folder, n_decoded, monkeypatch):
    load_quietly(folder)
    (folder.parent / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    for path in (f"{folder}/", folder.parent / "link", "."):
        load_quietly(path)
    assert n_decoded == [24]
    assert [path.name for path in folder.parent.glob("*cache*")] == ["images.cache-32.safetensors"]


# ---- the archive of TinyImageNet --------------------------------------------------------------------------------

NUMBERS = {"n01443537": "goldfish, Carassius auratus", "n01629819": "salamander", "n09999999": "goldfish"}


@pytest.fixture
def archive(tmp_path):
    """Three classes in the layout of tiny-imagenet-200.zip; the seed of an image tells its class."""
    top = tmp_path / "tiny-imagenet-200"
    lines = []
    for label, number in enumerate(NUMBERS):
        images = top / "train" / number / "images"
        images.mkdir(parents=True)
        for index in range(10):
            noise(64, 64, seed=100 * label + index).save(images / f"{number}_{index}.JPEG", "JPEG")
        boxes = "".join(f"{number}_{index}.JPEG\t0\t10\t63\t58\n" for index in range(10))
        (top / "train" / number / f"{number}_boxes.txt").write_text(boxes)
    for part in ("val", "test"):
        (top / part / "images").mkdir(parents=True)
    for index in range(9):  # in another order than the classes
        label = (2 * index + 1) % 3
        image = noise(64, 64, seed=100 * label + 50 + index)
        image = image.convert("L") if index == 4 else image
        image.save(top / "val" / "images" / f"val_{index}.JPEG", "JPEG")
        noise(64, 64).save(top / "test" / "images" / f"test_{index}.JPEG", "JPEG")
        lines.append(f"val_{index}.JPEG\t{list(NUMBERS)[label]}\t0\t32\t44\t62\n")
    (top / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    (top / "wnids.txt").write_text("\n".join(reversed(NUMBERS)))
    (top / "words.txt").write_text("n00001740\tentity\n" + "".join(f"{n}\t{w}\n" for n, w in NUMBERS.items()))
    return top


def test_tiny_imagenet_is_found_and_said(archive):
    with pytest.warns(UserWarning, match=r"like TinyImageNet: its 9 labelled images in val/ are the split `test`") as w:
        data = load(archive, size=64)
    assert w[0].filename == __file__
    assert [len(data.train), len(data.val), len(data.test)] == [27, 3, 9] and data.shape == (3, 64, 64)
    assert data.classes == ("goldfish (n01443537)", "salamander", "goldfish (n09999999)")
    assert data.train.y.bincount().tolist() == [9, 9, 9] and data.test.y.bincount().tolist() == [3, 3, 3]
    # Every image has the label of its folder, or of its line.
    true = {}
    for path in archive.glob("train/*/images/*.JPEG"):
        true[reference(path, 64).numpy().tobytes()] = list(NUMBERS).index(path.parent.parent.name)
    for index in range(9):
        path = archive / "val" / "images" / f"val_{index}.JPEG"
        true[reference(path, 64).numpy().tobytes()] = (2 * index + 1) % 3
    found = {
        (x * 255).round().byte().numpy().tobytes(): y.item()
        for split in (data.train, data.val, data.test)
        for x, y in zip(split.x, split.y, strict=True)
    }
    assert found == true
    with pytest.warns(UserWarning, match="TinyImageNet"):
        assert load(archive).shape == (3, 32, 32)


def cut_words(archive):
    (archive / "words.txt").write_text("n00001740\tentity\n")


def no_tab(archive):
    (archive / "words.txt").write_text("n01443537 goldfish\n")


def unknown_class(archive):
    with open(archive / "val" / "val_annotations.txt", "a") as file:
        file.write("val_9.JPEG\tn00000000\t0\t1\t2\t3\n")


def a_name_twice(archive):
    with open(archive / "val" / "val_annotations.txt", "a") as file:
        file.write("val_3.JPEG\tn01443537\t0\t1\t2\t3\n")


FIRST = "n01443537"
# How to break the archive, and what is said.
MISSING = {
    "words": (lambda top: (top / "words.txt").unlink(), r"words\.txt is missing"),
    "a word": (cut_words, r"words\.txt has no words for the class n01443537"),
    "a tab": (no_tab, r"words\.txt, line 1: 'n01443537 goldfish' has no tab"),
    "no text": (lambda top: (top / "words.txt").write_bytes(b"\xff\xfe"), r"cannot read .*words\.txt: it is no text"),
    "annotations": (lambda top: (top / "val" / "val_annotations.txt").unlink(), r"val_annotations\.txt is missing"),
    "an image": (lambda top: (top / "val" / "images" / "val_3.JPEG").unlink(), r"for 1 names .* such as val_3\.JPEG"),
    "a line": (lambda top: noise().save(top / "val" / "images" / "more.JPEG"), r"for 1 names .* such as more\.JPEG"),
    "a class": (unknown_class, r"val_9\.JPEG has the class 'n00000000', which has no folder in train/"),
    "twice": (a_name_twice, r"line 10: 'val_3\.JPEG' is there twice"),
    "images": (lambda top: shutil.rmtree(top / "train" / "n01629819" / "images"), r"n01629819.images is missing"),
    "all images": (lambda top: [f.unlink() for f in top.glob(f"train/{FIRST}/images/*")], r"no images in .*n01443537"),
    "val": (lambda top: shutil.rmtree(top / "val" / "images"), r"the folder .*val.images is missing"),
    "train": (lambda top: shutil.rmtree(top / "train"), r"train needs at least two class folders, found \[\]"),
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_parts_of_tiny_imagenet_are_named(kind, archive):
    break_it, words = MISSING[kind]
    break_it(archive)
    with pytest.raises(ValueError, match=f"(?s){words}.*TinyImageNet has .*unpack its archive again"):
        load(archive)


def test_folders_that_only_resemble_it_are_class_folders(archive):
    # Arranged as class folders, it is an ordinary folder, with or without the table.
    for folder in (archive / "train").iterdir():
        for image in (folder / "images").iterdir():
            image.rename(folder / image.name)
    shutil.rmtree(archive / "val")
    (archive / "test").rename(archive / "unlabelled")
    shutil.copytree(archive / "train", archive / "test")
    (archive / "val").mkdir()
    for path in (archive / "train").iterdir():
        shutil.copytree(path, archive / "val" / path.name)
    (archive / "val" / "val_annotations.txt").write_text("left over")
    data = load_quietly(archive)
    assert data.classes == tuple(NUMBERS) and len(data.test) == len(data.val) == 30
    assert (archive / "train" / FIRST / "images").is_dir()  # such a folder beside images is left alone
