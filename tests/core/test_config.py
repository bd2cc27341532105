"""Reading a config: overrides, errors with places, precedence of options over what is written."""

from pathlib import Path
from textwrap import dedent
from typing import cast

import pytest
from pydantic import Field

from llmcourse.core.config import CommandConfig, Strict, load
from llmcourse.core.errors import ConfigError, LlmcourseError, Problems
from llmcourse.core.model import ModelRef
from llmcourse.core.plan import PlanModule
from llmcourse.core.planning import Planning, Request
from llmcourse.merge import plan as planner


class Part(Strict):
    density: float = 0.5
    names: list[str] = Field(default_factory=list)


class Example(CommandConfig):
    parts: list[Part] = Field(default_factory=list)
    best: Part | None = None
    bits: int = 4

    def models(self) -> dict[str, ModelRef]:
        return {}


def read(folder: Path, text: str, *overrides: str) -> Example:
    path = folder / "e.yaml"
    path.write_text(dedent(text))
    return load(Example, str(path), overrides)


def refusal(folder: Path, text: str, *overrides: str) -> LlmcourseError:
    with pytest.raises(LlmcourseError) as caught:
        read(folder, text, *overrides)
    return caught.value


@pytest.mark.parametrize(
    ("text", "what", "fix", "place"),
    [
        ("bitz: 4", "'bitz' is not a known key.", "Did you mean 'bits'?", "1:1"),
        ("parts:\n  - densty: 1", "'densty' is not a known key.", "Did you mean 'density'?", "2:5"),
        ("best: {nmes: []}", "'nmes' is not a known key.", "Did you mean 'names'?", "1:8"),
        ("parts:\n  - zzz: 1", "'zzz' is not a known key.", "Known here: density, names.", "2:5"),
        ("hub: {private: true}", "hub.repo is missing.", "Add the key 'repo'.", "1:1"),
        (
            "bits: many",
            "bits is 'many', where a whole number belongs.",
            "Write a whole number.",
            "1:1",
        ),
    ],
)
def test_a_wrong_value_is_said_with_its_place(
    tmp_path: Path, text: str, what: str, fix: str, place: str
) -> None:
    error = refusal(tmp_path, text)
    assert isinstance(error, ConfigError)
    assert (error.what, error.fix, error.where) == (what, fix, f"{tmp_path / 'e.yaml'}:{place}")


def test_all_errors_are_found_at_once(tmp_path: Path) -> None:
    error = refusal(tmp_path, "bitz: 4\nparts:\n  - density: high\noutput: [1]\n")
    assert isinstance(error, Problems)
    assert error.exit_code == 2
    assert [str(one.where).rpartition("e.yaml:")[2] for one in error.errors] == ["4:1", "3:5", "1:1"]


def test_several_documents_are_refused_where_one_is_expected(tmp_path: Path) -> None:
    error = refusal(tmp_path, "bits: 4\n---\nbits: 5\n")
    assert error.what == "The config holds 2 YAML documents; this command takes one."


def test_overrides_reach_nested_values_and_are_yaml(tmp_path: Path) -> None:
    text = "parts:\n  - density: 0.1\n  - density: 0.2\nbits: 3\n"
    example = read(
        tmp_path,
        text,
        "parts.1.density=0.9",
        "best.names=[a, b]",
        "bits=8",
        "hub.repo=me/x",
        "hub.private=yes",
    )
    assert [part.density for part in example.parts] == [0.1, 0.9]
    assert example.best == Part(names=["a", "b"])
    assert example.bits == 8
    assert example.hub is not None
    assert (example.hub.repo, example.hub.private) == ("me/x", True)


def test_a_later_override_wins(tmp_path: Path) -> None:
    assert read(tmp_path, "bits: 3", "bits=5", "bits=6").bits == 6


def test_null_takes_a_value_away(tmp_path: Path) -> None:
    assert read(tmp_path, "best: {density: 1}", "best=null").best is None


def test_everything_behind_the_first_equals_sign_is_the_value(tmp_path: Path) -> None:
    assert read(tmp_path, "bits: 3", "output=a=b").output == "a=b"


@pytest.mark.parametrize(
    ("override", "what", "fix"),
    [
        ("bits", "'bits' is not an override.", "Write key=value, for example hub.private=true."),
        ("=4", "'=4' is not an override.", "Write key=value, for example hub.private=true."),
        ("bits=", "The override 'bits=' has no value.", "For none write bits=null."),
        ("bits=[1", "The value of 'bits=[1' is not YAML.", "Quote it for YAML too, as in key='\"a: b\"'."),
        (
            "parts.2.density=1",
            "'parts.2.density=1' points to item 2 of a list of 2.",
            "Use a number from 0 to 1.",
        ),
        (
            "parts.last.density=1",
            "'parts.last.density=1' points to item 'last' of a list of 2.",
            "Use a number from 0 to 1.",
        ),
        ("bits.deep=1", "'bits.deep=1' goes into a plain value.", "Override the value itself instead."),
        ("bitz=1", "'bitz' is not a known key.", "Did you mean 'bits'?"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, what: str, fix: str) -> None:
    error = refusal(tmp_path, "parts: [{}, {}]\nbits: 3\n", override)
    assert (error.what, error.fix) == (what, fix)
    assert error.where is not None
    assert override in error.where


def test_a_wrong_value_in_an_override_is_placed_there_and_not_in_the_file(tmp_path: Path) -> None:
    assert refusal(tmp_path, "bits: 3", "bits=many").where == "override bits=many"


def planning(config: CommandConfig, request: Request) -> Planning:
    return Planning("merge", request, False, config, cast(PlanModule, planner), lambda _: {})


@pytest.mark.parametrize(
    ("yaml", "request_", "name"),
    [
        ("output: written", Request("e.yaml", output="asked"), "asked"),
        ("output: written", Request("e.yaml"), "written"),
        ("hub: {repo: me/model}", Request("e.yaml", output="asked"), "asked"),
        ("hub: {repo: me/model}", Request("e.yaml"), "model"),
        ("hub: {repo: me/model}", Request("e.yaml", no_push=True), "e"),
        ("bits: 3", Request("e.yaml", push="me/pushed"), "pushed"),
        ("bits: 3", Request("sub/e.yaml"), "e"),
        ("bits: 3", Request("-"), "merge"),
    ],
)
def test_the_output_folder_is_asked_for_written_or_derived(
    tmp_path: Path, yaml: str, request_: Request, name: str
) -> None:
    assert planning(read(tmp_path, yaml), request_).output == Path(name).absolute()


HUB = "hub: {repo: me/written, private: true, revision: dev}"


@pytest.mark.parametrize(
    ("yaml", "request_", "expected"),
    [
        (HUB, Request("e"), ("me/written", True, "dev")),
        (HUB, Request("e", push="me/asked"), ("me/asked", True, "dev")),
        (HUB, Request("e", revision="v2"), ("me/written", True, "v2")),
        ("bits: 3", Request("e", push="me/asked", private=True), ("me/asked", True, "main")),
    ],
)
def test_push_options_win_over_the_file(
    tmp_path: Path, yaml: str, request_: Request, expected: tuple[str, bool, str]
) -> None:
    wish = planning(read(tmp_path, yaml), request_).push_wish
    assert wish is not None
    assert (wish.repo, wish.private, wish.revision) == expected


@pytest.mark.parametrize(("yaml", "no_push"), [(HUB, True), ("bits: 3", False)])
def test_nothing_is_pushed_unless_wished(tmp_path: Path, yaml: str, no_push: bool) -> None:
    assert planning(read(tmp_path, yaml), Request("e", no_push=no_push)).push_wish is None
