"""mergekit's own merge methods, faster and with less memory, to the last bit.

mergekit 0.1.5 computes most methods with full-size temporaries, and TIES with a full sort. The kernels
here replace only what a method computes: planning, parameters and the task graph stay mergekit's. They
take CPU tensors of bfloat16, float16 and float32 and pass everything else on to mergekit's code.
"""

from importlib.metadata import version

import torch
from mergekit.merge_methods import registry
from mergekit.merge_methods.base import BatchedMergeMethod, FunctionalGroupMergeMethod, MergeMethod

from llmcourse.merge.kernels.batched import linear_like, slerp_like
from llmcourse.merge.kernels.memory import keep_freed_memory
from llmcourse.merge.kernels.selection import sort_is_followed
from llmcourse.merge.kernels.task_arithmetic import task_arithmetic_like

__all__ = ["keep_freed_memory", "use_fast_kernels"]

# What tests/merge/test_kernels.py was run with. Rounding and sorting may change with any release.
_PROVEN_VERSIONS = [("0.1.5", "2.13.0")]
# mergekit's own methods that were replaced, so that a second call in one process replaces no replacement.
_ORIGINALS: dict[str, MergeMethod] = {}


def use_fast_kernels() -> tuple[str, ...]:
    """Put the exact kernels into mergekit's registry for this process; return the methods replaced.

    Returns () if parity was not proven for the installed mergekit and torch. `ties` is left out where
    torch's sort is not the one `selection` follows (it depends on the C++ library torch was built with).
    """
    if (version("mergekit"), torch.__version__.partition("+")[0]) not in _PROVEN_VERSIONS:
        return ()
    names = ["slerp", "linear", "task_arithmetic", "dare_ties", "dare_linear"]
    if sort_is_followed():
        names.append("ties")
    for name in names:
        registry._METHODS[name] = _fast_method(_ORIGINALS.setdefault(name, registry.get(name)))
    return tuple(names)


def _fast_method(original: MergeMethod) -> MergeMethod:
    if original.spec.name == "slerp":
        return BatchedMergeMethod(original.spec, slerp_like(original.implementation))
    if original.spec.name == "linear":
        return BatchedMergeMethod(original.spec, linear_like(original.implementation))
    return FunctionalGroupMergeMethod(original.spec, task_arithmetic_like(original))
