"""Which mixtures of experts mergekit makes, of which models.

Source: mergekit 0.1.5, moe/*.py (supports_config), which says no after minutes, with a number.
"""

from collections.abc import Iterator

from llmcourse.core.plan import Check, fail, ok
from llmcourse.merge.layers import Models, facts_of
from llmcourse.merge.recipe import Moe

# By name of mergekit, lower case: the model types it is made of.
_KINDS = {
    "mixtral": ("llama", "mistral"),
    "deepseek moe": ("llama", "mistral"),
    "qwen moe": ("llama", "mistral", "qwen2"),
    "qwen3 moe": ("qwen3",),
}


def mixture_checks(moe: Moe, models: Models) -> Iterator[Check]:
    """Whether some kind of mixture fits the models and the shared experts."""
    kinds = {str(ref): str(facts_of(ref, models).config.get("model_type")) for ref in moe.references()}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{model} is {kind}" for model, kind in kinds.items())
        yield fail(
            "architecture", f"The experts' architectures differ: {listed}.", "Use experts of one kind."
        )
        return
    kind = next(iter(kinds.values()))
    wanted = [name for name in _KINDS if name.startswith((moe.architecture or "").lower())]
    fitting = [name for name in wanted if kind in _KINDS[name]]
    problems = {name: _problem(name, moe) for name in fitting}
    if not wanted:
        return  # that there is no such architecture is said of the recipe
    if not fitting:
        of = sorted({known for name in wanted for known in _KINDS[name]})
        named = f" as architecture: {moe.architecture}" if moe.architecture else ""
        yield fail(
            "architecture",
            f"mergekit makes no mixture of {kind} models{named}.",
            f"Use models of one of these kinds: {', '.join(of)}.",
        )
    elif all(problems.values()):
        what, fix = next(problem for problem in problems.values() if problem)
        yield fail("shared_experts", what, fix)
    else:
        yield ok("architecture", f"{len(moe.experts)} experts of {kind}")


def _problem(name: str, moe: Moe) -> tuple[str, str] | None:
    """What is wrong with the shared experts for this kind of mixture, and what to do."""
    shared = moe.shared_experts or []
    prompts = [expert for expert in shared if expert.positive_prompts or expert.negative_prompts]
    if name in ("mixtral", "qwen3 moe") and shared:
        return f"A {name.title()} mixture has no shared experts.", "Remove shared_experts."
    if name == "deepseek moe" and (len(shared) > 1 or prompts):
        return (
            "A DeepSeek mixture has at most one shared expert, and that has no prompts.",
            "Leave one in shared_experts, without positive_prompts and negative_prompts.",
        )
    if name == "qwen moe" and len(shared) != 1:
        return (
            f"A Qwen mixture has exactly one shared expert, and here are {len(shared)}.",
            "Add shared_experts: with one source_model that every token passes.",
        )
    if name == "qwen moe" and moe.gate_mode != "random" and not shared[0].positive_prompts:
        return (
            f"With gate_mode: {moe.gate_mode} the shared expert of a Qwen mixture needs positive_prompts.",
            "Add them to its entry in shared_experts, or set gate_mode: random.",
        )
    return None
