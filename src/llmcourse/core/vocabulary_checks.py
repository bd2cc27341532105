"""Whether tokenizer, config.json and embeddings of a model belong together."""

from collections.abc import Iterator

from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, fail, warn
from llmcourse.core.vocabulary import TokenizerFacts, embedding_rows, stated_rows


def vocabulary_checks(
    name: str,
    model: ModelFacts,
    tokenizer: TokenizerFacts | None,
    *,
    sizes_matter: bool = True,
    tokens_matter: bool = True,
) -> Iterator[Check]:
    """Tokens without embeddings, and a config.json that says another number of rows than there are.

    Whether what follows stops at one or the other is for the caller to know; else it is told as a warning.
    """
    rows, stated = embedding_rows(model), stated_rows(model)
    if rows is None:
        return
    if stated is not None and stated != rows:
        what = f"{name} has embeddings of {rows:,} tokens, and its config.json says vocab_size {stated:,}."
        fix = f"Write vocab_size: {rows} into its config.json."
        yield fail(name, what, fix) if sizes_matter else warn(name, f"{what} The result's says {rows:,}.")
    token, number = tokenizer.last if tokenizer else ("", -1)
    if number >= rows:
        what = (
            f"The tokenizer of {name} has the token {token!r} with the id {number:,}, "
            f"and its embeddings end at {rows - 1:,}."
        )
        fix = (
            f"Give it embeddings with resize_token_embeddings({number + 1}) of transformers, or take the "
            "token out of its tokenizer files."
        )
        yield fail(name, what, fix) if tokens_matter else warn(name, what, fix)


def padding_checks(name: str, model: ModelFacts) -> Iterator[Check]:
    """Whether the token that fills rows up has an embedding, which a library that pads looks up."""
    padding, words = model.config.get("pad_token_id"), model.config.get("vocab_size")
    if isinstance(padding, int) and isinstance(words, int) and padding >= words:
        yield fail(
            name,
            f"{name} pads with token {padding}, and its vocabulary has {words}.",
            "Correct pad_token_id in its config.json.",
        )


def tokenizer_differences(first: TokenizerFacts, other: TokenizerFacts) -> list[str]:
    """What two tokenizers do differently, the gravest first; empty where they do the same."""
    found = []
    moved = [token for token, number in first.tokens.items() if other.tokens.get(token, number) != number]
    more, fewer = other.tokens.keys() - first.tokens.keys(), first.tokens.keys() - other.tokens.keys()
    if moved:
        found.append(f"{len(moved):,} tokens have other ids ({moved[0]!r} first)")
    if more:
        found.append(f"{len(more):,} more tokens ({min(more, key=other.tokens.__getitem__)!r} first)")
    if fewer:
        found.append(f"{len(fewer):,} tokens less ({min(fewer, key=first.tokens.__getitem__)!r} first)")
    return found + [f"another {name}" for name in first.parts if first.parts[name] != other.parts.get(name)]
