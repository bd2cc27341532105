"""What a merge asks of its models' tokenizers, and how they differ where one of them is copied."""

from collections import Counter
from collections.abc import Iterator, Mapping

from llmcourse.core.plan import Check, fail, warn
from llmcourse.core.vocabulary import TokenizerFacts
from llmcourse.core.vocabulary_checks import tokenizer_differences, vocabulary_checks
from llmcourse.merge.layers import Models, facts_of
from llmcourse.merge.recipe import Moe, Recipe
from llmcourse.merge.token_checks import token_checks

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json", "vocab.txt")

Tokenizers = Mapping[str, TokenizerFacts]


def tokenizer_checks(recipe: Recipe, models: Models, tokenizers: Tokenizers, copies: bool) -> Iterator[Check]:
    """Whether there is a tokenizer to copy or to build from, and whether those of the models are alike."""
    is_built = recipe.tokenizer_source or recipe.tokenizer
    needed = recipe.references()[:1]
    if is_built:
        needed = list(dict.fromkeys([*recipe.references(), *recipe.tokenizer_references()]))
    if not is_built and not copies:
        if recipe.chat_template:
            yield warn("chat_template", "It is not saved, because copy_tokenizer is false.")
        return
    for reference in needed:
        if not any(name in facts_of(reference, models).files for name in TOKENIZER_FILES):
            yield fail(
                "tokenizer",
                f"{reference} has no tokenizer that could be {'read' if is_built else 'copied'}.",
                "Add its tokenizer files, or set options.copy_tokenizer=false.",
            )
    yield from token_checks(recipe, models)
    if not is_built:
        yield from _differences(recipe, models, tokenizers)


def stage_vocabulary_checks(stage: Recipe | Moe, models: Models, tokenizers: Tokenizers) -> Iterator[Check]:
    """Tokens that a model has no embeddings for, which stop a merge that matches tokens or loads a LoRA."""
    is_built = isinstance(stage, Recipe) and bool(stage.tokenizer_source or stage.tokenizer)
    told = set()
    for reference in stage.references():
        if reference.model not in told:
            told.add(reference.model)
            yield from vocabulary_checks(
                reference.model,
                models[reference.model],
                tokenizers.get(reference.model),
                sizes_matter=bool(reference.lora),
                tokens_matter=is_built,
            )


def _differences(recipe: Recipe, models: Models, tokenizers: Tokenizers) -> Iterator[Check]:
    names = list(dict.fromkeys(reference.model for reference in recipe.references()))
    if not all(name in tokenizers for name in names):
        yield from _other_sizes(recipe, models)
        return
    donor = tokenizers[names[0]]
    for name in names[1:]:
        found = tokenizer_differences(donor, tokenizers[name])
        ids = [item for item in found if "tokens" in item]
        if found:
            is_template = found == ["another chat template"] and not recipe.chat_template
            yield warn(
                "tokenizer",
                f"The tokenizer of {names[0]} is copied, and {name}'s differs: {', '.join(found)}.",
                "Add tokenizer: {source: union} or {source: base}, which match embeddings token by token."
                if ids
                else "Add chat_template: auto to take the one that most models have."
                if is_template
                else "",
            )


def _other_sizes(recipe: Recipe, models: Models) -> Iterator[Check]:
    """Where files cannot be compared by what they say: by their sizes."""
    for name in ("tokenizer.json", "tokenizer.model"):
        sizes = Counter(
            models[ref.model].files[name] for ref in recipe.references() if name in models[ref.model].files
        )
        if len(sizes) > 1:
            yield warn(
                "tokenizer",
                f"The models' {name} files differ, and the first model's tokenizer is copied.",
                "If their vocabularies differ, add tokenizer: {source: base} or {source: union}.",
            )
            return
