"""Every place that names a parent, alone and in its order; what only looks like one."""

import struct
from typing import Any

import pytest

from llmcourse.family_tree.graph import State
from tests.family_tree.conftest import Seed, Walker

LINEAR = """models:
  - model: acme/left
    parameters: {weight: 0.25}
  - model: acme/right
    parameters: {weight: 0.75}
merge_method: linear
"""


@pytest.fixture(autouse=True)
def parents(seed: Seed) -> None:
    for name in ("base", "left", "right"):
        seed(f"acme/{name}", license="mit")


def gguf(**entries: str | int) -> bytes:
    """The beginning of a GGUF file, version 3."""
    body = b""
    for key, value in entries.items():
        name = key.replace("__", ".").encode()
        body += struct.pack("<Q", len(name)) + name
        if isinstance(value, int):
            body += struct.pack("<II", 4, value)
        else:
            body += struct.pack("<IQ", 8, len(value)) + value.encode()
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + body


@pytest.mark.parametrize(
    ("files", "head", "evidence", "relation"),
    [
        ({}, {"base_model": "acme/base"}, ("baseModels", "card"), "finetune"),
        ({}, {"base_model": ["acme/base"]}, ("baseModels", "card"), "finetune"),
        (
            {},
            {"base_model": "acme/base", "base_model_relation": "quantized"},
            ("baseModels", "card"),
            "quantized",
        ),
        ({"adapter_config.json": "{}"}, {"base_model": "acme/base"}, ("baseModels", "card"), "adapter"),
        ({}, {"tags": ["acme/base", "x"]}, ("tag",), "unknown"),
        (
            {"adapter_config.json": '{"base_model_name_or_path": "acme/base"}'},
            {"license": "mit"},
            ("adapter_config.json",),
            "adapter",
        ),
        (
            {"quantize_config.json": '{"bits": 4, "model_name_or_path": "acme/base"}'},
            {"license": "mit"},
            ("quantize_config.json",),
            "quantized",
        ),
        (
            {"config.json": '{"quantization_config": {"bits": 4}, "_name_or_path": "acme/base"}'},
            {"license": "mit"},
            ("config.json",),
            "quantized",
        ),
        (
            {"m.Q4_K_M.gguf": gguf(general__base_model__0__repo_url="https://huggingface.co/acme/base")},
            {"license": "mit"},
            ("GGUF metadata",),
            "quantized",
        ),
        (
            {
                "m.gguf": gguf(
                    general__alignment=32, general__base_model__0__name="base",
                    general__base_model__0__organization="acme",
                )
            },
            {"license": "mit"},
            ("GGUF metadata",),
            "quantized",
        ),
        (
            {"llmcourse.json": '{"command": "quantize-exl2", "inputs": {"acme/base": "abc"}}'},
            {"license": "mit"},
            ("llmcourse.json",),
            "quantized",
        ),
    ],
    ids=[
        "text", "list", "relation", "adapter", "tag", "adapter-file", "gptq", "gptq-config", "gguf",
        "gguf-name", "manifest",
    ],
)  # fmt: skip
def test_a_place_that_names_a_parent(
    walk: Walker,
    seed: Seed,
    files: dict[str, Any],
    head: dict[str, Any],
    evidence: tuple[str, ...],
    relation: str,
) -> None:
    edge = walk(seed("acme/a", files, **head)).edge("acme/base", "acme/a")
    assert (edge.evidence, edge.relation.value) == (evidence, relation)


def test_a_recipe_in_the_text_adds_to_a_head_that_names_the_parents(walk: Walker, seed: Seed) -> None:
    head = "---\ntags: [merge]\nbase_model: [acme/left, acme/right]\nbase_model_relation: merge\n---\n"
    edge = walk(seed("acme/a", {"README.md": f"{head}\n```yaml\n{LINEAR}```\n"})).edge("acme/right", "acme/a")
    assert "recipe in the card" in edge.evidence and (edge.method, edge.weight) == ("linear", 0.75)


@pytest.mark.parametrize("name", ["mergekit_config.yml", "merge.yml"])
def test_a_recipe_among_the_files(walk: Walker, seed: Seed, name: str) -> None:
    walked = walk(seed("acme/a", {name: LINEAR}))
    edge = walked.edge("acme/right", "acme/a")
    assert edge.evidence == (name,)
    assert (edge.relation.value, edge.method, edge.weight, edge.share) == ("merge", "linear", 0.75, 0.75)
    assert edge.note == "" and walked.graph.shares == {"acme/right": 0.75, "acme/left": 0.25}


def test_a_recipe_in_the_text_of_the_card(walk: Walker, seed: Seed) -> None:
    head = "---\nlicense: mit\ntags: [merge]\n---\n"
    body = f"{head}\n## Configuration\n\n```yaml\n{LINEAR}```\n\n```python\nx = 1\n```\n"
    edge = walk(seed("acme/a", {"README.md": body})).edge("acme/left", "acme/a")
    assert (edge.evidence, edge.weight) == (("recipe in the card",), 0.25)


def test_a_card_without_head_that_has_a_recipe(walk: Walker, seed: Seed) -> None:
    assert len(walk(seed("acme/a", {"README.md": f"# a\n```yaml\n{LINEAR}```\n"})).edges) == 2


def test_a_recipe_adds_weights_to_what_the_card_says(walk: Walker, seed: Seed) -> None:
    named = ["acme/left", "acme/right"]
    seed("acme/a", {"mergekit_config.yml": LINEAR}, base_model=named, tags=["merge", *named])
    edge = walk("acme/a").edge("acme/left", "acme/a")
    assert edge.evidence == ("baseModels", "card", "mergekit_config.yml") and edge.weight == 0.25


def test_the_base_of_a_task_arithmetic_is_a_parent_that_cards_leave_out(walk: Walker, seed: Seed) -> None:
    recipe = LINEAR.replace("linear", "ties") + "base_model: acme/base\n"
    seed("acme/a", {"mergekit_config.yml": recipe}, base_model=["acme/left", "acme/right"])
    walked = walk("acme/a")
    assert walked.edge("acme/base", "acme/a").method == "ties"
    assert walked.findings("disagreement") == []


def test_files_cost_nothing_where_the_metadata_says_all(walk: Walker, seed: Seed) -> None:
    adapter = '{"base_model_name_or_path": "acme/left"}'
    files: dict[str, Any] = {"adapter_config.json": adapter, "m.gguf": gguf(), "llmcourse.json": "{}"}
    seed("acme/a", files, base_model="acme/base", base_model_relation="quantized", tags=["merge"])
    seed("acme/b", {"mergekit_config.yml": LINEAR}, base_model="acme/a", base_model_relation="quantized")
    walk.hub.clear_requests()
    walk("acme/b")
    assert walk.requests == 3


def test_tags_that_are_models_of_a_merge(walk: Walker, seed: Seed) -> None:
    walk.hub.repo("some/data", "dataset").add_files({"x.txt": b"x"})
    walk.hub.repo("card/data", "dataset").add_files({"x.txt": b"x"})
    tags = ["merge", "mergekit", "lazymergekit", "acme/left", "acme/right", "acme/deleted", "some/data"]
    tags += ["card/data", "arxiv:2306.01708", "https://example.org/a", "a/b/c", "acme/a", "text to/x"]
    seed("acme/a", license="mit", tags=tags, datasets=["card/data"])
    walked = walk("acme/a")
    assert {edge[0] for edge in walked.edges} == {"acme/left", "acme/right", "acme/deleted"}
    assert {edge[2] for edge in walked.edges} == {"merge"}
    assert walked.graph.nodes["acme/deleted"].state is State.MISSING
    assert not any("card/data" in record.path for record in walk.hub.requests)


def test_tags_of_others_are_guesses_only(walk: Walker, seed: Seed) -> None:
    walked = walk(seed("acme/a", license="mit", tags=["acme/left", "en/de", "some/thing"]))
    assert walked.edges == {("acme/left", "acme/a", "unknown")} and walked.graph.findings == ()


def test_tags_say_nothing_where_something_else_does(walk: Walker, seed: Seed) -> None:
    walked = walk(seed("acme/a", base_model="acme/base", tags=["acme/left"]))
    assert walked.edges == {("acme/base", "acme/a", "finetune")}


@pytest.mark.parametrize(
    "files",
    [
        {"adapter_config.json": '{"base_model_name_or_path": "/home/me/llama"}'},
        {"quantize_config.json": '{"bits": 4}'},
        {"m.gguf": b"GGUF\x03"},
        {"m.gguf": b"no gguf at all"},
        {"m.gguf": b"GGUF" + b"\xff" * 5000},
        {"m.gguf": b"GGUF" + struct.pack("<IQQQcI", 3, 0, 9, 1, b"k", 9) + b"\x09\0\0\0" * 9000},
        {"llmcourse.json": '{"command": "autoeval", "inputs": {"acme/base": "abc"}}'},
        {"llmcourse.json": '{"command": "merge", "inputs": [1]}'},
        {"mergekit_config.yml": "models: [{model: 7}, {}, null]\nslices: 3\nmerge_method: {}\n"},
    ],
)
def test_files_that_say_nothing(walk: Walker, seed: Seed, files: dict[str, Any]) -> None:
    walked = walk(seed("acme/a", files, license="mit"))
    assert walked.edges == set() and walked.graph.findings == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("adapter_config.json", "["),
        ("mergekit_config.yml", "models: [\n"),
        ("mergekit_config.yml", "just text"),
    ],
)
def test_files_that_cannot_be_understood_are_told(walk: Walker, seed: Seed, name: str, text: str) -> None:
    walked = walk(seed("acme/a", {name: text}, license="mit"))
    [said] = walked.findings("unreadable")
    assert walked.edges == set() and said.startswith(f"acme/a: what cannot be read is {name}")


def test_a_large_file_is_not_read_to_its_end(walk: Walker, seed: Seed) -> None:
    start = gguf(general__base_model__0__repo_url="https://huggingface.co/acme/base")
    walked = walk(seed("acme/a", {"m.gguf": start + bytes(3_000_000)}, license="mit"))
    assert len(walked.edges) == 1
    assert sum(record.response_bytes for record in walk.hub.requests) < 100_000
