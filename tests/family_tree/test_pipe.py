"""`llmcourse family-tree -` after other commands, and before other programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.plugin import Cli, as_user

CARDS = {
    "org/base": "---\nlicense: mit\n---\n",
    "org/chat": "---\nlicense: mit\nbase_model: org/base\nbase_model_relation: finetune\n---\n",
    "org/code": "---\nlicense: mit\nbase_model: org/base\nbase_model_relation: finetune\n---\n",
}


@pytest.fixture
def cli(llmcourse: Cli, hub: LoopbackHub) -> Cli:
    for repo, card in CARDS.items():
        hub.repo(repo).add_files({"README.md": card.encode()})
    hub.clear_requests()
    user = as_user(llmcourse, hub)
    return Cli(user.folder, user.env | {"LLMCOURSE_CACHE": str(llmcourse.folder / "cache")}, user.python)


def names(stdout: str) -> set[str]:
    return {node["id"] for node in json.loads(stdout)["nodes"]}


def test_the_reference_of_a_push_is_a_model_at_its_commit(cli: Cli, hub: LoopbackHub) -> None:
    commit = hub.repo("org/chat").commits()[0].oid
    result = cli("family-tree", "-", "--json", stdin=f"hf://org/chat@{commit}\n")
    assert result.exit_code == 0 and names(result.stdout) == {"org/chat", "org/base"}


def test_the_document_of_a_command_names_its_result(cli: Cli) -> None:
    document = json.dumps({"command": "merge", "reference": "hf://org/chat"}, indent=2)
    assert cli("family-tree", "-", "-q", stdin=document).stdout.startswith("org/chat")


def test_several_lines_are_several_models_beside_those_that_were_typed(cli: Cli) -> None:
    result = cli("family-tree", "org/base", "-", "--json", stdin="org/chat\norg/code\n")
    assert result.json["roots"] == ["org/base", "org/chat", "org/code"]


def test_a_folder_that_came_through_the_pipe_leads_to_the_hub(cli: Cli) -> None:
    folder = cli.folder / "merged"
    folder.mkdir()
    (folder / "README.md").write_text(
        "---\nbase_model: [org/chat, org/code]\nbase_model_relation: merge\n---\n"
    )
    result = cli("family-tree", "-", "--json", stdin=f"{folder}\n")
    assert result.exit_code == 0 and {"org/chat", "org/code", "org/base"} < names(result.stdout)


def test_a_file_takes_its_model_from_the_pipe(cli: Cli) -> None:
    (cli.folder / "family.yaml").write_text("model: -\nformats: json\n")
    assert names(cli("family-tree", "family.yaml", stdin="org/code\n").stdout) == {"org/code", "org/base"}
    (cli.folder / "two.yaml").write_text("model: [org/chat, '-']\nformats: json\n")
    piped = cli("family-tree", "two.yaml", stdin="org/code\n")
    assert names(piped.stdout) == {"org/code", "org/chat", "org/base"}
    assert names(cli("family-tree", "two.yaml", "model=-", stdin="org/chat\n").stdout) == {
        "org/chat",
        "org/base",
    }


@pytest.mark.parametrize(
    ("stdin", "what"),
    [("", "No model came through the pipe."), ("hf://datasets/a/b@main\n", "is no model.")],
)
def test_a_pipe_without_a_model_ends_with_2(cli: Cli, hub: LoopbackHub, stdin: str, what: str) -> None:
    result = cli("family-tree", "-", stdin=stdin)
    assert (result.exit_code, result.stdout) == (2, "")
    assert what in result.stderr and hub.requests == []


@pytest.mark.parametrize("format", ["tree", "json", "html"])
def test_a_reader_that_leaves_early_is_no_error(cli: Cli, format: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "llmcourse", "family-tree", "org/chat", "-q", "--format", format],
        cwd=cli.folder, env=os.environ | cli.env, stdout=write_end, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_reference_of_a_card_goes_on_through_pipes(cli: Cli, hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repo("alice/mine").add_files({"README.md": CARDS["org/chat"].encode()})
    pushed = cli("family-tree", "alice/mine", "--push", "-q", "-o", "family.txt")
    reference = pushed.stdout.splitlines()[-1]
    assert reference == "hf://alice/mine@main"
    assert names(cli("family-tree", "-", "--json", stdin=reference).stdout) == {"alice/mine", "org/base"}
