"""`llmcourse family-tree` as users and scripts meet it: a real process against a Hub of this machine."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmcourse.family_tree import arguments
from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.plugin import Cli, as_user

MERGED = "alice/merged"


def card(licence: str | None = "apache-2.0", relation: str | None = None, *parents: str) -> dict[str, bytes]:
    head: dict[str, Any] = {"license": licence} if licence else {}
    head |= {"base_model": list(parents), "base_model_relation": relation} if relation else {}
    return {"README.md": f"---\n{json.dumps(head)}\n---\n# A model\n".encode()}


@pytest.fixture
def cli(llmcourse: Cli, hub: LoopbackHub) -> Cli:
    """A merge of two fine-tunes of one base, and its quantization; one fine-tune also names a lost parent."""
    hub.repo("org/base").add_files(card("llama3"))
    hub.repo("org/chat").add_files(card("mit", "finetune", "org/base"))
    hub.repo("org/code").add_files(card(None, "finetune", "org/base", "org/gone"))
    hub.repo(MERGED).add_files(card("apache-2.0", "merge", "org/chat", "org/code"))
    hub.repo("alice/merged-GGUF").add_files(card("apache-2.0", "quantized", MERGED))
    hub.clear_requests()
    user = as_user(llmcourse, hub)
    return Cli(user.folder, user.env | {"LLMCOURSE_CACHE": str(llmcourse.folder / "cache")}, user.python)


def written(cli: Cli) -> list[str]:
    """What lies in the folder where the program ran, beside its caches."""
    found = (path.relative_to(cli.folder) for path in cli.folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.parts[0] not in ("hub", "cache", "hf-home-alice"))


def test_the_help_says_what_it_does_and_how(llmcourse: Cli) -> None:
    assert arguments.NAME in llmcourse("--help").stdout
    result = llmcourse(arguments.NAME, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert all(example in " ".join(result.stdout.split()) for example in arguments.EXAMPLES)


def test_the_tree_comes_on_stdout_and_what_was_found_on_stderr(cli: Cli) -> None:
    result = cli("family-tree", MERGED)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(MERGED)
    for name in ("org/chat", "org/code", "org/base", "org/gone"):
        assert name in result.stdout
    assert "alice/merged-GGUF" not in result.stdout and "\x1b" not in result.stdout + result.stderr
    assert "read the family: done in " in result.stderr
    assert "org/gone" in result.stderr and "licence: " in result.stderr


def test_both_directions_by_option_and_by_file(cli: Cli) -> None:
    (cli.folder / "family.yaml").write_text(f"model: {MERGED}\ndirection: both\n")
    by_option = cli("family-tree", MERGED, "--direction", "both", "--json")
    by_file = cli("family-tree", "family.yaml", "--json")
    assert by_option.json == by_file.json
    assert {"alice/merged-GGUF", "org/base"} < {node["id"] for node in by_option.json["nodes"]}


def test_with_json_stdout_is_one_document_whatever_is_written(cli: Cli) -> None:
    result = cli("family-tree", MERGED, "--json", "-o", "family.html")
    assert result.exit_code == 0 and written(cli) == ["family.html"]
    assert result.json["roots"] == [MERGED]
    refused = cli("family-tree", MERGED, "--json", "--format", "dot")
    assert refused.exit_code == 2
    assert refused.json["error"]["what"] == "--json and --format dot both want stdout."


@pytest.mark.parametrize("format", ["json", "mermaid", "dot"])
def test_a_text_on_stdout_is_the_whole_of_it(cli: Cli, format: str) -> None:
    on_stdout = cli("family-tree", MERGED, "--format", format)
    in_a_file = cli("family-tree", MERGED, "--format", format, "-o", "family.out", "-q")
    assert (on_stdout.exit_code, in_a_file.exit_code) == (0, 0)
    assert on_stdout.stdout == (cli.folder / "family.out").read_text()
    assert (in_a_file.stdout, in_a_file.stderr) == ("family.out\n", "")


def test_several_formats_go_into_a_folder(cli: Cli) -> None:
    result = cli("family-tree", MERGED, "--format", "html", "--format", "mermaid", "-o", "out", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "out/merged.html\nout/merged.mmd\n"
    assert written(cli) == ["out/merged.html", "out/merged.mmd"]
    told = cli("family-tree", MERGED, "-o", "out/merged.html")
    assert told.stdout.startswith("family-tree: out/merged.html (")


def test_quiet_is_the_tree_alone(cli: Cli) -> None:
    result = cli("family-tree", MERGED, "-q")
    whole = cli("family-tree", MERGED).stdout
    assert result.stderr == "" and whole.startswith(result.stdout) and "\nmodels: " in whole
    assert result.stdout == whole.split("\n\n")[0] + "\n"


@pytest.mark.parametrize("models", [["org/nowhere"], [MERGED, "org/nowhere"]])
def test_a_model_that_is_not_there_ends_with_4_and_writes_nothing(cli: Cli, models: list[str]) -> None:
    result = cli("family-tree", *models, "-o", "family.html")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "org/nowhere" in result.stderr and "fix: " in result.stderr
    assert written(cli) == []


def test_several_models_are_one_graph(cli: Cli) -> None:
    result = cli("family-tree", "org/chat", "org/code", "--json")
    assert result.json["roots"] == ["org/chat", "org/code"]
    assert [node["id"] for node in result.json["nodes"]].count("org/base") == 1


def test_what_is_typed_wrong_costs_no_request(cli: Cli, hub: LoopbackHub) -> None:
    for words in (
        ["--direction", "sideways"],
        ["-o", "tree.pdf"],
        ["--progress", "loud"],
        ["--no-push", "--push"],
    ):
        result = cli("family-tree", MERGED, *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "fix"]
    assert hub.requests == []


def test_a_second_run_may_do_without_the_network(cli: Cli, hub: LoopbackHub) -> None:
    first = cli("family-tree", MERGED, "-q")
    hub.clear_requests()
    again = cli("family-tree", MERGED, "-q", "--offline")
    assert again.exit_code == 0 and again.stdout == first.stdout and hub.requests == []
    unknown = cli("family-tree", "org/other", "--offline")
    assert unknown.exit_code == 4 and len(unknown.stderr.splitlines()) == 3  # a step that began, error, fix


def test_progress_for_machines_is_json_lines(cli: Cli) -> None:
    result = cli("family-tree", MERGED, "--progress", "json")
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert events[0] == {"event": "started", "step": "read the family", "total": None, "unit": ""}
    assert any(event["event"] == "note" and "org/gone" in event["text"] for event in events)


def test_a_tree_goes_into_the_card_and_the_address_beside_the_result(cli: Cli, hub: LoopbackHub) -> None:
    result = cli("family-tree", MERGED, "--push")
    assert result.exit_code == 0 and "published" not in result.stdout
    assert f"published: {hub.endpoint}/{MERGED}" in result.stderr
    readme = hub.repo(MERGED).read("README.md").decode()
    assert readme.startswith(card("apache-2.0", "merge", "org/chat", "org/code")["README.md"].decode())
    assert "```mermaid\n" in readme and "org/base" in readme
    quiet = cli("family-tree", MERGED, "--push", "-q", "-o", "family.mmd")
    assert (quiet.stdout, quiet.stderr) == (f"family.mmd\nhf://{MERGED}@main\n", "")
    assert (cli.folder / "family.mmd").read_text().strip() in readme


def test_a_card_that_cannot_be_changed_ends_with_6_after_all_else(cli: Cli, hub: LoopbackHub) -> None:
    hub.faults.append(Fault("POST", r"/api/models/.*/commit/", status=403, times=9))
    result = cli("family-tree", MERGED, "--push", "-o", "family.json")
    assert result.exit_code == 6 and written(cli) == ["family.json"]


def test_markers_that_are_no_pair_are_told_before_the_family_is_read(cli: Cli, hub: LoopbackHub) -> None:
    hub.repo(MERGED).add_files({"README.md": b"<!-- llmcourse family-tree: end -->\n"})
    result = cli("family-tree", MERGED, "--push", "-o", "family.json")
    assert result.exit_code == 4 and not (cli.folder / "family.json").exists()
    assert "are not one pair: end in line 1." in result.stderr and "read the family" not in result.stderr


def test_who_may_not_write_is_told_before_the_family_is_read(cli: Cli, hub: LoopbackHub) -> None:
    result = cli("family-tree", "org/chat", "--push")
    assert (result.exit_code, result.stdout) == (4, "")
    assert (
        "alice may not write to org on the Hub." in result.stderr and "read the family" not in result.stderr
    )


def test_on_a_terminal_there_are_colours_and_no_pictures(cli: Cli) -> None:
    def at_a_terminal(*words: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        environment = {**os.environ, **cli.env, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        command = [sys.executable, "-m", "llmcourse", "family-tree", MERGED, "-q", *words]
        process = subprocess.Popen(command, cwd=cli.folder, env=environment, stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux tells so that the other side is closed
                break
            if not part:
                break
            seen += part
        os.close(ours)
        return process.wait(60), seen.decode()

    code, seen = at_a_terminal()
    assert code == 0 and MERGED in seen and "\x1b[" in seen
    code, seen = at_a_terminal("--no-color")
    assert code == 0 and MERGED in seen and "\x1b[3" not in seen
    code, seen = at_a_terminal("--format", "png")
    assert code in (2, 3) and "\x89PNG" not in seen


def test_an_existing_file_is_replaced_whole_and_a_folder_is_not(cli: Cli) -> None:
    (cli.folder / "family.json").write_text("old")
    assert cli("family-tree", MERGED, "-o", "family.json").exit_code == 0
    assert json.loads((cli.folder / "family.json").read_text())["roots"] == [MERGED]
    (cli.folder / "there.json").mkdir()
    assert (
        cli("family-tree", MERGED, "--format", "dot", "-o", "there.json", "-q").stdout
        == "there.json/merged.dot\n"
    )
    assert written(cli) == ["family.json", "there.json/merged.dot"]


def test_a_place_that_cannot_be_is_told_before_the_hub_is_asked(cli: Cli, hub: LoopbackHub) -> None:
    (cli.folder / "file").write_text("mine")
    before = len(hub.requests)
    refused = cli("family-tree", MERGED, "-o", "file/tree.svg")
    assert refused.exit_code == 4 and "file is no folder you may write to." in refused.stderr
    assert len(hub.requests) == before and (cli.folder / "file").read_text() == "mine"


def test_every_file_written_has_one_name_only(cli: Cli) -> None:
    assert cli("family-tree", MERGED, "-o", "out/").exit_code == 0
    assert written(cli) == ["out/merged.txt"]
    assert list(Path(cli.folder / "out").glob(".*")) == []


def test_what_a_stranger_wrote_moves_no_cursor_and_forges_no_line(cli: Cli, hub: LoopbackHub) -> None:
    head = '---\nlicense: "mit\\x1b[2J\\nerror: the disk is gone"\n---\n'
    hub.repo("evil/parent").add_files({"README.md": head.encode()})
    card = b"---\nlicense: apache-2.0\nbase_model: evil/parent\n---\n"
    hub.repo("org/victim").add_files({"README.md": card})
    result = cli("family-tree", "org/victim")
    assert result.exit_code == 0 and "licence: " in result.stderr
    assert "\x1b" not in result.stderr + result.stdout
    assert not any(line.startswith("error: ") for line in result.stderr.splitlines())
