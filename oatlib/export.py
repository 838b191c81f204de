"""One setting of a network as an ONNX file, checked against onnxruntime before it is kept."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout

import torch

from . import record
from .nets import Network

TOLERANCE = 1e-4  # of the logits, against PyTorch


def export(net: Network, path, lam: float | None = None, width: float | None = None, batch=8, noise_seed=0) -> float:
    """Write `net.at(lam, width, noise_seed)` as ONNX: input `images` (N, C, H, W) in [0, 1], output `logits`, any N.

    The file is kept only if onnxruntime gives the same logits; returns the largest difference seen.
    """
    try:
        import onnx  # noqa: F401 (what torch.onnx writes with)
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"export needs onnx, onnxscript and onnxruntime ({error}): pip install 'oatlib[onnx]'"
        ) from error
    record.check_writable(path)
    plain = net.at(lam, width, noise_seed).cpu()
    x = torch.rand(batch, *net.spec.shape, generator=torch.Generator().manual_seed(0))
    content = _onnx_bytes(plain, x)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        gap = 0.0
        for part in (x, x[:1]):  # another batch size than the traced one, too
            theirs = torch.from_numpy(session.run(None, {"images": part.numpy()})[0])
            gap = max(gap, (plain(part) - theirs).abs().max().item())
    if not gap <= TOLERANCE:
        raise RuntimeError(
            f"onnxruntime gives other logits than PyTorch (largest difference {gap:.2g}); nothing written"
        )
    record.write_bytes(path, content)
    return gap


def _onnx_bytes(plain: torch.nn.Module, x: torch.Tensor) -> bytes:
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # the exporter talks about itself
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            plain, (x,), dynamo=True, input_names=["images"], output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},), verbose=False,
        )  # fmt: skip
    return program.model_proto.SerializeToString()
