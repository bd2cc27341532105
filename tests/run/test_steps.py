"""A pipeline unfolded: the matrix, references, order, and what is refused before anything is read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from llmcourse.core.config import validate
from llmcourse.core.documents import parse
from llmcourse.core.errors import ConfigError
from llmcourse.run.config import Config
from llmcourse.run.steps import Work, works

HERE = Path("/somewhere")
M = {"config": "m.yaml"}


def unfolded(data: dict[str, Any]) -> list[Work]:
    (document,) = parse(yaml.safe_dump(data, sort_keys=False), "p.yaml")
    return works(validate(Config, document), HERE, HERE / "out", document.where)


def refusal(data: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        unfolded(data)
    return caught.value


def test_a_step_reads_the_folder_of_another() -> None:
    merge, gguf = unfolded(
        {"steps": {"merge": {"config": "m.yaml"}, "quantize-gguf": {"with": {"model": "${merge}"}}}}
    )
    assert (merge.command, merge.config, merge.output) == ("merge", HERE / "m.yaml", HERE / "out" / "merge")
    assert gguf.settings == {"model": str(HERE / "out" / "merge")} and gguf.needs == ("merge",)


def test_order_is_by_need_and_else_as_written() -> None:
    names = [
        work.name
        for work in unfolded(
            {
                "steps": {
                    "last": {"command": "autoeval", "with": {"model": ["${b}", "${a}"]}},
                    "b": {"command": "merge", "config": "b.yaml"},
                    "a": {"command": "merge", "config": "a.yaml"},
                }
            }
        )
    ]
    assert names == ["b", "a", "last"]


def test_a_matrix_repeats_what_uses_it_and_what_reads_that() -> None:
    found = unfolded(
        {
            "matrix": {"method": ["slerp", "linear"], "bits": [4, 8]},
            "steps": {
                "merge": {"config": "${matrix.method}.yaml", "push": "me/m-${matrix.method}"},
                "gptq": {
                    "command": "quantize-gptq",
                    "with": {"model": "${merge}", "bits": "${matrix.bits}"},
                },
                "all": {"command": "autoeval", "with": {"model": ["org/base", "${gptq.*}"]}},
            },
        }
    )
    named = {work.name: work for work in found}
    assert list(named) == [
        "merge-slerp", "merge-linear",
        "gptq-slerp-4", "gptq-slerp-8", "gptq-linear-4", "gptq-linear-8", "all",
    ]  # fmt: skip
    assert named["merge-slerp"].config == HERE / "slerp.yaml" and named["merge-slerp"].push == "me/m-slerp"
    # A value alone keeps its kind.
    assert named["gptq-linear-8"].settings == {"model": str(HERE / "out" / "merge-linear"), "bits": 8}
    assert named["gptq-linear-8"].combination == {"method": "linear", "bits": 8}
    assert named["all"].settings["model"] == [
        "org/base", *(str(HERE / "out" / name) for name in list(named)[2:6])
    ]  # fmt: skip
    assert named["all"].needs == ("gptq-slerp-4", "gptq-slerp-8", "gptq-linear-4", "gptq-linear-8")


@pytest.mark.parametrize(
    ("data", "what", "fix"),
    [
        ({"steps": {"mrege": {}}}, "'mrege' is no command of a pipeline.", "Did you mean 'merge'?"),
        ({"steps": {"a": {"command": "merge2"}}}, "'merge2' is no command", "Did you mean 'merge'?"),
        ({"steps": {"night": {}}}, "'night' is no command", "Say command: beside it"),
        ({"steps": {"../x": {"command": "merge"}}}, "cannot be the name of a step", "it names a folder"),
        (
            {"steps": {"merge": {"config": "${matrix.x}"}}},
            "There is no axis of the matrix 'x'.",
            "Known: none.",
        ),
        ({"steps": {"merge": {}}}, "merge has neither a config nor keys of one.", "Add config: FILE"),
        (
            {"steps": {"merge": M | {"with": {"output": "x"}}}},
            "says where its result goes",
            "Leave output out.",
        ),
        (
            {
                "steps": {
                    "merge": M,
                    "p": {"command": "push", "private": True, "with": {"artifact": "${merge}"}},
                }
            },
            "p is a step with the command push, which takes no private:.",
            "under with:",
        ),
        (
            {"steps": {"family-tree": {"revision": "x", "with": {"model": "org/a"}}}},
            "which takes no revision:.",
            "under with:",
        ),
        (
            {"steps": {"merge": M, "b": M | {"command": "merge", "push": "${merge}"}}},
            "push takes values of the matrix, and no results of steps.",
            "Write ${matrix.…}",
        ),
        ({"matrix": {"a": [1]}, "steps": {"merge": M}}, "No step uses the matrix's 'a'.", "${matrix.a}"),
        (
            {"steps": {"merge": M, "g": {"command": "quantize-gguf", "with": {"model": "x${merge.*}"}}}},
            "${merge.*} stands for several folders, and not in a text.",
            "as an item of a list",
        ),
        (
            {"steps": {"merge": M, "g": {"command": "quantize-gguf", "with": {"model": "${merg}"}}}},
            "There is no step 'merg'.",
            "Did you mean 'merge'?",
        ),
        (
            {
                "steps": {
                    "a": {"command": "autoeval", "with": {"model": "${b}"}},
                    "b": {"command": "autoeval", "with": {"model": "${a}"}},
                }
            },
            "The steps a, b need each other in a circle.",
            "Take one of the references out.",
        ),
        (
            {
                "steps": {
                    "merge": {"config": "m.yaml"},
                    "publish": {"command": "push", "with": {"artifact": "${merge}", "repo": "me/x"}},
                    "b": {"command": "autoeval", "with": {"model": "${publish}"}},
                }
            },
            "publish makes nothing that another step could read.",
            "Name the step whose result push works on.",
        ),
        (
            {
                "matrix": {"v": ["a b", "a-b"]},
                "steps": {"merge": {"config": "${matrix.v}.yaml"}},
            },
            "merge-a-b and merge-a-b would both write to one folder.",
            "Choose values of the matrix that differ",
        ),
    ],
)
def test_what_cannot_be_is_refused(data: dict[str, Any], what: str, fix: str) -> None:
    error = refusal(data)
    assert what in error.what and fix in error.fix
    assert error.where and error.where.startswith("p.yaml:")


def test_a_name_that_no_disk_would_take_is_shortened_and_stays_one_of_its_own() -> None:
    steps = {"merge": {"config": "${matrix.v}.yaml"}}
    found = unfolded({"matrix": {"v": ["ü" * 300 + "a", "ü" * 300 + "b"]}, "steps": steps})
    names = [work.name for work in found]
    assert len(set(names)) == 2 and all(len(name.encode()) < 140 for name in names)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({}, "steps is missing."),
        ({"steps": {}}, "steps is empty."),
        ({"steps": {"merge": {"confg": "x"}}}, "'confg' is not a known key."),
        ({"steps": {"merge": {"wiht": {}}}}, "'wiht' is not a known key."),
        ({"matrix": {"x": []}, "steps": {"merge": {}}}, "matrix.x has no value, or one twice."),
        ({"matrix": {"x": [1, 1]}, "steps": {"merge": {}}}, "matrix.x has no value, or one twice."),
    ],
)
def test_keys_are_checked(data: dict[str, Any], what: str) -> None:
    assert what in refusal(data).what
