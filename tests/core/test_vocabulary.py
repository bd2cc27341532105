"""Tokenizer, config.json and embeddings belong together, or it is said which does not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmcourse.core.vocabulary import TokenizerFacts, embedding_rows, read_tokenizer
from llmcourse.core.vocabulary_checks import tokenizer_differences, vocabulary_checks
from tests.planner_facts import llama_on_the_hub

ROWS = 8  # of the embeddings, and vocab_size


def tokenizer(folder: Path, **changes: Any) -> TokenizerFacts:
    """A BPE of six tokens and one added, as tokenizers writes it."""
    folder.mkdir()
    vocab = {token: number for number, token in enumerate("abcdef")}
    whole = {
        "added_tokens": [{"id": 6, "content": "<s>", "special": True}],
        "pre_tokenizer": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"]]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(whole | changes))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    found = read_tokenizer(folder)
    assert found is not None
    return found


def said(
    tokens: TokenizerFacts | None, rows: int = ROWS, stated: int = ROWS, **matters: bool
) -> list[tuple[str, str]]:
    model = llama_on_the_hub()
    name = "model.embed_tokens.weight"
    embeddings = replace(model.tensors[name], shape=(rows, 4))
    model = replace(
        model, tensors={**model.tensors, name: embeddings}, config={**model.config, "vocab_size": stated}
    )
    assert embedding_rows(model) == rows
    return [(check.status, check.what) for check in vocabulary_checks("m", model, tokens, **matters)]


def test_token_beyond_the_embeddings_is_named_with_its_id(tmp_path: Path) -> None:
    found = tokenizer(tmp_path / "t", added_tokens=[{"id": ROWS, "content": "<pad>"}])
    what = "The tokenizer of m has the token '<pad>' with the id 8, and its embeddings end at 7."
    assert said(found) == [("fail", what)]
    assert said(found, tokens_matter=False) == [("warn", what)]


@pytest.mark.parametrize("place", ["added_tokens.json", "tokenizer_config.json", "vocab.json"])
def test_every_file_that_gives_ids_counts(place: str, tmp_path: Path) -> None:
    tokenizer(tmp_path / "t")
    if place == "vocab.json":
        (tmp_path / "t" / "tokenizer.json").unlink()
    value = {"added_tokens_decoder": {"9": {"content": "<x>"}}} if "config" in place else {"<x>": 9}
    (tmp_path / "t" / place).write_text(json.dumps(value))
    found = read_tokenizer(tmp_path / "t")
    assert found is not None and found.last == ("<x>", 9)


def test_unigram_vocabulary_is_a_list(tmp_path: Path) -> None:
    found = tokenizer(tmp_path / "t", model={"vocab": [["a", -1.0], ["b", -2.0]]}, added_tokens=[])
    assert found.tokens == {"a": 0, "b": 1}


def test_rows_without_tokens_are_padding(tmp_path: Path) -> None:
    assert said(tokenizer(tmp_path / "t"), rows=64, stated=64) == []


def test_stale_vocab_size_is_told(tmp_path: Path) -> None:
    found = tokenizer(tmp_path / "t")
    [(status, what)] = said(found, rows=9)
    assert (status, what) == ("fail", "m has embeddings of 9 tokens, and its config.json says vocab_size 8.")
    [(status, what)] = said(found, rows=9, sizes_matter=False)
    assert status == "warn" and what.endswith("The result's says 9.")


def test_equal_tokenizers_written_by_two_versions_do_not_differ(tmp_path: Path) -> None:
    """Older files write merges as one text, and special tokens with their properties."""
    first = tokenizer(tmp_path / "a")
    vocab = {token: number for number, token in enumerate("abcdef")}
    older = tokenizer(tmp_path / "b", model={"type": "BPE", "vocab": vocab, "merges": ["a b"]})
    (tmp_path / "b" / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": {"content": "<s>"}, "pad_token": "x"})
    )
    assert tokenizer_differences(first, older) == []
    assert tokenizer_differences(first, read_tokenizer(tmp_path / "b") or older) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"added_tokens": [{"id": 6, "content": "<s>"}, {"id": 7, "content": "<t>"}]},
            "1 more tokens ('<t>' first)",
        ),
        ({"added_tokens": []}, "1 tokens less ('<s>' first)"),
        ({"added_tokens": [{"id": 7, "content": "<s>"}]}, "1 tokens have other ids ('<s>' first)"),
        ({"pre_tokenizer": {"type": "Digits"}}, "another pre-tokenizer"),
    ],
)
def test_what_differs_is_said(changes: dict[str, Any], what: str, tmp_path: Path) -> None:
    assert tokenizer_differences(tokenizer(tmp_path / "a"), tokenizer(tmp_path / "b", **changes)) == [what]


def test_damaged_files_are_as_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    (tmp_path / "tokenizer_config.json").write_text("[]")
    assert read_tokenizer(tmp_path) is None
