"""Whether the weights of a model are numbers, and fit into the 16 bits in which the result stores them.

Looked at before the calibration is read: what overflows is found by nobody else before the last layer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from llmcourse.core.errors import PlanError
from llmcourse.core.progress import Progress
from llmcourse.quantize_gptq.config import Config
from llmcourse.quantize_gptq.layout import expression_of, packed_bits, with_modules_left

_LARGEST = torch.finfo(torch.float16).max  # 65504
_SMALLEST = 2.0**-24  # the smallest number of float16 above zero


@dataclass(frozen=True)
class Range:
    """A tensor's largest absolute value; NaN where one of its values is."""

    name: str
    largest: float
    dimensions: int


def check_ranges(config: Config, dtype: str, files: Sequence[Path], progress: Progress) -> None:
    """Read all weights once and compare them with what is stored of them.

    `dtype` is what is not quantized gets.  Scales of quantized layers are float16 whatever the dtype
    (gptqmodel 7.6, nn_modules/qlinear/__init__.py: pack_original).

    Raises:
        PlanError: values that are no numbers, or too large or small; with settings under which they fit.
    """
    found = list(_ranges(files, progress))
    damaged = [each.name for each in found if each.largest != each.largest or each.largest == float("inf")]
    if damaged:
        raise PlanError(
            f"{damaged[0]} holds values that are no numbers (NaN or infinity)"
            + (f", and so do {len(damaged) - 1} other tensors." if damaged[1:] else "."),
            "Get the model's files anew, or give another model: these weights are damaged.",
            where=config.model,
        )
    scales = [each for each in found if _scale_problem(config, each)]
    wide = [each for each in found if each.largest > _LARGEST] if dtype == "float16" else []
    if scales or wide:
        worst = max(scales or wide, key=lambda each: each.largest)
        raise PlanError(
            f"{worst.name} holds {worst.largest:.4g}, "
            + ("which float16 does not hold" if worst in wide else "for which float16 has no scale")
            + f" (it goes from {_SMALLEST:.1g} to {_LARGEST:.0f}).",
            _remedy(config, bool(wide), [each.name for each in scales]),
            where=config.model,
        )


def _remedy(config: Config, is_wide: bool, scales: list[str]) -> str:
    """The settings, all of them, under which this model can be quantized."""
    if config.backend == "auto-gptq":
        return "Use backend: gptqmodel, which has dtype: bfloat16; auto-gptq computes in float16 alone."
    steps = ["dtype: bfloat16"] if is_wide else []
    if scales:
        left = dict.fromkeys(expression_of(name) for name in scales)
        steps.append(f"modules: {with_modules_left(config, left)}")
    return f"Set {' and '.join(steps)}" + (", which leaves what does not fit as it is." if scales else ".")


def _scale_problem(config: Config, found: Range) -> bool:
    """Whether a layer's scale is beyond float16: twice the largest weight by the number of steps."""
    bits = packed_bits(config, found.name, found.dimensions)
    if bits is None or found.largest == 0:
        return False
    scale = 2 * found.largest / (2**bits - 1)
    return not _SMALLEST <= scale <= _LARGEST


def _ranges(files: Sequence[Path], progress: Progress) -> Iterator[Range]:
    size = sum(path.stat().st_size for path in files)
    with progress.step("look at the weights", size, "B") as step:
        for path in files:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118  (it is no dictionary)
                    tensor = file.get_tensor(name)
                    if tensor.is_floating_point() and tensor.numel():
                        low, high = (float(each) for each in torch.aminmax(tensor))
                        yield Range(name, max(abs(low), abs(high)) if low == low else low, tensor.ndim)
                    step.advance(tensor.nbytes)
