"""Files and texts of an attacker: refused in words, or inert. SECURITY.md says what is promised."""

import io
import json
import os
import shutil
import signal
import struct
import subprocess
import tarfile
import zipfile
import zlib
from dataclasses import asdict

import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from PIL import EpsImagePlugin, Image
from safetensors.torch import save_file

import oatlib
from oatlib import _memory as memory
from oatlib import record
from oatlib.cli import main as cli
from oatlib.course.class_report import read_class
from oatlib.explorer import app
from oatlib.explorer.state import read
from oatlib.explorer.surface import Surface
from oatlib.networks import network
from oatlib.networks.network import Network, load
from oatlib.networks.spec import Spec

SPEC = Spec(recipe="oats", backbone="tiny", shape=(1, 8, 8), classes=("a", "b"), stops=(0.0, 1.0), dual=True,
            widths=(0.5, 1.0))  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.fixture(scope="module")
def net():
    return Network(SPEC)


def raw(header, content=b"", size=None):
    """Return the bytes of a safetensors file: the length of the header, the header, and the content."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + content


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


# --- weights: the container ---

CONTAINERS = {
    "a header of 2^60 bytes": raw({}, size=2**60),
    "a header that ends behind the file": raw({}, size=500),
    "a tensor of a terabyte": raw({"a": tensor(shape=(2**38,), offsets=(0, 2**40))}, b"1234"),
    "a shape whose product overflows": raw({"a": tensor(shape=(2**32, 2**32, 2**32))}, b"1234"),
    "a negative offset": raw({"a": tensor(offsets=(-4, 0))}, b"1234"),
    "an end before the start": raw({"a": tensor(offsets=(4, 0))}, b"1234"),
    "a negative shape": raw({"a": tensor(shape=(-1,))}, b"1234"),
    "two tensors in one place": raw({"a": tensor(), "b": tensor()}, b"1234"),
    "two tensors that overlap": raw({"a": tensor(), "b": tensor(offsets=(2, 6))}, b"123456"),
    "a gap between tensors": raw({"a": tensor(), "b": tensor(offsets=(8, 12))}, b"1234567890ab"),
    "bytes behind the last tensor": raw({"a": tensor()}, b"1234" + b"hidden"),
    "a type that is none": raw({"a": tensor(dtype="python/object")}, b"1234"),
    "a type of another size": raw({"a": tensor(dtype="F64")}, b"1234"),
    "a name twice": raw(b'{"a":' + json.dumps(tensor()).encode() + b',"a":' + json.dumps(tensor()).encode() + b"}",
                        b"1234"),
    "nested brackets": raw(b"[" * 100_000),
    "a pickle": b"\x80\x04\x95" + b"cos\nsystem\n(S'echo'\ntR.",
    "a zip": b"PK\x03\x04" + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_that_lie_are_refused(path, name):
    path.write_bytes(CONTAINERS[name])
    with pytest.raises(oatlib.RecordError, match="net.safetensors (cannot be read|is a safetensors file, but not one)"):
        load(path)


def test_a_file_of_zeros_that_is_larger_than_the_memory_is_not_read(path, monkeypatch):
    """Such a file takes no place on the disk. To compare it with its checksum would take hours."""
    size = 2**40
    head = raw({"__metadata__": {"oatlib": '{"format": 3}'}, "a": tensor("U8", (size,), (0, size))})
    with open(path, "wb") as file:
        file.write(head)
        try:
            file.truncate(len(head) + size)
        except OSError:
            pytest.skip("this file system has no such files")
    monkeypatch.setattr(record, "from_bytes", None)
    with pytest.raises(oatlib.RecordError, match=r"has 1099.5 GB, and .* GB of memory are available"):
        load(path)


@pytest.mark.parametrize(
    "metadata",
    ["1" * 5000, '{"format": ' + "9" * 5000 + "}", "[" * 100_000, '{"format": 1e999}', '{"format": NaN}', "\ud800"],
    ids=["a long number", "a long format", "brackets", "infinity", "NaN", "half a character"],
)
def test_headers_that_are_hard_to_read_are_refused(path, metadata):
    try:
        save_file({"a": torch.zeros(1)}, path, {"oatlib": metadata})
    except UnicodeEncodeError:
        path.write_bytes(raw(b'{"__metadata__":{"oatlib":"\\ud800"}}'))
    with pytest.raises(oatlib.RecordError):
        load(path)


@pytest.mark.parametrize("content", ["9" * 5000, "[" * 100_000, '{"a": ' * 100_000, b"\xff\xfe"])
def test_json_that_is_hard_to_read_is_refused(tmp_path, content):
    file = tmp_path / "results.json"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    for reader in (record.read_json, oatlib.Table.load):
        with pytest.raises(oatlib.RecordError, match=r"results.json is not a JSON file"):
            reader(file)


# --- weights: what the header says of the network ---


def with_spec(net, path, **changes):
    header = {"spec": asdict(net.spec) | changes, "trained": []}
    record.write_weights(path, net.state_dict(), header)


SPECS = {
    "many widths": {"widths": [(i + 1) / 10**5 for i in range(10**5)]},
    "many stops": {"stops": [i / 10**5 for i in range(10**5 + 1)]},
    "many classes": {"classes": [str(i) for i in range(10**5)]},
    "a billion channels": {"shape": [10**9, 8, 8]},
    "many channels": {"shape": [2**14, 8, 8]},
    "sides of a billion pixels": {"shape": [1, 10**9, 10**9]},
    "two sides": {"shape": [8, 8]},
    "no classes": {"classes": []},
    "a class twice": {"classes": ["a", "a"]},
    "long codes": {"code_dim": 10**9, "codes": "rand", "film": True},
    "infinitely many": {"beta": float("inf")},
    "a number of 400 digits": {"density": 10**400},
    "a path as backbone": {"backbone": "../../etc/passwd"},
    "code as backbone": {"backbone": "__import__('os').system('echo')"},
    "code as loss": {"loss": "lambda: 0"},
}


@pytest.mark.filterwarnings("ignore:.*has no checksum")
@pytest.mark.parametrize("name", SPECS)
def test_headers_that_ask_for_too_much_are_refused_before_memory_is_used(net, path, name, monkeypatch):
    made = []
    original = Network.__init__

    def init(self, spec, seed=0):
        made.append(torch.get_default_device().type)
        original(self, spec, seed)

    try:
        with_spec(net, path, **SPECS[name])
    except ValueError:  # JSON has no infinity
        text = json.dumps({"format": 3, "spec": asdict(net.spec) | SPECS[name], "trained": []})
        save_file({name: t.contiguous() for name, t in net.state_dict().items()}, path, {"oatlib": text})
    monkeypatch.setattr(Network, "__init__", init)
    with pytest.raises(oatlib.RecordError, match="describes no network|no checksum"):
        load(path)
    assert set(made) <= {"meta"} or name.endswith("backbone"), "it was built"


def test_an_unusually_large_network_that_the_file_holds_is_loaded(path, monkeypatch):
    monkeypatch.setattr(network, "USUAL_SIZE", 1)
    net = Network(SPEC)
    oatlib.save(net, path)
    assert torch.equal(load(path).state_dict()["body.head.each.0.weight"], net.state_dict()["body.head.each.0.weight"])


def test_types_of_tensors_are_those_of_the_network(net, path):
    for dtype in (torch.float64, torch.float16, torch.int32, torch.bool):
        tensors = {name: t.to(dtype) if name.startswith("body.head") else t for name, t in net.state_dict().items()}
        record.write_weights(path, tensors, {"spec": asdict(net.spec), "trained": []})
        with pytest.raises(oatlib.RecordError, match=r"body.head.each.0.bias is \(2,\) .*, expected \(2,\) float32"):
            load(path)


def test_code_in_a_header_stays_text(path, tmp_path, monkeypatch):
    """In every text that a file holds: nothing is run, and a page shows it as text."""
    monkeypatch.chdir(tmp_path)
    evil = "<img src=x onerror=alert(1)>'); open('pwned', 'w'); $(touch pwned) `touch pwned`"
    net = Network(Spec(**asdict(SPEC) | {"recipe": evil, "classes": (evil, "b")}))
    net.trained.append({"preset": evil, evil: evil})
    oatlib.save(net, path)
    back = load(path)
    assert back.spec.classes[0] == evil
    assert back.trained == net.trained
    x = torch.rand(8, 1, 8, 8)
    split = oatlib.from_tensors("a", *[(x, torch.arange(8) % 2)] * 3, classes=back.spec.classes).test
    page = oatlib.evaluate(back, split, oatlib.PGD(0.1, 1), [0.0, 1.0])._repr_html_()
    assert "&lt;img" in page and "<img" not in page
    assert os.listdir(tmp_path) == ["net.safetensors"]


# --- measurements beside a network ---

PLANES = {
    "no attacks": {"attacks": None},
    "text as an accuracy": {"clean": [["<img src=x onerror=alert(1)>"]]},
    "too few": {"clean": []},
    "above 1": {"clean": [[2.0, 0.5]] * 2},
    "a table": {"robust": {}},
    "no point": {"mixed": {"attack": "suite", "points": [["<b>", 1, 1]]}},
    "mixed text": {"mixed": "suite"},
}


@pytest.mark.parametrize("name", PLANES)
def test_measurements_that_are_none_do_not_reach_the_page(tmp_path, name):
    data = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8)
    net = oatlib.build("blend", data)
    surface = Surface(net, data.val, ["shapes"])
    surface.save(tmp_path / "a.json")
    known = record.read_json(tmp_path / "a.json")
    assert Surface(net, data.val, ["shapes"]).restore(tmp_path / "a.json")
    record.write_json(tmp_path / "a.json", known | PLANES[name])
    before = surface.table()
    with pytest.raises(oatlib.RecordError, match="a.json holds no measurements that this oatlib knows"):
        surface.restore(tmp_path / "a.json")
    assert surface.table() == before


# --- folders of images ---


@pytest.fixture
def folder(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(6):
            Image.new("RGB", (8, 8), (40 * index, 9, 9)).save(tmp_path / "set" / name / f"{index}.png")
    return tmp_path / "set"


def loaded(folder):
    return oatlib.load_data(f"folder:{folder}", size=8, cache=False)


def test_loops_of_links_end(folder):
    (folder / "loop").symlink_to("loop")  # leads to itself
    (folder / "ant" / "up").symlink_to(folder)  # and a folder that holds itself
    (folder / "bee" / "up").symlink_to("..")
    assert loaded(folder).classes == ("ant", "bee")
    (folder / "cat").symlink_to(folder)  # a class without images
    with pytest.raises(ValueError, match=r"no images in class folder \['cat'\]"):
        loaded(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["ant/7.png", "words.txt"])
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a device", "link to itself"])
def test_special_files_are_not_opened(folder, name, kind):
    if name == "words.txt":  # the layout of TinyImageNet, whose tables are read as text
        for part in ("ant", "bee"):
            (folder / "train" / part / "images").mkdir(parents=True)
            (folder / part / "0.png").rename(folder / "train" / part / "images" / "0.png")
        (folder / "val" / "images").mkdir(parents=True)
        (folder / "val" / "val_annotations.txt").write_text("")
    place = folder / name
    target = {"pipe": place, "link to a pipe": folder / "pipe", "link to a device": "/dev/zero"}.get(kind, place)
    if "pipe" in kind:
        os.mkfifo(target)
    if "link" in kind:
        place.symlink_to(target)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for the pipe"))
    signal.alarm(20)
    try:
        with pytest.raises(ValueError, match=r"expected an image file|words.txt is missing"):
            loaded(folder)
    finally:
        signal.alarm(0)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def jpeg(width, height):
    written = io.BytesIO()
    Image.new("RGB", (8, 8)).save(written, "JPEG")
    content = bytearray(written.getvalue())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


# An archive with a name that leads out of its folder, and with a file that unpacks to a thousand times its size.
ARCHIVE = io.BytesIO()
with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("../../outside.png", b"x")
    archive.writestr("bomb.png", bytes(1_000_000))

IMAGES = {
    "PNG of 2^31 x 2^31": png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", zlib.compress(b""))),
    "PNG of 7,072 x 7,072": png(7072, 7072, chunk(b"IDAT", zlib.compress(b""))),
    "PNG of 0 x 0": png(0, 0, chunk(b"IDAT", zlib.compress(b""))),
    "PNG with a text that unpacks to 200 MB": png(
        8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9)), chunk(b"IDAT", zlib.compress(b""))
    ),
    "JPEG of 65,500 x 65,500": jpeg(65500, 65500),
    "JPEG of 65,500 x 1": jpeg(65500, 0),
    "a bitmap of -2^31 rows": b"BM" + struct.pack("<IHHIIiiHH6I", 60, 0, 0, 54, 40, -5, -2**31, 1, 24, *[0] * 6),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_image_bombs_are_refused(folder, name):
    (folder / "ant" / "9.jpg").write_bytes(IMAGES[name])
    with pytest.raises(ValueError, match=r"cannot (read|use) the image .*9.jpg"):
        loaded(folder)


def test_an_image_that_would_start_a_program_is_none(folder, monkeypatch):
    """PIL gives EPS to Ghostscript, whatever the name of the file says."""
    for name in ("call", "check_call", "check_output", "run", "Popen"):
        monkeypatch.setattr(subprocess, name, lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    (folder / "ant" / "9.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    assert EpsImagePlugin.EpsImageFile.format == "EPS"
    with pytest.raises(ValueError, match="9.png: it is damaged, or none of BMP, GIF"):
        loaded(folder)


def test_archives_in_a_folder_of_images_are_not_opened(folder, tmp_path, monkeypatch):
    """Nothing is unpacked, so nothing can leave the folder or fill the disk."""
    for name, opened in ((zipfile, "ZipFile"), (tarfile, "open"), (shutil, "unpack_archive")):
        monkeypatch.setattr(name, opened, lambda *_, **__: pytest.fail("an archive was opened"))
    content = ARCHIVE.getvalue()
    (folder / "ant" / "more.zip").write_bytes(content)  # no image by its name: left alone
    (folder / "more.tar.gz").write_bytes(content)
    assert loaded(folder).classes == ("ant", "bee")
    (folder / "ant" / "more.png").write_bytes(content)
    for place, words in ((folder, "more.png: it is damaged, or none of BMP"), (folder / "more.tar.gz", "is a file")):
        with pytest.raises(ValueError, match=words):
            loaded(place)
    assert os.listdir(tmp_path) == ["set"]


def test_a_table_of_images_names_no_file_elsewhere(folder, tmp_path):
    """Its names are compared with the files that are there. They are never opened."""
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    for name in ("ant", "bee"):
        (folder / "train" / name / "images").mkdir(parents=True)
        (folder / name / "0.png").rename(folder / "train" / name / "images" / "0.png")
    (folder / "val" / "images").mkdir(parents=True)
    (folder / "ant" / "1.png").rename(folder / "val" / "images" / "1.png")
    (folder / "val" / "val_annotations.txt").write_text("1.png\tant\n../../../secret.png\tbee\n")
    (folder / "words.txt").write_text("ant\tant\nbee\tbee\n")
    with pytest.raises(ValueError, match=r"only one of them, such as \.\./\.\./\.\./secret\.png"):
        loaded(folder)


def test_names_of_folders_cannot_write_to_the_terminal(folder, capsys):
    """A terminal runs commands that begin with an escape character, for instance to change what stands in it."""
    evil = "\x1b]0;owned\x07\x1b[2J\x9b\n\r"
    (folder / "bee").rename(folder / evil)
    (folder / evil / "0.png").write_text("no image")
    capsys.readouterr()
    words = ["train", "standard", "--data", f"folder:{folder}", "--data-set", "size=8", "--out", str(folder / "o")]
    assert cli.main(words) == 2
    line = capsys.readouterr().err.rpartition("\r")[2]  # behind the progress bar
    assert line.startswith("oatlib train: ") and r"\x1b]0;owned" in line
    assert line.rstrip("\n").isprintable()


# --- states, names, parameters ---

TEXTS = [
    "$(touch pwned)", "`touch pwned`", "; touch pwned", "__import__('os').system('touch pwned')", "{0.__class__}",
    "%s%n", "<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "../../etc/passwd", "\x1b[2J", "\0",
    "a\nopen('pwned', 'w')\n", '"""\nopen("pwned", "w")\n"""', "\\",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_state_with_code_in_it_is_refused_or_stays_text(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8)
    nets = {"oat": oatlib.build("oat", data)}
    for state in (f"{text}x", f"lam={text}", f"network={text}", f"attack={text}", f"{text}=1", f"compare=oat,{text}"):
        with pytest.raises(ValueError):
            read(state, nets)
    # As the name of a network it is valid, and comes back from the string as it was.
    nets[text] = nets["oat"]
    state = read({"network": text, "compare": [text]}, nets)
    assert read(str(state), nets) == state
    assert not os.listdir(tmp_path)


def test_the_error_of_a_page_is_text(monkeypatch, capfd):
    state = "lam=<script>alert(1)</script>&eps=<img src=x onerror=alert(1)>"
    monkeypatch.setenv("OATLIB_EXPLORE", json.dumps({"weights": [], "state": state}))
    shown = app.show().value
    assert "&lt;script&gt;" in shown and "<script" not in shown and "<img" not in shown


@pytest.mark.parametrize("text", TEXTS)
def test_a_parameter_of_a_notebook_stays_text(text, tmp_path, monkeypatch):
    """It is written into the notebook as a Python text, which gives back the same characters."""
    from oatlib.reruns.kernel import prepared

    monkeypatch.chdir(tmp_path)
    cell = new_code_cell('word: str = "plain"', metadata={"tags": ["parameters"]})
    notebook = prepared(new_notebook(cells=[cell]), {"word": text})
    (written,) = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.tags]
    assert len([line for line in written.source.splitlines() if not line.startswith("#")]) == 1
    values = {}
    exec(written.source, values)
    assert values["word"] == text
    assert not os.listdir(tmp_path)


# --- what learners hand in ---


def test_links_among_handed_in_files_are_not_followed(tmp_path):
    """A link could show a file of the teacher, or of somebody else."""
    (tmp_path / "secret.json").write_text('{"lesson": "01_attack", "learner": {"guesses": {}, "checks": {}}}')
    handed_in = tmp_path / "class"
    for name in ("ada", "eve"):
        (handed_in / name).mkdir(parents=True)
    (handed_in / "ada" / "01_attack.json").write_text((tmp_path / "secret.json").read_text())
    (handed_in / "eve" / "01_attack.json").symlink_to(tmp_path / "secret.json")
    (handed_in / "eve" / "loop").symlink_to(handed_in)
    if hasattr(os, "mkfifo"):
        os.mkfifo(handed_in / "eve" / "pipe.json")
    report = read_class(handed_in)
    assert [learner.name for learner in report.learners] == ["ada"]
    assert report.skipped == ["eve/01_attack.json: it is a link, not a file"]


def test_the_limit_of_memory_is_known():
    assert memory.available_memory() > 0
