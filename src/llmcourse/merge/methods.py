"""The merge methods of mergekit 0.1.5: names, inputs, parameters.

Kept as data so that a plan can be checked without importing mergekit, which takes seconds and torch.
A test compares every row with the installed mergekit's own registry.
"""

from dataclasses import dataclass, field
from typing import Literal

MERGEKIT_VERSION = "0.1.5"


@dataclass(frozen=True)
class Parameter:
    """`scope` says whose value it is: one for all inputs, each input's, each input's but the base's."""

    kind: type
    scope: Literal["shared", "input", "non_base"] = "shared"
    is_required: bool = False


@dataclass(frozen=True)
class Method:
    """What a method takes; counts are of models in one slice, the base among them."""

    title: str
    url: str | None = None
    base: Literal["required", "optional", "ignored"] = "required"
    min_inputs: int = 1
    max_inputs: int | None = None
    min_non_base: int | None = None
    max_non_base: int | None = None
    parameters: dict[str, Parameter] = field(default_factory=dict)
    is_random: bool = False


_FLAG, _NUMBER = Parameter(bool), Parameter(float)
_WEIGHT = Parameter(float, "non_base", is_required=True)
_TASK_ARITHMETIC = {
    "int8_mask": _FLAG,
    "normalize": _FLAG,
    "rescale": _FLAG,
    "lambda": _NUMBER,
    "weight": _WEIGHT,
    "density": Parameter(float, "non_base"),
}
_GAMMA = {"gamma": Parameter(float, "non_base")}
_EPSILON = {"epsilon": Parameter(float, "non_base")}
_REQUIRED_NUMBER = Parameter(float, is_required=True)
_ARXIV = "https://arxiv.org/abs/"

METHODS: dict[str, Method] = {
    "linear": Method(
        "Linear", f"{_ARXIV}2203.05482", "ignored",
        parameters={"weight": Parameter(float, "input", is_required=True), "normalize": _FLAG},
    ),
    "slerp": Method(
        "SLERP", "https://en.wikipedia.org/wiki/Slerp", min_inputs=2, max_inputs=2,
        parameters={"t": _REQUIRED_NUMBER},
    ),
    "nuslerp": Method(
        "NuSLERP", None, "optional", min_non_base=2, max_non_base=2,
        parameters={"weight": _WEIGHT, "nuslerp_row_wise": _FLAG, "nuslerp_flatten": _FLAG},
    ),
    "multislerp": Method(
        "Multi-SLERP", "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea", "optional",
        min_non_base=1, parameters={"weight": _WEIGHT, "normalize_weights": _FLAG, "eps": _NUMBER},
    ),
    "karcher": Method(
        "Karcher Mean", f"{_ARXIV}2603.04972", "ignored",
        parameters={"max_iter": Parameter(int), "tol": _NUMBER},
    ),
    "task_arithmetic": Method("Task Arithmetic", f"{_ARXIV}2212.04089", parameters=_TASK_ARITHMETIC),
    "ties": Method("TIES", f"{_ARXIV}2306.01708", parameters=_TASK_ARITHMETIC),
    "dare_ties": Method(
        "DARE TIES", f"{_ARXIV}2311.03099", parameters=_TASK_ARITHMETIC, is_random=True
    ),
    "dare_linear": Method(
        "Linear DARE", f"{_ARXIV}2311.03099", parameters=_TASK_ARITHMETIC, is_random=True
    ),
    "breadcrumbs": Method(
        "Model Breadcrumbs", f"{_ARXIV}2312.06795", parameters=_TASK_ARITHMETIC | _GAMMA
    ),
    "breadcrumbs_ties": Method(
        "Model Breadcrumbs with TIES", f"{_ARXIV}2312.06795", parameters=_TASK_ARITHMETIC | _GAMMA
    ),
    "della": Method(
        "DELLA", f"{_ARXIV}2406.11617", parameters=_TASK_ARITHMETIC | _EPSILON, is_random=True
    ),
    "della_linear": Method(
        "Linear DELLA", f"{_ARXIV}2406.11617", parameters=_TASK_ARITHMETIC | _EPSILON, is_random=True
    ),
    "sce": Method("SCE", f"{_ARXIV}2408.07990", parameters={"int8_mask": _FLAG, "select_topk": _NUMBER}),
    "ram": Method(
        "Reinforced Agent Merging", f"{_ARXIV}2601.13572", parameters={"epsilon": _NUMBER}
    ),
    "ramplus_tl": Method(
        "Reinforced Agent Merging Plus (Tensor-Local)", f"{_ARXIV}2601.13572",
        parameters={"r": _NUMBER, "alpha": _NUMBER, "epsilon": _NUMBER},
    ),
    "model_stock": Method(
        "Model Stock", f"{_ARXIV}2403.19522", min_inputs=3, parameters={"filter_wise": _FLAG}
    ),
    "nearswap": Method(
        "NearSwap", "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
        min_inputs=2, max_inputs=2, parameters={"t": _REQUIRED_NUMBER},
    ),
    "arcee_fusion": Method("Arcee Fusion", "https://arcee.ai", min_inputs=2, max_inputs=2),
    "passthrough": Method(
        "Passthrough", None, "ignored", max_inputs=1, parameters={"scale": Parameter(float, "input")}
    ),
}  # fmt: skip
