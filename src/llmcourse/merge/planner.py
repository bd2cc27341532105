"""mergekit's planner, less an omission: of experts that a checkpoint holds one by one, in some layers only.

It infers that such weights may be absent, because a layer without experts has none of them, and then looks
for them by the names that transformers has in memory.  So it finds none and leaves all experts out, without a
word (mergekit 0.1.5: architecture/auto.py, plan.py; DeepSeek-V3 with its dense first layers).
"""

from typing import Any

from mergekit.architecture import WeightInfo
from mergekit.common import ModelReference
from mergekit.plan import MergePlanner

from llmcourse.merge.tensor_sizes import converted_source


class Planner(MergePlanner):  # type: ignore[misc]
    """Plans every weight that some input has, in whatever layout."""

    def plan_tensor(
        self, weight: WeightInfo, weights_in: list[WeightInfo], models: list[ModelReference], cfg_reader: Any
    ) -> None:
        if weight.optional and any(
            converted_source(model, mine) for model, mine in zip(models, weights_in, strict=True)
        ):
            weight = weight.model_copy(update={"optional": False})
        super().plan_tensor(weight, weights_in, models, cfg_reader)
