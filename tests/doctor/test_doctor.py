"""What `llmcourse doctor` says of this machine, and that it keeps secrets."""

from pathlib import Path

from llmcourse.doctor.looking import requirements
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.plugin import Cli, as_user


def findings(cli: Cli, *words: str, **env: str) -> dict[str, dict[str, str]]:
    result = cli("doctor", *words, "--json", env=env)
    return {each["name"]: each for each in result.json["findings"]}


def test_all_is_told_with_what_mends_it(llmcourse: Cli, hub: LoopbackHub) -> None:
    cli = as_user(llmcourse, hub)
    result = cli("doctor")
    assert result.exit_code == 0, result.stdout
    assert "✓ merge: mergekit 0.1.5" in result.stdout and "✓ Hub: http://127.0.0.1:" in result.stdout
    assert "✓ Hub token: from HF_TOKEN: alice may write" in result.stdout
    assert "! RUNPOD_API_KEY: Only engine: runpod needs it.\n    → export RUNPOD_API_KEY" in result.stdout
    assert hub.tokens["alice"] not in result.stdout + result.stderr


def test_a_token_that_may_only_read_and_one_that_is_refused(llmcourse: Cli, hub: LoopbackHub) -> None:
    hub.add_user("bob", role="read")
    reader = as_user(llmcourse, hub, "bob")
    assert findings(reader, "merge")["Hub token"]["what"] == "from HF_TOKEN: bob may only read"
    refused = findings(reader, "merge", HF_TOKEN="hf_nobodys0123456789")["Hub token"]
    assert refused["state"] == "broken" and refused["fix"] and "nobodys" not in str(refused)


def test_no_token_and_no_network_are_said_and_all_else_is_too(llmcourse: Cli, tmp_path: Path) -> None:
    result = llmcourse("doctor", "merge", "--json")
    found = {each["name"]: each for each in result.json["findings"]}
    assert found["Hub"]["state"] == "broken" and "does not answer" in found["Hub"]["what"]
    assert found["merge"]["state"] == "ok" and result.exit_code == 3


def test_a_command_that_cannot_run_here_ends_with_3(llmcourse: Cli, hub: LoopbackHub) -> None:
    result = as_user(llmcourse, hub)("doctor", "quantize-exl2", "--json", env={"PATH": "/usr/bin:/bin"})
    found = {each["name"]: each for each in result.json["findings"]}
    if found["GPU"]["state"] == "missing":
        assert result.exit_code == 3 and not result.json["can_run"]
        assert found["CUDA"]["what"] == "quantize-exl2 needs an NVIDIA GPU."


def test_a_command_that_there_is_not(llmcourse: Cli) -> None:
    result = llmcourse("doctor", "mrege")
    assert result.exit_code == 2 and "Did you mean 'merge'?" in result.stderr


def test_an_extra_asks_for_what_the_package_says() -> None:
    names = {requirement.name for requirement in requirements("merge")}
    assert {"mergekit", "torch", "transformers"} <= names and "typer" not in names
