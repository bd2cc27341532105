"""Imports mergekit without the heavy half of what it names at the top of its modules.

`import mergekit.merge` takes 8 to 11 s, most of it for code that a usual merge never runs: peft (LoRA),
transformers' model classes and checkpoint conversions, and through them sympy, scipy and torch's
compiler. While mergekit is imported, stand-ins take the place of four modules; each imports the real
one when it is first used, so what mergekit can do stays the same. `importlib.util.LazyLoader` does not
do here: torch calls `inspect.getmodule`, which looks into every loaded module and so loads lazy ones.
A mergekit other than the one this was written for, or one that the stand-ins do not satisfy, is
imported plainly.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

from llmcourse.core.lean_transformers import import_activations

_MODULES = ("mergekit.merge", "mergekit.plan", "mergekit.graph", "mergekit.io.tasks", "mergekit.tokenizer")
_PROVEN_VERSION = "0.1.5"

# Each module with the functions that mergekit takes from it by `from ... import`. All else that mergekit
# does with it is to look up a name when it runs. In order: merging LoRA adapters, unpickling .bin
# checkpoints, architectures that mergekit has no JSON for, checkpoint tensors under old names.
_STAND_INS: dict[str, tuple[str, ...]] = {
    "peft": (),
    "accelerate": (),
    "mergekit.architecture.auto": ("infer_architecture_info",),
    "mergekit.architecture.conversion": ("can_convert_checkpoint_keys", "convert_checkpoint_tensors"),
}
_AUTO_CLASSES = "transformers.models.auto.modeling_auto"


def import_mergekit() -> None:
    """Import mergekit's merge, plan, graph, io.tasks and tokenizer modules, deferring what is heavy."""
    if version("mergekit") == _PROVEN_VERSION and "mergekit.common" not in sys.modules:
        # What fails here for want of a name is imported again, without stand-ins, below.
        with suppress(ImportError):
            import_activations()
        with suppress(ImportError), _stand_ins(), _no_model_classes():
            common: Any = import_module("mergekit.common")
            common.ARCH_NAME_TO_AUTO_CLS = _AutoClassTable()
            import_module("mergekit.merge")
    for name in _MODULES:
        import_module(name)


class _AutoClassTable(dict[str, Any]):
    """`mergekit.common.ARCH_NAME_TO_AUTO_CLS`, filled when first asked for a name."""

    def __contains__(self, name: object) -> bool:
        if not self:
            # mergekit builds the table while it runs the module. A second run, kept out of
            # sys.modules, builds the same one.
            spec = find_spec("mergekit.common")
            assert spec is not None and spec.loader is not None
            common = module_from_spec(spec)
            spec.loader.exec_module(common)
            self.update(common.ARCH_NAME_TO_AUTO_CLS)
        return super().__contains__(name)


@contextmanager
def _stand_ins() -> Iterator[None]:
    added = {name: _stand_in(name) for name in _STAND_INS if name not in sys.modules}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name, module in added.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _stand_in(name: str) -> ModuleType:
    """Return a module that imports the real one when an attribute is read or a function called."""
    module = ModuleType(name)

    def read(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    def defer(function_name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: read(function_name)(*args, **kwargs)

    # `find_spec` refuses a loaded module without a spec; mergekit's own parents are not to be loaded yet.
    module.__spec__ = None if name.startswith("mergekit.") else find_spec(name)
    module.__dict__["__getattr__"] = read
    module.__dict__.update((function_name, defer(function_name)) for function_name in _STAND_INS[name])
    return module


@contextmanager
def _no_model_classes() -> Iterator[None]:
    """Keep transformers' model classes out while mergekit.common is imported.

    That module fills its table of auto classes if it can import them, and names `PreTrainedModel` in an
    annotation that nothing reads.
    """
    transformers: Any = import_module("transformers")
    if _AUTO_CLASSES in sys.modules or "PreTrainedModel" in vars(transformers):
        yield
        return
    modules: dict[str, Any] = sys.modules
    modules[_AUTO_CLASSES] = None  # makes its import fail
    transformers.PreTrainedModel = object
    try:
        yield
    finally:
        del sys.modules[_AUTO_CLASSES], transformers.PreTrainedModel
