"""What a merge document asks of its models, from their headers alone, without weights."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmcourse.core.model import ModelFacts, Tensor
from llmcourse.core.plan import Check, fail, mistake, ok, warn
from llmcourse.merge.layers import LAYER, Member, Models, facts_of, layer_count, members, with_layer
from llmcourse.merge.left_out_checks import account_checks
from llmcourse.merge.meaning_checks import meaning_checks
from llmcourse.merge.mixture_checks import mixture_checks
from llmcourse.merge.options import MergeOptions
from llmcourse.merge.recipe import Moe, OutputSlice, Recipe, Reference
from llmcourse.merge.tokenizer_checks import (
    TOKENIZER_FILES,
    Tokenizers,
    stage_vocabulary_checks,
    tokenizer_checks,
)


def recipe_model_checks(
    recipe: Recipe,
    models: Models,
    options: MergeOptions,
    tokenizers: Tokenizers,
    account: Mapping[str, Any] | None = None,
) -> Iterator[Check]:
    """Architectures, layer ranges, shapes, vocabulary and tokenizer of a mergekit-yaml document.

    `account` is what mergekit's planner said becomes of the tensors, None where it was not asked.
    """
    references = recipe.references()
    yield from _architecture_checks(references, models, options.allow_crimes)
    yield from meaning_checks(references, models, options.allow_crimes)
    problems = list(range_checks(recipe, models))
    yield from problems
    if not problems:
        yield from _shape_checks(recipe, models, options.unsafe_truncate_embeddings, account is not None)
        if account:
            yield from account_checks(recipe, models, account)
    yield from tokenizer_checks(recipe, models, tokenizers, options.copy_tokenizer)
    yield from stage_vocabulary_checks(recipe, models, tokenizers)


def _architecture_checks(
    references: Iterable[Reference], models: Models, are_crimes_allowed: bool
) -> Iterator[Check]:
    found = {str(ref): ref.override_architecture or facts_of(ref, models).architecture for ref in references}
    kinds = {name.casefold() for name in found.values()}
    if len(kinds) == 1:
        yield ok("architecture", next(iter(found.values())))
        return
    listed = ", ".join(f"{model} is {kind}" for model, kind in found.items())
    if are_crimes_allowed:
        yield warn("architecture", f"Architectures are mixed, as allow_crimes asks: {listed}.")
    else:
        yield fail(
            "architecture",
            f"The architectures differ: {listed}.",
            "Merge models of one architecture, or set options.allow_crimes=true.",
        )


def range_checks(recipe: Recipe, models: Models) -> Iterator[Check]:
    """Layer ranges of the models that are known."""
    for index, part in enumerate(recipe.output_slices()):
        outside = list(_outside_ranges(part, models))
        yield from outside
        lengths = {source.layer_range[1] - source.layer_range[0] for source in part.sources}
        if len(lengths) > 1 and not outside:
            yield mistake(
                "layer_range",
                f"The sources of slice {index} have {' and '.join(map(str, sorted(lengths)))} layers.",
                "Give every source of a slice the same number of layers.",
            )


def _outside_ranges(part: OutputSlice, models: Models) -> Iterator[Check]:
    for source in part.sources:
        if source.model.model not in models:
            continue  # that it cannot be read is said elsewhere
        start, end = source.layer_range
        count = layer_count(facts_of(source.model, models))
        if not 0 <= start <= end <= count:
            yield fail(
                "layer_range",
                f"Layers {start} to {end} of {source.model} do not exist; it has {count}.",
                f"Choose a range inside [0, {count}], its start below its end.",
            )


def _shape_checks(recipe: Recipe, models: Models, may_truncate: bool, is_accounted: bool) -> Iterator[Check]:
    pickled = [name for name, facts in models.items() if facts.is_pickled]
    if pickled:
        yield warn("shapes", f"Pickled weights cannot be checked without loading them: {pickled[0]}.")
        return
    vocabulary: dict[str, int] = {}
    shared = 0
    for group in members(recipe, models):
        depths = {member.end - member.start for member in group}
        if len(depths) > 1:
            counts = ", ".join(f"{member.name} has {member.end}" for member in group)
            yield fail("layers", f"The models differ in layers: {counts}.",
                       "Merge models of one depth, or write slices with layer_range.")  # fmt: skip
            continue
        first = group[0]
        for other in group[1:]:
            pairs = list(_pairs(first, other))
            shared += len(pairs)
            fewest = min(len(first.facts.tensors), len(other.facts.tensors))
            if not is_accounted and not recipe.output_slices() and 2 * len(pairs) < fewest:
                yield fail(
                    "tensors",
                    f"{first.name} and {other.name} share {len(pairs) or 'none'} of their tensors' names.",
                    "Merge models of one architecture that were saved in one way.",
                )
                return
            for mine, theirs, name in pairs:
                if mine.shape == theirs.shape:
                    continue
                if _is_vocabulary(name, mine, theirs, first.facts, other.facts):
                    vocabulary |= {first.name: mine.shape[0], other.name: theirs.shape[0]}
                    continue
                yield fail(
                    "shapes",
                    f"{name} is {_shape(mine)} in {first.name} and {_shape(theirs)} in {other.name}.",
                    "Merge models of one size and architecture.",
                )
                break
        lacking = None if is_accounted else next(_lacking(group), None)
        if lacking:
            yield warn("tensors", f"{lacking}; mergekit stops if the architecture requires it.")
    yield from _vocabulary_check(recipe, vocabulary, may_truncate, shared)


def _lacking(group: list[Member]) -> Iterator[str]:
    """Tensors that some models of a slice have and others do not; tied output embeddings may be left out."""
    for first in group:
        for other in group:
            theirs = {name for _, _, name in _pairs(first, other)}
            for name in first.facts.tensors:
                match = LAYER.search(name)
                is_merged = match is None or first.start <= int(match[1]) < first.end
                if is_merged and name not in theirs and "lm_head" not in name:
                    yield f"{first.name} has {name} and {other.name} has not"


def _pairs(first: Member, other: Member) -> Iterator[tuple[Tensor, Tensor, str]]:
    """Tensors that are merged with each other: the same name, layers counted from each range's start."""
    for name, tensor in first.facts.tensors.items():
        match = LAYER.search(name)
        partner = name
        if match:
            layer = int(match[1])
            if not first.start <= layer < first.end:
                continue
            partner = with_layer(name, layer - first.start + other.start)
        if partner in other.facts.tensors:
            yield tensor, other.facts.tensors[partner], name


def _is_vocabulary(name: str, mine: Tensor, theirs: Tensor, first: ModelFacts, other: ModelFacts) -> bool:
    """Whether two tensors differ in their number of token rows only."""
    sizes = {facts.config.get("vocab_size") for facts in (first, other)}
    is_named_so = any(part in name for part in ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out"))
    return mine.shape[1:] == theirs.shape[1:] and (is_named_so or {mine.shape[0], theirs.shape[0]} == sizes)


def _vocabulary_check(
    recipe: Recipe, sizes: dict[str, int], may_truncate: bool, shared: int
) -> Iterator[Check]:
    how = recipe.tokenizer_source or (recipe.tokenizer.source if recipe.tokenizer else None)
    if not sizes:
        if shared:
            yield ok("shapes", f"{shared:,} pairs of tensors of one name fit")
        if how:
            yield ok("tokenizer", _tokenizer_sentence(how))
        return
    listed = ", ".join(f"{name} has {rows:,}" for name, rows in sizes.items())
    if how:
        yield ok("vocabulary", f"Vocabularies differ ({listed}); {_tokenizer_sentence(how)}.")
    elif may_truncate:
        yield warn("vocabulary", f"Vocabularies differ ({listed}) and are cut to the shortest, as asked.")
    else:
        yield fail(
            "vocabulary",
            f"The vocabularies differ: {listed}.",
            "Add tokenizer: {source: base} or {source: union} to the merge.",
        )


def _tokenizer_sentence(how: str | Reference) -> str:
    if how == "union":
        return "the result's vocabulary is the union, embeddings are matched token by token"
    if how == "base":
        return "the base model's vocabulary is kept, embeddings are matched token by token"
    return f"the vocabulary of {how} is kept, embeddings are matched token by token"


def moe_model_checks(moe: Moe, models: Models, tokenizers: Tokenizers) -> Iterator[Check]:
    """Experts must be alike. Source: mergekit 0.1.5, moe/*.py (supports_config)."""
    references = moe.references()
    yield from mixture_checks(moe, models)
    yield from meaning_checks(references, models, are_crimes_allowed=False)
    base = facts_of(references[0], models)
    for reference in references[1:]:
        expert = facts_of(reference, models)
        odd = next((key for key in ("hidden_size", "intermediate_size", "num_hidden_layers")
                    if base.config.get(key) != expert.config.get(key)), None)  # fmt: skip
        if odd:
            yield fail("shapes", f"{odd} is {base.config.get(odd)} in {references[0]} and "
                       f"{expert.config.get(odd)} in {reference}.", "Use experts of one size.")  # fmt: skip
    if not any(name in base.files for name in TOKENIZER_FILES):
        yield fail("tokenizer", f"{references[0]} has no tokenizer.", "Add its tokenizer files.")
    yield from stage_vocabulary_checks(moe, models, tokenizers)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))
