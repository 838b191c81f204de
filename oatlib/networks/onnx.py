"""Export one setting of a network as an ONNX file.

The exported model is compared with PyTorch, through onnxruntime, before the file is written.
"""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout

import torch

from .. import record
from .._check import path_of, whole
from .network import Network, check_network

TOLERANCE = 1e-4  # largest accepted difference to the logits of PyTorch


def export(
    net: Network,
    path,
    lam: float | None = None,
    width: float | None = None,
    batch_size=8,
    noise_seed=0,
) -> float:
    """Write the plain network `net.at(lam, width, noise_seed)` as an ONNX file.

    Its input is `images` (N, C, H, W) in [0, 1], its output is `logits` (N, classes), for any N.
    The file is written only if onnxruntime gives the same logits as PyTorch.

    Args:
        net: The network.
        path: The file to write.
        lam: λ, from the first to the last stop. None: the only stop.
        width: Fraction of the channels. None: the full width.
        batch_size: Number of random images of the comparison, and of the traced batch.
        noise_seed: Seed of the noise sample, if weights are noisy.

    Returns:
        The largest difference between the logits of onnxruntime and of PyTorch.

    Raises:
        ImportError: If onnx, onnxscript or onnxruntime is not installed.
        RecordError: If `path` is a folder, or its folder does not exist.
        RuntimeError: If the logits differ by more than 1e-4.
        ValueError: If the network does not have this λ or this width.
    """
    try:
        import onnx  # noqa: F401 (torch.onnx needs it to write)
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"export needs onnx, onnxscript and onnxruntime ({error}): pip install 'oatlib[onnx]'"
        ) from error
    check_network(net)
    record.check_writable(path_of(path))
    whole("batch_size", batch_size)
    plain = net.at(lam, width, noise_seed).cpu()
    x = torch.rand(batch_size, *net.spec.shape, generator=torch.Generator().manual_seed(0))
    content = _onnx_bytes(plain, x)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        gap = 0.0
        for part in (x, x[:1]):  # also test a batch size other than the traced one
            theirs = torch.from_numpy(session.run(None, {"images": part.numpy()})[0])
            gap = max(gap, (plain(part) - theirs).abs().max().item())
    if not gap <= TOLERANCE:
        raise RuntimeError(
            f"onnxruntime gives other logits than PyTorch (largest difference {gap:.2g}); nothing "
            "written"
        )
    record.write_bytes(path, content)
    return gap


def _onnx_bytes(plain: torch.nn.Module, x: torch.Tensor) -> bytes:
    """The content of an ONNX file for a plain network, traced with images x (N, C, H, W)."""
    # The exporter prints progress messages and warnings that do not concern the user.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            plain,
            (x,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            verbose=False,
        )
    return program.model_proto.SerializeToString()
