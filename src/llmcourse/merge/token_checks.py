"""Where the embeddings of single tokens come from (tokenizer.tokens)."""

from collections.abc import Iterator

from llmcourse.core.plan import Check, mistake
from llmcourse.merge.layers import Models, facts_of
from llmcourse.merge.recipe import ModelToken, Recipe

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


def token_checks(recipe: Recipe, models: Models) -> Iterator[Check]:
    """They come from models that are merged, and from rows that are there."""
    tokens = (recipe.tokenizer.tokens if recipe.tokenizer else None) or {}
    for token, about in tokens.items():
        reference = about.reference()
        if reference is None:
            continue
        if reference not in recipe.references():
            listed = ", ".join(map(str, recipe.references()))
            yield mistake(
                "tokenizer.tokens",
                f"{token!r} takes its embedding from {reference}, which is not merged.",
                f"Name one of {listed}.",
            )
            continue
        facts = facts_of(reference, models)
        rows = next((t.shape[0] for name, t in facts.tensors.items() if name.endswith(_EMBEDDINGS)), None)
        wanted = about.source.token_id if isinstance(about.source, ModelToken) else None
        if rows is not None and wanted is not None and wanted >= rows:
            yield mistake(
                "tokenizer.tokens",
                f"{token!r} takes the embedding of token {wanted:,}, and {reference} has {rows:,}.",
                f"Use a token_id below {rows}.",
            )
