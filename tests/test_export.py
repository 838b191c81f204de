import os
import sys

import pytest
import torch

from oatlib import export as public
from oatlib.networks.network import Network
from oatlib.networks.spec import Spec
from oatlib.record import RecordError

pytestmark = pytest.mark.slow

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
module = sys.modules[public.__module__]
LAM = 0.3


def images(n):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(n))


@pytest.fixture(scope="module")
def net():
    spec = Spec(
        recipe="oat",
        backbone="tiny",
        shape=(3, 8, 8),
        classes=("a", "b", "c"),
        stops=(0.0, 0.5, 1.0),
        dual=True,
        film=True,
        codes="onehot",
    )
    net = Network(spec)
    with torch.no_grad():
        net.body.head.each[0].weight.mul_(20)
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(1))
        net.body.stem.norm.pairs[0].adv.weight.mul_(2)
    return net


@pytest.fixture(scope="module")
def written(net, tmp_path_factory):
    """Exported once: the exporter takes seconds."""
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    before = {name: t.clone() for name, t in net.state_dict().items()}
    gap = public(net, path, LAM)
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    return path, gap


@pytest.mark.parametrize("n", [1, 2, 8, 13])
def test_onnxruntime_gives_the_same_logits_for_any_batch(net, written, n):
    session = onnxruntime.InferenceSession(str(written[0]), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"images": images(n).numpy()})
    with torch.no_grad():
        expected = net.at(LAM)(images(n))
        other = net.at(0.0)(images(n))
    assert expected.abs().max() > 0.3 and (expected - other).abs().max() > 0.05  # or nothing is shown
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_the_gap_is_reported_and_the_file_stands_alone(written):
    path, gap = written
    assert 0 <= gap <= module.TOLERANCE and os.listdir(path.parent) == [path.name]


def test_a_file_with_other_logits_is_not_kept(net, written, tmp_path, monkeypatch):
    """Planted fault: the exporter hands out the network of another λ."""
    monkeypatch.setattr(module, "_onnx_bytes", lambda *_: written[0].read_bytes())
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="other logits"):
        public(net, path, 1.0)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["net.onnx"]
    assert public(net, path, LAM) <= module.TOLERANCE and path.read_bytes() == written[0].read_bytes()


def never(*_):
    raise AssertionError("exported before the check")


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_the_way_to_get_it(net, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(module, "_onnx_bytes", never)
    with pytest.raises(ImportError, match=rf"{name}.*pip install 'oatlib\[onnx\]'"):
        public(net, tmp_path / "net.onnx", LAM)


def test_wrong_settings_and_folders_are_refused_before_the_work(net, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_onnx_bytes", never)
    with pytest.raises(ValueError, match="which λ"):
        public(net, tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=r"1\.5"):
        public(net, tmp_path / "net.onnx", 1.5)
    with pytest.raises(RecordError, match="nowhere does not exist"):
        public(net, tmp_path / "nowhere" / "net.onnx", LAM)
    assert not os.listdir(tmp_path)
