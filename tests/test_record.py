import errno
import json
import os
import pickle
import re
import signal
import stat
import subprocess
import sys
import threading
import warnings
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from oatlib import _locks, record
from oatlib._bundled import bundled
from oatlib.networks.network import Network, load, save
from oatlib.networks.spec import Spec
from oatlib.record import (
    RecordError,
    check_writable,
    claimed,
    read_json,
    read_weights,
    rescue,
    write_bytes,
    write_json,
    write_weights,
)

SPEC = Spec(
    recipe="oat", backbone="tiny", shape=(1, 8, 8), classes=("a", "b"), stops=(0.0, 1.0), dual=True, film=True,
    codes="rand", code_dim=4, data={"name": "digits", "options": {"seed": 3}},
)  # fmt: skip
REMEDY = ("again", "Update", "update", "resume=True")


@pytest.fixture(scope="module")
def net():
    made = Network(SPEC)
    made.trained.append({"preset": "fast", "epochs_done": 3})
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def header_of(net):
    return {"spec": asdict(net.spec), "trained": net.trained}


def assert_refused(path, *words):
    """A RecordError that names the file and says what to do; never an error of a library below."""
    with pytest.raises(Exception) as caught:
        load(path)
    assert type(caught.value) is RecordError, repr(caught.value)
    message = str(caught.value)
    assert path.name in message and any(word in message for word in REMEDY), message
    for word in words:
        assert word in message, (word, message)


# ---- round trips --------------------------------------------------------------------------------------------------


def test_a_network_comes_back_whole(net, path):
    save(net, path)
    back = load(path)
    assert back.spec == net.spec and back.trained == net.trained
    own = net.state_dict()
    assert own.keys() == back.state_dict().keys()
    assert all(torch.equal(t, own[name]) and t.dtype == own[name].dtype for name, t in back.state_dict().items())
    assert read_weights(path)[1]["versions"]["torch"] == torch.__version__


def test_a_recipe_of_your_own_comes_back_too(path):
    """The name is a label: the rest of the header says how to build the network."""
    save(Network(Spec(recipe="mine", backbone="tiny", shape=(1, 8, 8), classes=("a", "b"), stops=(0.0,))), path)
    assert load(path).spec.recipe == "mine"


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_json_comes_back_whole(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("value", [float("nan"), [1.0, float("inf")], {"a": {"b": -float("inf")}}])
def test_json_without_a_number_is_refused_and_the_old_file_kept(tmp_path, value):
    path = tmp_path / "value.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, value)
    assert read_json(path) == {"old": 1} and os.listdir(tmp_path) == ["value.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1,]"])
def test_a_file_that_is_not_json_is_named(tmp_path, content):
    path = tmp_path / "value.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"value\.json is not a JSON file"):
        read_json(path)


# ---- whole or not at all ------------------------------------------------------------------------------------------


def assert_whole_or_not_at_all(write, path, monkeypatch, broken, error):
    """A write that fails midway leaves the old bytes and nothing else in the folder."""
    path.write_bytes(b"old")

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises((type(error), RecordError)) as caught:
            write(path, b"new content")
    if isinstance(error, OSError):
        assert str(caught.value) in ("disk full", f"cannot write {path}: disk full")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def in_place(path, content):
    with open(path, "wb") as file:
        file.write(content[:3])
        os.fsync(file.fileno())
        file.write(content[3:])


def litter(path, content):
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    os.fsync(0)
    os.replace(temporary, path)


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be flushed there")
def test_a_file_and_then_its_folder_are_flushed_to_the_disk(tmp_path, monkeypatch):
    """A power cut after a write would else bring back the old file, or none."""
    done, fsync, replace = [], os.fsync, os.replace

    def watched_fsync(handle):
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("name"), replace(*names)))
    record.write_bytes(tmp_path / "a.json", b"{}")
    assert done == ["file", "name", "folder"]


@pytest.mark.parametrize("broken", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_failed_write_leaves_the_old_file(path, monkeypatch, broken, error):
    assert_whole_or_not_at_all(write_bytes, path, monkeypatch, broken, error)


@pytest.mark.parametrize("fault", [in_place, litter])
def test_careless_writers_are_caught(path, monkeypatch, fault):
    with pytest.raises(AssertionError):
        assert_whole_or_not_at_all(fault, path, monkeypatch, "fsync", OSError("disk full"))


def test_a_write_replaces_the_file_and_others_may_read_it(path):
    for content in (b"first", b"second"):
        write_bytes(path, content)
    assert path.read_bytes() == b"second" and path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == [path.name]


# ---- checks before the work ---------------------------------------------------------------------------------------


def listing(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("exists", [False, True])
def test_a_check_leaves_no_trace(path, exists):
    if exists:
        path.write_bytes(b"old")
    before = listing(path.parent)
    assert check_writable(str(path)) == path and listing(path.parent) == before
    assert not exists or path.read_bytes() == b"old"


SYSTEM = Path("/sys/kernel")  # a folder in which not even root can create a file


@pytest.mark.skipif(not SYSTEM.is_dir(), reason="needs a folder that nobody can write to")
def test_a_folder_that_nobody_can_write_to():
    with pytest.raises(RecordError) as caught:
        check_writable(SYSTEM / "net.safetensors")
    assert str(caught.value).startswith(f"cannot write {SYSTEM / 'net.safetensors'}: ") and ".part" not in str(
        caught.value
    )


def denied(suffix):
    """`os.open` for a user without the permission to write files whose name ends so."""
    original = os.open

    def opened(name, flags, *rest, **options):
        if str(name).endswith(suffix) and flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return original(name, flags, *rest, **options)

    return opened


def test_a_folder_without_permission_is_named_as_it_was_typed(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(os, "open", denied(".part"))
    for check in (check_writable, lambda name: write_bytes(name, b"new")):
        with pytest.raises(RecordError) as caught:
            check("net.safetensors")
        assert str(caught.value) == "cannot write net.safetensors: Permission denied"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not apply to root")
def test_an_existing_file_that_is_read_only(path):
    path.write_bytes(b"precious")
    path.chmod(0o444)
    with pytest.raises(RecordError, match="Permission denied"):
        check_writable(path)


@pytest.mark.skipif(sys.platform != "linux", reason="chattr is a command of Linux")
def test_an_existing_file_that_even_root_cannot_change(path):
    path.write_bytes(b"precious")
    if subprocess.run(["chattr", "+i", path], capture_output=True).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        with pytest.raises(RecordError, match=r"cannot write .*net\.safetensors: "):
            check_writable(path)
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
def test_devices_and_pipes_are_not_replaced(path):
    os.mkfifo(path)
    for name in (os.devnull, path):
        with pytest.raises(RecordError, match="it is a device or a pipe"):
            check_writable(name)  # opening a pipe would wait for a reader
        with pytest.raises(RecordError, match="it is a device or a pipe"):
            write_bytes(name, b"new")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits the whole path")
def test_a_name_that_is_too_long_for_a_file(tmp_path):
    with pytest.raises(RecordError, match="cannot write .*x: "):
        check_writable(tmp_path / ("x" * 300))
    longest = tmp_path / ("x" * 255)
    with claimed(longest):
        write_bytes(longest, b"new")
    assert listing(tmp_path) == [longest.name]


def test_links_are_followed(tmp_path, path):
    other = tmp_path / "elsewhere" / "net.safetensors"
    other.parent.mkdir()
    try:
        path.symlink_to(other)
    except OSError:
        pytest.skip("this user cannot make links")
    with claimed(path):
        write_bytes(path, b"new")
        assert listing(other.parent) == [".net.safetensors.lock", "net.safetensors"]
    assert path.is_symlink() and other.read_bytes() == b"new" and listing(other.parent) == ["net.safetensors"]
    other.unlink()
    other.parent.rmdir()
    with pytest.raises(RecordError, match="the folder .*elsewhere does not exist"):
        check_writable(path)


# ---- a full disk --------------------------------------------------------------------------------------------------


def full(*folders):
    """`os.fsync` and `os.write` where some folders are on a full disk (folders of open files are known on Linux)."""
    real = {"fsync": os.fsync, "write": os.write}

    def make(name):
        def call(handle, *rest):
            if Path(os.readlink(f"/proc/self/fd/{handle}")).parent in folders:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real[name](handle, *rest)

        return call

    return {name: make(name) for name in real}


@pytest.fixture
def fill(monkeypatch):
    """fill(folder, ...): from now on these folders are on a full disk."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")

    def now(*folders):
        for name, call in full(*folders).items():
            monkeypatch.setattr(os, name, call)

    return now


def test_a_full_disk_is_noticed_before_the_work_and_named_with_its_free_space(path, fill):
    path.write_bytes(b"old")
    fill(path.parent)
    with pytest.raises(RecordError) as caught:
        check_writable(path)
    start = f"cannot write {path}: No space left on device ("
    assert re.fullmatch(re.escape(start) + rf"[\d.]+ [MG]B are free in {path.parent}\)", str(caught.value))
    with pytest.raises(RecordError) as caught:
        write_bytes(path, bytes(2_000_000))
    assert str(caught.value).startswith(start + "it needs 2.0 MB, ") and path.read_bytes() == b"old"
    assert listing(path.parent) == [path.name]


LIMITED = """
import resource, signal, sys
from oatlib import record
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
record.write_bytes(sys.argv[1], b"small")
try:
    record.write_bytes(sys.argv[1], bytes(200_000))
except record.RecordError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the file size are those of Linux")
def test_the_operating_system_stops_a_write_midway(path):
    """No injected error: the kernel writes 100 000 bytes and refuses the rest."""
    ran = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True)
    assert ran.stdout == f"cannot write {path}: File too large\n"
    assert path.read_bytes() == b"small" and listing(path.parent) == [path.name]


def test_what_cannot_be_written_goes_to_another_place(tmp_path, path, fill, monkeypatch):
    home, temporary, more = (tmp_path / name for name in ("home", "temporary", "more"))
    for folder in (home, temporary, more):
        folder.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr(record.tempfile, "gettempdir", lambda: str(temporary))

    def write(place):
        write_bytes(place, b"new")

    # Each time another disk is full. What was rescued before is not replaced.
    expected = [
        ((), tmp_path / "net-rescued.safetensors"),
        ((), tmp_path / "net-rescued-2.safetensors"),
        ((tmp_path,), more / "net-rescued.safetensors"),
        ((tmp_path, more), home / "net-rescued.safetensors"),
        ((tmp_path, more, home), temporary / "net-rescued.safetensors"),
        ((tmp_path, more, home), temporary / "net-rescued-2.safetensors"),
        ((tmp_path, more, home, temporary), None),
    ]
    for folders, place in expected:
        fill(*folders)
        assert rescue(write, path, [tmp_path / "gone", more]) == place
        assert place is None or place.read_bytes() == b"new"
        monkeypatch.undo()
        monkeypatch.setattr(Path, "home", lambda: home)
        monkeypatch.setattr(record.tempfile, "gettempdir", lambda: str(temporary))
    assert listing(tmp_path) == ["home", "more", "net-rescued-2.safetensors", "net-rescued.safetensors", "temporary"]
    assert listing(more) == listing(home) == ["net-rescued.safetensors"]


# ---- two runs at once ---------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from oatlib.record import claimed
with claimed(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(path):
    """Another process that has claimed the path."""
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_of_two_runs_is_refused_by_name(path, holder):
    with pytest.raises(RecordError) as caught, claimed(path):
        pass
    assert str(caught.value) == (
        f"another oatlib run (process {holder.pid}) is writing {path}: wait until it ends, or choose another file"
    )
    with claimed(path.with_name("other.safetensors")):
        pass


def test_a_claim_ends_with_its_process(path, holder):
    holder.kill()
    holder.wait()
    assert os.listdir(path.parent) == [f".{path.name}.lock"]  # killed: nobody could remove it
    with claimed(path):
        pass
    assert os.listdir(path.parent) == []


def test_a_claim_ends_with_its_block_and_after_an_error(path):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), claimed(path, None):
            assert os.listdir(path.parent) == [f".{path.name}.lock"]
            raise error
        assert os.listdir(path.parent) == []


def test_a_claim_holds_in_its_own_process_too(path):
    with claimed(path):
        with pytest.raises(RecordError, match=rf"\(process {os.getpid()}\) is writing"), claimed(path):
            pass
        write_bytes(path, b"by the holder")
    assert os.listdir(path.parent) == [path.name]


def test_two_outputs_in_one_file_are_refused(path):
    with pytest.raises(RecordError, match="are one file"), claimed(path, f"{path.parent}/./{path.name}"):
        pass


def test_a_file_system_without_locks_is_no_obstacle(path, monkeypatch):
    def unsupported(_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(_locks, "try_lock", unsupported)
    with claimed(path):
        write_bytes(path, b"new")
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
def test_a_lock_file_that_goes_while_it_is_opened_is_opened_again(path, monkeypatch):
    """Or two runs would hold locks on two files of one name."""
    lock, real = path.with_name(f".{path.name}.lock"), _locks.try_lock
    opened = []

    def try_lock(handle):
        opened.append(handle)
        if len(opened) == 2:  # the first is the file of the check
            lock.unlink()  # the former holder ends now
        return real(handle)

    monkeypatch.setattr(_locks, "try_lock", try_lock)
    with claimed(path):
        assert lock.is_file()
        with pytest.raises(RecordError, match="is writing"), claimed(path):
            pass


def test_of_many_threads_one_holds_the_claim(path):
    """Each removes the lock file at its end, so the next one must not hold a file that is gone."""
    inside, most, done = [], [], []

    def claim(rounds):
        for _ in range(rounds):
            try:
                with claimed(path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    done.append(1)
            except RecordError:
                pass

    threads = [threading.Thread(target=claim, args=(60,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) >= 1 and set(most) == {1} and os.listdir(path.parent) == []


KILLED = """
import os, signal, sys
from oatlib import record
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
record.write_bytes(sys.argv[1], b"new content")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_the_next_write_removes_what_a_killed_one_left(path):
    path.write_bytes(b"old")
    other = path.with_name("net.safetensors.backup")
    for target in (path, other):
        ran = subprocess.run([sys.executable, "-c", KILLED, target])
        assert ran.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old" and len(listing(path.parent)) == 3
    write_bytes(path, b"new")
    left = [name for name in listing(path.parent) if name != path.name]
    assert path.read_bytes() == b"new" and len(left) == 1 and left[0].startswith(f".{other.name}.")


def test_a_write_that_is_not_over_keeps_its_temporary_file(path):
    """Two processes write one file: the one that is slower comes last, and both succeed."""
    handle, temporary = record._open_temporary(path)
    write_bytes(path, b"fast")
    assert temporary.exists()
    os.close(handle)
    write_bytes(path, b"again")
    assert listing(path.parent) == [path.name]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RecordError, match="the folder .*nowhere does not exist"):
        write_bytes(tmp_path / "nowhere" / "x", b"")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(RecordError, match=r"there is no file .*gone\.safetensors"):
        load(tmp_path / "gone.safetensors")
    with pytest.raises(RecordError, match="is a folder"):
        load(tmp_path)


# ---- files that do not fit ----------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused(net, path):
    save(net, path)
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")  # where the numbers begin
    for length in (0, 1, 7, 8, 9, 100, start - 1, start, start + 1, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert_refused(path, "truncated")
    path.write_bytes(whole + b"\0")
    assert_refused(path)
    path.write_bytes(whole)
    load(path)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.safetensors"
    path.write_bytes(content)
    assert_refused(path)


def test_other_kinds_of_files_are_refused(path):
    for content in (json.dumps({"results": []}).encode(), pickle.dumps({"a": 1}), b"PK\x03\x04" + bytes(500)):
        path.write_bytes(content)
        assert_refused(path)
    torch.save({"a": torch.zeros(2)}, path)
    assert_refused(path)


def test_a_loader_that_lets_other_errors_through_is_caught(path, monkeypatch):
    path.write_bytes(b"")
    monkeypatch.setattr(record, "SafetensorError", KeyError)
    with pytest.raises(AssertionError):
        assert_refused(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"oatlib": "[1]"}, {"oatlib": "{}"}, {"oatlib": "{not"}])
def test_safetensors_of_others_are_refused(net, path, metadata):
    save_file({k: t.contiguous() for k, t in net.state_dict().items()}, path, metadata)
    assert_refused(path)


@pytest.mark.parametrize("versions", [{"oatlib": "9.1"}, {}, None, "9.1"])
def test_a_newer_format_asks_for_an_update(net, path, versions):
    write_weights(path, net.state_dict(), header_of(net) | {"format": record.FORMAT + 1, "versions": versions})
    assert_refused(path, f"format {record.FORMAT + 1}", f"up to format {record.FORMAT}", "Update")


def test_a_format_that_is_no_number_is_refused(net, path):
    write_weights(path, net.state_dict(), header_of(net) | {"format": "new"})
    assert_refused(path, "format 'new'")


# ---- bits that flipped --------------------------------------------------------------------------------------------


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.fixture(scope="module")
def whole(net, tmp_path_factory):
    """The bytes of a network file, and where its numbers begin."""
    path = tmp_path_factory.mktemp("whole") / "net.safetensors"
    save(net, path)
    content = path.read_bytes()
    return content, 8 + int.from_bytes(content[:8], "little")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_flipped_bit_is_noticed(net, whole, tmp_path_factory, data):
    """Anywhere in the file: it is refused, or it means the same (a letter of an escape code in upper case)."""
    content, start = whole
    # Half of the flips in the header, which is much smaller than the numbers.
    first, last = data.draw(st.sampled_from([(0, start), (start, len(content))]))
    bit = data.draw(st.integers(8 * first, 8 * last - 1))
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(flipped(content, bit))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that there is no checksum must not be the answer
        try:
            back = load(path)
        except RecordError as error:
            assert path.name in str(error)
            return
    assert bit < 8 * start, "a flipped bit of a number"
    own = net.state_dict()
    assert back.spec == net.spec and back.trained == net.trained and back.slider == net.slider
    assert all(torch.equal(t, own[name]) for name, t in back.state_dict().items())


def test_a_loader_that_does_not_look_at_the_checksum_is_caught(net, whole, path, monkeypatch):
    content, start = whole
    bit = 8 * start + 8 * 4 * 50  # the lowest bit of a number
    path.write_bytes(flipped(content, bit))
    assert_refused(path, "is damaged", "checksum")
    monkeypatch.setattr(record, "_verify", lambda *_: None)
    back = load(path).state_dict()
    assert any(not torch.equal(t, back[name]) for name, t in net.state_dict().items()), "this flip changes a weight"


def rewritten(path, change):
    """Write a file again with another header, as a tool of somebody else would."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        old = json.loads(file.metadata()["oatlib"])
    save_file(tensors, path, {"oatlib": json.dumps(change(old))})


def earlier(path):
    """Make a file as an earlier version wrote it."""
    rewritten(path, lambda header: without(without(header, "checksum"), "sha256"))


def test_a_changed_header_and_a_lost_checksum_are_refused(net, path):
    for change in (
        lambda header: json.loads(json.dumps(header).replace('"seed": 3', '"seed": 4')),
        lambda header: without(header, "sha256"),
        lambda header: without(header, "checksum"),
        lambda header: header | {"sha256": header["sha256"].upper()},
        lambda header: header | {"sha256": ""},
    ):
        save(net, path)
        rewritten(path, change)
        assert_refused(path, "is damaged")


def test_the_same_network_gives_the_same_bytes(net, path):
    save(net, path)
    first = path.read_bytes()
    for _ in range(5):
        save(net, path)
        assert path.read_bytes() == first


def test_a_file_of_an_earlier_version_loads_and_says_once_that_it_has_no_checksum(net, path):
    save(net, path)
    earlier(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            back = load(path)
    assert all(torch.equal(t, back.state_dict()[name]) for name, t in net.state_dict().items())
    (warning,) = caught
    assert str(warning.message).startswith(f"{path} has no checksum, because an earlier oatlib wrote it")
    save(back, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(path)


def test_the_files_that_come_with_oatlib_load_in_silence(tmp_path):
    path = bundled("explorer") / "standard.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(path)
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    if "checksum" not in read_weights(path)[1]:
        with pytest.warns(UserWarning, match="has no checksum"):
            load(copy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_the_checksum_is_of_every_type_and_shape(path, dtype, shape):
    tensors = {"a": torch.ones(shape).to(dtype)}
    write_weights(path, tensors, {})
    back, _ = read_weights(path)
    assert back["a"].dtype == dtype and torch.equal(back["a"], tensors["a"])
    other = {"a": torch.zeros(shape).to(dtype)}
    assert (record._checksum("", other) == record._checksum("", tensors)) == (0 in shape)
    assert record._checksum("", {"b": tensors["a"]}) != record._checksum("", tensors) != record._checksum("x", tensors)
    if shape:
        assert record._checksum("", {"a": tensors["a"][None]}) != record._checksum("", tensors)


def without(header, key):
    return {k: v for k, v in header.items() if k != key}


HEADERS = {
    "no spec": (lambda h: without(h, "spec"), ["spec"]),
    "no history": (lambda h: without(h, "trained"), ["trained"]),
    "spec is a list": (lambda h: h | {"spec": [1]}, []),
    "spec is nothing": (lambda h: h | {"spec": None}, []),
    "unknown field": (lambda h: h | {"spec": h["spec"] | {"colour": 1}}, ["colour"]),
    "missing field": (lambda h: h | {"spec": without(h["spec"], "stops")}, ["stops"]),
    "unknown backbone": (lambda h: h | {"spec": h["spec"] | {"backbone": "vgg"}}, ["vgg"]),
    "unknown codes": (lambda h: h | {"spec": h["spec"] | {"codes": "morse"}}, ["morse"]),
    "stops out of order": (lambda h: h | {"spec": h["spec"] | {"stops": [1.0, 0.0]}}, ["ascending"]),
    "stops in words": (lambda h: h | {"spec": h["spec"] | {"stops": ["a", "b"]}}, []),
    "shape of nothing": (lambda h: h | {"spec": h["spec"] | {"shape": []}}, []),
    "shape below zero": (lambda h: h | {"spec": h["spec"] | {"shape": [-1, 8, 8]}}, []),
    "classes as a number": (lambda h: h | {"spec": h["spec"] | {"classes": 2}}, []),
    "training runs in words": (lambda h: h | {"trained": "abc"}, ["trained"]),
    "training runs that are no tables": (lambda h: h | {"trained": [3]}, ["trained"]),
    "format below 1": (lambda h: h | {"format": 0}, ["format 0"]),
    "format that is no number": (lambda h: h | {"format": True}, ["format True"]),
    "code of no length": (lambda h: h | {"spec": h["spec"] | {"code_dim": 0}}, ["code_dim"]),
    "negative weight of a loss": (lambda h: h | {"spec": h["spec"] | {"beta": -1}}, ["beta"]),
    "no name of the recipe": (lambda h: h | {"spec": h["spec"] | {"recipe": 3}}, ["recipe"]),
    "a checkpoint": (lambda h: h | {"checkpoint": {}}, ["checkpoint", "resume=True"]),
}


@pytest.mark.parametrize("fault", HEADERS)
def test_a_header_that_describes_no_network_is_refused(net, path, fault):
    change, words = HEADERS[fault]
    write_weights(path, net.state_dict(), change(header_of(net)))
    assert_refused(path, *words)


CHOICES = ("width_loss", "width_sampling", "draw", "redraw", "loss", "dial", "codes", "film_start", "masks", "noise_on")


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("name", CHOICES)
def test_a_word_that_is_no_choice_is_refused_in_every_format(net, path, name, number):
    """Up to format 2 width_sampling was called draw."""
    spec = without(header_of(net)["spec"], "width_sampling" if name == "draw" else "")
    write_weights(path, net.state_dict(), header_of(net) | {"spec": spec | {name: "x"}, "format": number})
    assert_refused(path, "width_sampling" if name == "draw" else name, "'x'")


WEIGHT = "body.stem.conv.weight"
TENSORS = {
    "missing": (lambda own: without(own, WEIGHT), "is missing"),
    "codes missing": (lambda own: without(own, "codes"), "codes is missing"),
    "extra": (lambda own: own | {"body.tail": torch.zeros(1)}, "body.tail is not part"),
    "shape": (lambda own: own | {WEIGHT: own[WEIGHT][:-1]}, "expected (16, 1, 3, 3)"),
    "dtype": (lambda own: own | {WEIGHT: own[WEIGHT].double()}, "expected (16, 1, 3, 3) float32"),
    "NaN": (lambda own: own | {WEIGHT: own[WEIGHT] * float("nan")}, "NaN or infinite"),
    "infinite": (lambda own: own | {WEIGHT: own[WEIGHT] + float("inf")}, "NaN or infinite"),
}


@pytest.mark.parametrize("fault", TENSORS)
def test_tensors_that_do_not_fit_are_named(net, path, fault):
    change, words = TENSORS[fault]
    write_weights(path, change(net.state_dict()), header_of(net))
    assert_refused(path, "does not fit", WEIGHT if "codes" not in words and "tail" not in words else "", words)


def test_nothing_is_copied_when_something_does_not_fit(net, path):
    write_weights(path, {k: t + 1 for k, t in net.state_dict().items()} | {"extra": torch.zeros(1)}, header_of(net))
    target = Network(SPEC, seed=5)
    before = {name: t.clone() for name, t in target.state_dict().items()}
    with pytest.raises(RecordError):
        record.load_exactly(target, read_weights(path)[0], path)
    assert all(torch.equal(t, before[name]) for name, t in target.state_dict().items())


def test_many_faults_are_not_all_listed(net, path):
    write_weights(path, {}, header_of(net))
    with pytest.raises(RecordError, match=r"; \.\.\.") as caught:
        load(path)
    assert len(str(caught.value)) < 600


SWAP = """
import os, sys
path, *files = sys.argv[1:]
print(flush=True)
while True:
    for file in files:
        os.symlink(file, path + ".new")
        os.replace(path + ".new", path)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="links need a permission there")
def test_a_file_that_is_replaced_while_it_is_read_is_read_whole(tmp_path, path):
    """By another process, for instance a training that writes its checkpoint."""
    files = [tmp_path / "zeros", tmp_path / "ones"]
    for value, file in enumerate(files):
        write_weights(file, {str(n): torch.full((500,), float(value)) for n in range(20)}, {"value": value})
    command = [sys.executable, "-c", SWAP, path, *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            seen = set()
            while not path.exists():
                pass
            for _ in range(500):
                tensors, header = read_weights(path)
                assert {tensor.unique().item() for tensor in tensors.values()} == {header["value"]}
                seen.add(header["value"])
            assert seen == {0, 1}
        finally:
            process.kill()


def test_nothing_is_ever_unpickled(net, path, monkeypatch):
    save(net, path)

    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    load(path)
    path.write_bytes(pickle.dumps(SimpleNamespace(a=1)))
    assert_refused(path)
