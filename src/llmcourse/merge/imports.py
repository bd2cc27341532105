"""Imports mergekit without the heavy half of what it names at the top of its modules.

`import mergekit.merge` takes 8 to 11 s, most of it for code that a usual merge never runs: peft (LoRA),
transformers' model classes and checkpoint conversions, and through them sympy, scipy and torch's
compiler. Here those imports happen at first use. What mergekit can do stays the same; nothing else in
the package is touched, and a mergekit other than the one this was written for is imported plainly.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import LazyLoader, find_spec, module_from_spec
from types import ModuleType
from typing import Any

_MODULES = ("mergekit.merge", "mergekit.plan", "mergekit.graph", "mergekit.io.tasks", "mergekit.tokenizer")
_PROVEN_VERSION = "0.1.5"

# Used by mergekit as `package.name` inside functions only, so a module that loads at the first
# attribute is enough: LoRA merging and unpickling of .bin checkpoints.
_LAZY_PACKAGES = ("peft", "accelerate")
# Modules of mergekit that pull in transformers' model code, with all that other modules take from them:
# functions for architectures mergekit has no JSON for and for renamed checkpoint tensors.
_DEFERRED_FUNCTIONS = {
    "mergekit.architecture.auto": ("infer_architecture_info",),
    "mergekit.architecture.conversion": ("can_convert_checkpoint_keys", "convert_checkpoint_tensors"),
}
_AUTO_CLASSES = "transformers.models.auto.modeling_auto"


class _AutoClassTable(dict[str, Any]):
    """`mergekit.common.ARCH_NAME_TO_AUTO_CLS`, filled when first asked for a name."""

    def __contains__(self, name: object) -> bool:
        if not self:
            # mergekit builds the table while it runs the module, so a second run, kept out of
            # sys.modules, gives the same table.
            spec = find_spec("mergekit.common")
            assert spec is not None and spec.loader is not None
            common = module_from_spec(spec)
            spec.loader.exec_module(common)
            self.update(common.ARCH_NAME_TO_AUTO_CLS)
        return super().__contains__(name)


def import_mergekit() -> None:
    """Import mergekit's merge, plan, graph, io.tasks and tokenizer modules, deferring what is heavy."""
    if version("mergekit") == _PROVEN_VERSION and not any(
        name.startswith("mergekit") for name in sys.modules
    ):
        for package in _LAZY_PACKAGES:
            _import_at_first_attribute(package)
        with _deferred_functions(), _no_model_classes():
            import_module("mergekit.common").ARCH_NAME_TO_AUTO_CLS = _AutoClassTable()
            import_module("mergekit.merge")
    for name in _MODULES:
        import_module(name)


def _import_at_first_attribute(package: str) -> None:
    spec = find_spec(package)
    if package in sys.modules or spec is None or spec.loader is None:
        return
    spec.loader = LazyLoader(spec.loader)
    sys.modules[package] = module = module_from_spec(spec)
    spec.loader.exec_module(module)


@contextmanager
def _deferred_functions() -> Iterator[None]:
    """Let mergekit's own modules import functions that import their real module when called."""
    for module_name, function_names in _DEFERRED_FUNCTIONS.items():
        sys.modules[module_name] = stand_in = ModuleType(module_name)
        for function_name in function_names:
            setattr(stand_in, function_name, _deferred_function(module_name, function_name))
    try:
        yield
    finally:
        for module_name in _DEFERRED_FUNCTIONS:
            del sys.modules[module_name]


def _deferred_function(module_name: str, function_name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(module_name), function_name)(*args, **kwargs)

    return call


@contextmanager
def _no_model_classes() -> Iterator[None]:
    """Keep transformers' model code out while mergekit.common is imported.

    That module only fills its table of auto classes, if it can import them, and names
    `PreTrainedModel` in an annotation.
    """
    transformers = import_module("transformers")
    if _AUTO_CLASSES in sys.modules:
        yield
        return
    sys.modules[_AUTO_CLASSES] = None  # type: ignore[assignment]  # documented: makes import fail
    transformers.PreTrainedModel = object  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del sys.modules[_AUTO_CLASSES]
        del transformers.PreTrainedModel
