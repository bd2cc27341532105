"""Shares and weights of mergekit's methods, from their recipes alone."""

import pytest

from llmcourse.family_tree.recipes import recipe_in_card, recipe_of

# Each line ten times the one before: a thousand million numbers.
BOMB = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
BOMB += "models: [{model: a, parameters: {weight: *a9}}, {model: b}]\nmerge_method: linear\n"


def shares(recipe: str) -> dict[str, float | None]:
    return {part.model: None if part.share is None else round(part.share, 4) for part in recipe_of(recipe)}


def models(method: str, more: str = "", /, **weights: float | None) -> str:
    rows = [f"  - model: {name}" + ("" if weight is None else f"\n    parameters: {{weight: {weight}}}")
            for name, weight in weights.items()]  # fmt: skip
    return "models:\n" + "\n".join(rows) + f"\nmerge_method: {method}\n{more}"


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (models("linear", a=1, b=3), {"a": 0.25, "b": 0.75}),
        (models("linear", a=1, b=None), {"a": None, "b": None}),
        (models("linear", a=1, b=-1), {"a": None, "b": None}),
        (models("slerp", "base_model: b\nparameters: {t: 0.3}", a=None, b=None), {"a": 0.3, "b": 0.7}),
        (models("slerp", a=None, b=None), {"a": None, "b": None}),
        (models("task_arithmetic", "base_model: base", a=0.3, b=0.2), {"base": 0.5, "a": 0.3, "b": 0.2}),
        (models("ties", "base_model: base", a=0.3, b=0.1), {"base": 0.0, "a": 0.75, "b": 0.25}),
        (models("dare_ties", "base_model: base", a=3, b=1), {"base": None, "a": None, "b": None}),
        (models("dare_ties", "base_model: base", a=0.75, b=0.25), {"base": 0.0, "a": 0.75, "b": 0.25}),
        (models("ties", "base_model: base", base=None, a=0.5, b=0.5), {"base": 0.0, "a": 0.5, "b": 0.5}),
        (models("ties", "base_model: base\nparameters: {weight: 0.4}", a=None, b=None),
         {"base": 0.0, "a": 0.5, "b": 0.5}),
        (models("ties", "base_model: base\nparameters: {lambda: 1.5}", a=1, b=1),
         {"base": None, "a": None, "b": None}),
        (models("model_stock", "base_model: base", a=None, b=None), {"base": None, "a": None, "b": None}),
        (models("passthrough", a=None), {"a": 1.0}),
        ("models: [{model: {model: {path: a, revision: x}}}, {model: {path: b}}]\nmerge_method: linear\n",
         {"a": None, "b": None}),
        ("base_model: a\nexperts: [{source_model: a}, {source_model: b}]\n", {"a": None, "b": None}),
        (models("linear", "", **{"a+lora": 1, "b": 1}), {"a": 0.5, "lora": 0.0, "b": 0.5}),
        ("modules: {text: {models: [{model: a}, {model: b}], merge_method: linear}}\n",
         {"a": None, "b": None}),
    ],
)  # fmt: skip
def test_shares(recipe: str, expected: dict[str, float | None]) -> None:
    assert shares(recipe) == expected


def test_a_frankenmerge_counts_layers() -> None:
    recipe = """slices:
  - sources: [{model: a, layer_range: [0, 24]}]
  - sources: [{model: b, layer_range: [8, 32]}]
  - sources: [{model: a, layer_range: [16, 32]}]
merge_method: passthrough
"""
    assert shares(recipe) == {"a": 0.625, "b": 0.375}


def test_a_slerp_with_filters_and_gradients() -> None:
    recipe = """slices:
  - sources:
      - {model: a, layer_range: [0, 32]}
      - {model: b, layer_range: [0, 32]}
merge_method: slerp
base_model: a
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
    - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
    - {value: 0.5}
"""
    assert shares(recipe) == {"a": 0.5, "b": 0.5}


def test_stages_are_what_they_were_made_of() -> None:
    first = "name: stage\n" + models("linear", a=1, b=1)
    assert shares(f"{first}---\n{models('linear', stage=1, c=3)}") == {"a": 0.125, "b": 0.125, "c": 0.75}


@pytest.mark.parametrize(
    "text", ["", "- a", "a: b", "models: 3", "x: &a [*a]", "{" * 5000, "[" * 300_000, "models: []", BOMB]
)
def test_what_is_no_recipe(text: str) -> None:
    assert recipe_of(text) == ()


def test_the_last_recipe_of_a_card() -> None:
    blocks = [f"```yaml\n{models('linear', '', **{name: 1})}```\n" for name in ("a", "b")]
    text = "".join(["text\n", *blocks, "```python\nprint('x')\n```\n", "~~~\nnothing\n~~~\n"])
    assert [part.model for part in recipe_in_card(text)] == ["b"]
    assert recipe_in_card("```yaml\n" * 3000) == ()
