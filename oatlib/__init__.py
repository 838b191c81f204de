"""oatlib: once-for-all adversarial training, to learn, explore and measure.

One network is trained once. At run time two settings can be changed without further training: λ
moves between clean accuracy and robustness to adversarial attacks, and the width sets the size of
the network.

Public names are listed in `oatlib.__all__` and in `__init__.pyi`. They are imported when they are
first used. `explore`, `export_explorer` and `rerun` need the extra `lab`; `sweep` needs the extra
`scale`.

Example:
    >>> import oatlib
    >>> data = oatlib.load_data("shapes")
    >>> net = oatlib.build("oat", data)
    >>> history = oatlib.train(net, data)
    >>> print(oatlib.evaluate(net, data.test))
    >>> plain = net.at(lam=0.3)  # an ordinary nn.Module for one λ
"""

import lazy_loader

__version__ = "0.1.0"

# The stub next to this file is the list of public names. Importing PyTorch takes seconds, and the
# server of the explorer does not need it.
_import, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str):
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'oatlib' has no attribute {name!r}")
    try:
        return _import(name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("oatlib"):
            raise
        raise ImportError(f"oatlib.{name} needs {error.name}: pip install 'oatlib[lab]'") from error
