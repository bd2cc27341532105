"""An adapter's card, its adapter_config.json and its use must mean the same base model."""

import pytest

from llmcourse.core.model_checks import adapter_base_checks
from tests.planner_facts import llama_on_the_hub


@pytest.mark.parametrize(
    ("card", "config", "base", "sentence"),
    [
        ("org/a", "org/b", "org/a", "The card of me/lora names org/a as its base model, "
            "its adapter_config.json org/b; "
            "org/a is used."),
        (["org/a"], "Org/A", "org/a", ""),
        ("org/a", "/home/me/model", "org/a", ""),
        (None, "org/a", "org/b", "me/lora was made for org/a by its own word, and is used with org/b."),
        (None, None, "org/b", ""),
    ],
)  # fmt: skip
def test_bases_that_differ_are_told(card: object, config: str | None, base: str, sentence: str) -> None:
    adapter = llama_on_the_hub(
        "me/lora", config={"base_model_name_or_path": config}, card={"base_model": card}, is_adapter=True
    )
    found = [check.what for check in adapter_base_checks("me/lora", adapter, llama_on_the_hub(base))]
    assert found == ([sentence] if sentence else [])
