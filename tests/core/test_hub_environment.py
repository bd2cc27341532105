"""Variables that cannot be meant so are named, with what to do, before anything is asked."""

import json
import os
from pathlib import Path

import pytest

from llmcourse.core.errors import LlmcourseError, MissingError
from llmcourse.core.hub_environment import check_environment, proxy_for
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.plugin import Cli, as_user

MERGE = "merge_method: linear\ndtype: float32\nmodels: [{{model: {}, parameters: {{weight: 1}}}}]\n"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING", "XDG_")) or name.lower() in PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return monkeypatch


def problem() -> LlmcourseError:
    with pytest.raises(LlmcourseError) as caught:
        check_environment()
    return caught.value


@pytest.mark.parametrize(
    ("name", "value", "said", "mended"),
    [
        ("HF_ENDPOINT", "", "is '', which is no address", None),
        ("HF_ENDPOINT", "  ", "no address", "https://huggingface.co"),
        ("HF_ENDPOINT", "https://hf.co ", "with a blank or a line's end", "https://hf.co"),
        ("HF_ENDPOINT", "https://hf.co:80 80", "with a blank", "https://hf.co:8080"),
        ("HF_ENDPOINT", "https://hf.co\r\n", "with a blank or a line's end", "https://hf.co"),
        ("HF_ENDPOINT", "huggingface.co", "does not begin with https://", "https://huggingface.co"),
        ("HF_ENDPOINT", "localhost:8080", "does not begin with https://", "http://localhost:8080"),
        ("HF_ENDPOINT", "https://", "names no machine", None),
        ("HF_ENDPOINT", "https://hf.co:port", "names no machine", "https://hf.co:443"),
        ("HF_TOKEN", "hf_schlüssel", "a character that is not ASCII at place 8", "hf_key"),
        ("HF_TOKEN", "\ufeffhf_key", "begins with a byte order mark", "hf_key\n"),
        ("HF_TOKEN", "hf_key hf_other", "has a blank at place 7", None),
        ("HUGGING_FACE_HUB_TOKEN", "hf_ké", "not ASCII", None),
        ("HF_TOKEN_PATH", ".", "is a folder", "token"),
        ("ALL_PROXY", "socks4://host:1", "no proxy that can be used", "http://host:1"),
        ("https_proxy", "http://host:port", "no proxy that can be used", "host:80"),
    ],
)
def test_a_variable_that_cannot_be_meant_so_is_named_and_the_fix_helps(
    clean: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, said: str, mended: str | None
) -> None:
    clean.chdir(tmp_path)
    clean.setenv(name, value)
    error = problem()
    assert error.exit_code == 2 and error.where == name and said in error.what and error.fix
    assert "hf_k" not in error.what + error.fix and "hf_s" not in error.what + error.fix
    clean.delenv(name) if mended is None else clean.setenv(name, mended)
    check_environment()


def test_a_token_file_of_an_editor_with_a_byte_order_mark_is_told_by_its_path(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("hf_key\n", encoding="utf-8-sig")
    error = problem()
    assert error.where == str(tmp_path / "token") and "byte order mark" in error.what
    (tmp_path / "token").unlink()
    (tmp_path / "token").mkdir()
    assert "is a folder" in problem().what


def test_a_socks_proxy_without_its_library_says_how_to_install_it(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("ALL_PROXY", "socks5://me:secret@host:1080")
    clean.setattr("llmcourse.core.hub_environment.find_spec", lambda name: None)
    error = problem()
    assert isinstance(error, MissingError) and "socksio" in error.what and "secret" not in error.what
    assert error.fix == "Run: pip install 'httpx2[socks]' (or unset ALL_PROXY)."
    clean.setattr("llmcourse.core.hub_environment.find_spec", lambda name: object())
    check_environment()


def test_no_home_is_told_before_a_folder_called_tilde_is_made(clean: pytest.MonkeyPatch) -> None:
    clean.delenv("HF_HOME")
    clean.setattr("os.path.expanduser", lambda path: path)
    error = problem()
    assert error.exit_code == 4 and error.where == "HOME" and "HF_HOME and LLMCOURSE_CACHE" in error.fix


def test_the_proxy_of_an_address_is_named_without_its_password(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("HTTPS_PROXY", "http://me:secret@host:1")
    assert proxy_for("https://huggingface.co") == ("HTTPS_PROXY", "http://***@host:1")
    clean.setenv("NO_PROXY", "huggingface.co")
    assert proxy_for("https://huggingface.co") is None
    assert proxy_for("http://other.example") is None


@pytest.mark.parametrize("command", [["merge", "m.yaml", "-n"], ["family-tree", "org/name"]])
def test_a_dead_proxy_is_named(llmcourse: Cli, command: list[str]) -> None:
    (llmcourse.folder / "m.yaml").write_text(MERGE.format("org/name"))
    env = {"HF_ENDPOINT": "http://hub.example", "HTTP_PROXY": "http://127.0.0.1:9"}
    said = llmcourse(*command, env=env)
    assert said.exit_code == 4
    assert "Check the proxy http://127.0.0.1:9 (HTTP_PROXY), or unset HTTP_PROXY" in said.stdout + said.stderr


@pytest.mark.parametrize("command", [["merge", "m.yaml", "-n"], ["family-tree", "org/name"]])
def test_commands_end_with_the_sentence_and_not_with_a_bug(llmcourse: Cli, command: list[str]) -> None:
    (llmcourse.folder / "m.yaml").write_text(MERGE.format("org/name"))
    said = llmcourse(*command, env={"HF_ENDPOINT": "http://127.0.0.1:9 "})
    assert said.exit_code == 2 and "HF_ENDPOINT is 'http://127.0.0.1:9 '" in said.stdout + said.stderr


def test_doctor_tells_all_of_it_and_goes_on(llmcourse: Cli) -> None:
    env = {"HF_ENDPOINT": "huggingface.co", "HF_TOKEN": "hf_é", "ALL_PROXY": "socks4://h"}
    said = llmcourse("doctor", "merge", "--json", env=env)
    found = {each["name"]: each["state"] for each in json.loads(said.stdout)["findings"]}
    assert [found[name] for name in env] == ["broken"] * 3 and said.exit_code == 3
    assert found["merge"] == "ok" and "disk, cache" in found


def test_a_token_that_is_not_to_be_sent_is_not(llmcourse: Cli, hub: LoopbackHub) -> None:
    cli = as_user(llmcourse, hub)
    hub.repo("alice/secret").set_private(True)
    hub.repo("alice/secret").add_files({"config.json": b"{}"})
    env = {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    (cli.folder / "m.yaml").write_text(MERGE.format("alice/secret"))
    hub.clear_requests()
    tree = cli("family-tree", "alice/secret", env=env)
    plan = cli("merge", "m.yaml", "-n", "--push", "alice/new", env=env)
    doctor = cli("doctor", "merge", env=env)
    assert tree.exit_code == plan.exit_code == 4
    assert "unset HF_HUB_DISABLE_IMPLICIT_TOKEN" in tree.stderr
    assert "HF_HUB_DISABLE_IMPLICIT_TOKEN is set, so there is no token to push with." in plan.stdout
    assert "! Hub token: HF_HUB_DISABLE_IMPLICIT_TOKEN is set" in doctor.stdout
    assert hub.requests and not any(request.token for request in hub.requests)
    assert cli("family-tree", "alice/secret").exit_code == 0
