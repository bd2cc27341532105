"""A Hub id that does not exist: the one that was probably meant, of its owner's models."""

import pytest

from llmcourse.core.hub.client import nearest
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.hub.client import run_client
from llmcourse.testing.plugin import Cli, as_user


def read(model: str, kind: str = "model") -> str:
    from llmcourse.core import hub
    from llmcourse.core.errors import PlanError
    from llmcourse.core.model import ModelRef

    try:
        hub.read_hub_model(ModelRef(model)) if kind == "model" else hub.read_dataset(model)
    except PlanError as error:
        return error.fix
    return ""


@pytest.fixture
def named(hub: LoopbackHub) -> LoopbackHub:
    for repo in ("alice/base-model", "alice/other", "acme/Llama-3.2-1B"):
        hub.repo(repo).add_files({"config.json": b"{}"})
    hub.repo("alice/rows", "dataset").add_files({"train.jsonl": b"{}"})
    return hub


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("alice/base-modle", "alice/base-model"),
        ("alice/basemodel", "alice/base-model"),
        ("acme/llama3.2-1b", "acme/Llama-3.2-1B"),
        ("acmee/Llama-3.2-1B", "acme/Llama-3.2-1B"),
    ],
)
def test_the_near_name_is_told_and_exists(named: LoopbackHub, asked: str, near: str) -> None:
    assert run_client(named, read, asked).startswith(f"Did you mean {near}? ")
    assert "Did you mean" not in run_client(named, read, near)


def test_where_nothing_is_near_nothing_is_told(named: LoopbackHub) -> None:
    assert "Did you mean" not in run_client(named, read, "alice/something-else")


def test_data_sets_have_near_names_too(named: LoopbackHub) -> None:
    assert run_client(named, read, "alice/row", "dataset").startswith("Did you mean alice/rows? ")


def test_a_failing_list_hides_no_error(named: LoopbackHub) -> None:
    from llmcourse.testing.hub import Fault

    named.faults.append(Fault(path=r"/api/models\?", status=403, times=None))
    assert run_client(named, read, "alice/base-modle").startswith("Check the name")


def test_family_tree_tells_it_too(named: LoopbackHub, llmcourse: Cli) -> None:
    said = as_user(llmcourse, named)("family-tree", "alice/base-modle")
    assert said.exit_code == 4 and "fix: Did you mean alice/base-model? Check the name" in said.stderr


def test_letter_case_is_no_difference() -> None:
    assert nearest("Me/BASE", ["me/base", "me/best"]) == "me/base"
