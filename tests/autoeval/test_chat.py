"""Chats, thoughts and the room for answers: what the plan tells of them from files alone."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.thinking import chat_in, chat_of
from llmcourse.core.errors import ConfigError, Problems
from tests.autoeval.builders import INSTALLED, config, model, plan_of, said
from tests.autoeval.test_plan import KNOWN

GENERATED = {**KNOWN, "asks": {"for": "generate_until"}, "metrics": ["exact_match"]}
SCORED = {**KNOWN, "asks": {"for": "multiple_choice"}, "metrics": ["acc"]}
PLAIN = {"template": False, "ends": []}
CHAT = {"template": True, "ends": []}
THINKS = {"template": True, "ends": ["</think>"]}


def told(
    runtime: str, chat: Mapping[str, Any], tasks: Mapping[str, Any], status: Any = "fail", **changes: Any
) -> list[str]:
    """What the plan says about the keys of runtime, for org/tiny (2,048 tokens of context) on these tasks."""
    answers = {
        "tasks": dict(tasks),
        "near": {},
        "leaves": {name: {name: entry} for name, entry in tasks.items()},
        "chats": {"org/tiny": chat},
    }
    text = f"model: org/tiny\ntasks: [{', '.join(tasks)}]\nruntime: {{{runtime}}}\n"
    plain = model()
    sized = replace(plain, config={**plain.config, "max_position_embeddings": 2048})
    plan = plan_of(text, answers=answers, models={"org/tiny": sized}, **changes)
    return [line for line in said(plan, status) if line.startswith("runtime")]


def test_a_chat_template_that_the_model_lacks_is_refused() -> None:
    assert told("apply_chat_template: true", PLAIN, {"gsm8k": GENERATED}) == [
        "runtime.apply_chat_template: org/tiny has no chat template."
        " Leave apply_chat_template out: it is a base model, whose prompts are plain texts."
    ]
    assert told("apply_chat_template: true", CHAT, {"gsm8k": GENERATED}) == []


def test_a_model_that_may_think_is_told_where_answers_are_written() -> None:
    (line,) = told("seed: 1", THINKS, {"gsm8k": GENERATED}, "warn")
    assert "org/tiny may think before it answers (it knows </think>)" in line
    assert "runtime.think_end_token=</think>" in line
    assert told("seed: 1", THINKS, {"arc_easy": SCORED}, "warn") == []
    for runtime in ("think_end_token: </think>", "enable_thinking: false, apply_chat_template: true"):
        assert told(runtime, THINKS, {"gsm8k": GENERATED}, "warn") == []


def test_thinking_before_answers_that_are_given_is_a_fault_of_the_config() -> None:
    runtime = "apply_chat_template: true, enable_thinking: true, think_end_token: </think>"
    (line,) = told(runtime, THINKS, {"arc_easy": SCORED})
    assert "arc_easy compare likelihoods of given answers" in line


def test_keys_that_change_nothing_without_a_template_are_told() -> None:
    lines = told("enable_thinking: false, chat_template_args: {a: 1}", CHAT, {"gsm8k": GENERATED}, "warn")
    assert [line.partition(":")[0] for line in lines] == [
        "runtime.enable_thinking", "runtime.chat_template_args",
    ]  # fmt: skip


@pytest.mark.parametrize("length", [2048, 32768])
def test_an_answer_that_no_context_holds_is_refused(length: int) -> None:
    task = {**GENERATED, "asks": {"for": "generate_until", "max_gen_toks": length}}
    (line,) = told("seed: 1", CHAT, {"aime25": task})
    assert (
        f"aime25: an answer may have {length:,} tokens, and org/tiny has 2,048 for prompt and answer" in line
    )
    assert told("gen_kwargs: {max_new_tokens: 512}", CHAT, {"aime25": task}) == []
    assert told("max_length: 65536", CHAT, {"aime25": task}) == []


def test_little_room_for_a_prompt_is_told() -> None:
    task = {**GENERATED, "asks": {"for": "generate_until", "max_gen_toks": 2000}}
    (line,) = told("seed: 1", CHAT, {"aime25": task}, "warn")
    assert "leaves 48 of 2,048 tokens for the prompt of org/tiny" in line


def test_answers_drawn_at_random_are_refused_for_a_gguf_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    answers = {"tasks": {"gsm8k": GENERATED}, "near": {}, "leaves": {"gsm8k": {"gsm8k": GENERATED}}}
    text = f"model: {path}\ntasks: [gsm8k]\nruntime: {{gen_kwargs: {{temperature: 0.6}}}}\n"
    assert "is only asked greedily" in " ".join(said(plan_of(text, answers=answers)))
    head = {str(path): {"context": 256, "chat": CHAT}}
    present = INSTALLED | {"gguf": json.dumps(head)}
    text = f"model: {path}\ntasks: [gsm8k]\n"
    assert "has 256 for prompt and answer" in " ".join(said(plan_of(text, answers=answers, present=present)))


@pytest.mark.parametrize(
    ("runtime", "what"),
    [
        ("enable_thinking: true", "enable_thinking needs think_end_token"),
        ("gen_kwargs: {max_gen_toks: 0}", "gen_kwargs.max_gen_toks cannot be 0"),
        ("gen_kwargs: {max_new_tokens: many}", "gen_kwargs.max_new_tokens cannot be 'many'"),
        ("gen_kwargs: {max_length: 9}", "gen_kwargs cannot hold max_length"),
    ],
)
def test_arguments_that_lm_eval_would_refuse_later_are_refused_at_once(runtime: str, what: str) -> None:
    with pytest.raises((ConfigError, Problems)) as refused:
        config(f"model: org/tiny\nsuite: tiny\nruntime: {{{runtime}}}\n")
    assert what in str(refused.value.what)


@pytest.mark.parametrize(
    ("template", "tokens", "ends"),
    [
        ("{{ '<think>' }}…</think>", [], ["</think>"]),
        ("", ["<think>", "</think>"], ["</think>"]),
        ("[THINK]…[/THINK]", [], ["[/THINK]"]),
        ("", ["◁think▷", "◁/think▷"], ["◁/think▷"]),
        ("", ["<seed:think>", "</seed:think>"], ["</seed:think>"]),
        ("<|begin_of_thought|><|end_of_thought|>", [], ["<|end_of_thought|>"]),
        ("<|channel|>analysis<|message|>", [], ["<|message|>"]),
        ("{{ messages }}", ["<|im_end|>", "</s>"], []),
    ],
)
def test_what_ends_a_thought_is_found(template: str, tokens: list[str], ends: list[str]) -> None:
    assert chat_of(template, tokens) == {"template": bool(template), "ends": ends}


def test_a_folder_s_template_may_be_in_four_places(tmp_path: Path) -> None:
    assert chat_in(tmp_path) == PLAIN
    stated: Any = {"chat_template": [{"name": "default", "template": "</think>"}]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(stated))
    assert chat_in(tmp_path) == THINKS
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"content": "</think>"}]}))
    assert chat_in(tmp_path) == {"template": False, "ends": ["</think>"]}
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert chat_in(tmp_path) == THINKS
