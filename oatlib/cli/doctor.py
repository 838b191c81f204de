"""`oatlib doctor`: report what works on this machine, and what to install if something does not."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import torch

import oatlib

# part: (modules that it needs, extra that installs them; "" means that oatlib itself requires them)
PARTS = {
    "real data sets": (("torchvision", "PIL"), ""),
    "digits": (("sklearn",), ""),
    "notebooks": (("jupyterlab", "ipywidgets", "plotly", "anywidget", "papermill", "voila"), "lab"),
    "sweeps over processes": (("distributed", "cryptography"), "scale"),
    "ONNX export": (("onnx", "onnxscript", "onnxruntime"), "onnx"),
    "documentation": (("sphinx", "myst_nb"), "docs"),
    "tests": (("pytest", "xdist", "hypothesis", "nbval", "art", "yaml", "playwright"), "test"),
}


def doctor() -> int:
    """Print a report.

    Returns:
        Exit code: 0, or 1 if the core itself does not work. Missing extras do not count.
    """
    print(
        f"python {platform.python_version()} on {platform.system()} {platform.machine()}, torch "
        f"{torch.__version__}, "
        f"safetensors {metadata.version('safetensors')}"
    )
    print(f"device: {_device()}; threads: {torch.get_num_threads()} of {_cores()} cores")
    for part, (modules, extra) in PARTS.items():
        problems = [f"{name} ({why})" for name in modules if (why := _problem(name))]
        package = f"'oatlib[{extra}]'" if extra else "oatlib"
        remedy = f"{', '.join(problems)}; to install: pip install {package}"
        _print_part(part, remedy if problems else "")
    has_browser = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    _print_part("browser tests", "" if has_browser else "Chromium (not installed)")
    _print_part("compiled attacks", _compiler_problem())
    failure = _core_failure()
    if failure:
        print(f"core: does not work: {failure}")
        return 1
    print("core: works (trained, attacked, saved and loaded a network)")
    return 0


def _print_part(part: str, problem: str) -> None:
    """Print whether a part works; `problem` is "" if it does."""
    if problem:
        print(f"  missing  {part}: {' '.join(problem.split())}")
    else:
        print(f"  works    {part}")


def _device() -> str:
    if torch.cuda.is_available():
        return f"cuda, {torch.cuda.get_device_name()}"
    return f"cpu, {torch.backends.cpu.get_cpu_capability()}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _problem(module: str) -> str:
    """Return why a module cannot be used, or "". Importing it is the only reliable test."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return "not installed" if error.name == module else str(error)
    except ImportError as error:
        return str(error)
    except Exception as error:  # a broken installation may raise any error; it is reported
        return f"{type(error).__name__}: {error}"
    return ""


def _compiler_problem() -> str:
    """Return what `train(..., compiled=True)` lacks here, or "". To compile would take too long."""
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    if not any(shutil.which(name) for name in compilers if name):
        return "a C++ compiler, such as g++ (not installed); attacks run without it, too"
    if torch.cuda.is_available() and (problem := _problem("triton")):
        return f"triton ({problem}); attacks run without it, too"
    return ""


def _core_failure() -> str:
    """Train, attack, save and load a network on a few images. Return the error as text, or ""."""
    try:
        data = oatlib.load_data("shapes", n_train=32, n_val=16, n_test=16)
        net = oatlib.build("oat", data)
        oatlib.train(net, data, epochs=1, batch=16, steps=1, progress=False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "net.safetensors")
            oatlib.save(net, path)
            oatlib.evaluate(oatlib.load(path), data.test, lams=[0.5], progress=False)
    except Exception as error:  # the error is reported, so the command must not stop here
        return f"{type(error).__name__}: {error}"
    return ""
