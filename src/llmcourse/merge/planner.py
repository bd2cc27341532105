"""mergekit's planner, less an omission and a repetition.

The omission is of experts that a checkpoint holds one by one, in some layers only.  mergekit infers that such
weights may be absent, because a layer without experts has none of them, and then looks for them by the names
that transformers has in memory.  So it finds none and leaves all experts out, without a word (mergekit 0.1.5:
architecture/auto.py, plan.py; DeepSeek-V3 with its dense first layers).

The repetition is of the matrices between vision and text of Qwen2-VL and Qwen2.5-VL: its definitions name
them for each of two layers, without the layer's number.  Its own writer keeps the last tensor of a name.
"""

from typing import Any

from mergekit.architecture import WeightInfo
from mergekit.common import ModelReference
from mergekit.plan import MergePlanner

from llmcourse.merge.tensor_sizes import converted_source


class Planner(MergePlanner):  # type: ignore[misc]
    """Plans every weight that some input has, in whatever layout, and once."""

    _tensors: list[tuple[WeightInfo, Any]]

    def plan_tensor(
        self, weight: WeightInfo, weights_in: list[WeightInfo], models: list[ModelReference], cfg_reader: Any
    ) -> None:
        if weight.optional and any(
            converted_source(model, mine) for model, mine in zip(models, weights_in, strict=True)
        ):
            weight = weight.model_copy(update={"optional": False})
        super().plan_tensor(weight, weights_in, models, cfg_reader)

    def _plan(self) -> None:
        super()._plan()
        self._tensors = list({weight.name: (weight, task) for weight, task in self._tensors}.values())
