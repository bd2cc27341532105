"""For the adapters: import the part of transformers that every model config needs, and no more.

Nothing is imported here before the function is called; it is called in child processes only.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_HUB_KERNELS = "transformers.integrations.hub_kernels"


def import_activations() -> None:
    """Import transformers' activations, which every model config checks a name against, on their own.

    They import `integrations.hub_kernels`, and so half of transformers (1.3 s), for a decorator that
    does nothing unless the package `kernels` is installed (transformers 5.23).
    """
    import_module("transformers")
    if find_spec("kernels") is not None or _HUB_KERNELS in sys.modules:
        return
    sys.modules[_HUB_KERNELS] = stand_in = ModuleType(_HUB_KERNELS)
    stand_in.__dict__["use_kernel_forward_from_hub"] = lambda _layer_name: lambda layer_class: layer_class
    try:
        import_module("transformers.activations")
    finally:
        del sys.modules[_HUB_KERNELS]
