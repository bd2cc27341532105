"""Tab in a real bash, by the script that `--show-completion` prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def script() -> str:
    command = [str(program()), "--show-completion", "bash"]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    return shown.stdout


def program() -> Path:
    return Path(sys.executable).with_name("llmcourse")


def environment(**more: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", **more}


def offered(script: str, folder: Path, *words: str) -> list[str]:
    """What bash would offer for the last of these words."""
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
        "$(complete -p llmcourse | sed 's/.*-F \\([^ ]*\\) .*/\\1/') llmcourse\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    env = environment(HF_HUB_CACHE=str(folder / "hub"))
    done = subprocess.run(
        ["bash", "-c", code], cwd=folder, capture_output=True, text=True, env=env, check=True
    )
    return done.stdout.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("models--org--tiny-llama", "models--other--gpt2", "datasets--org--text"):
        (tmp_path / "hub" / name).mkdir(parents=True)
    (tmp_path / "slerp.yaml").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "ties.yml").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("mer",), ["merge"]),
        (("merge", "--pu"), ["--push"]),
        (("merge", "s"), ["slerp.yaml"]),
        (("merge", "more/"), ["more/ties.yml"]),
        (("merge", "n"), []),
        (("autoeval", "st"), ["status", "stop"]),
        (("family-tree", "org/"), ["org/tiny-llama"]),
        (("family-tree", "--direction", "d"), ["down"]),
        (("quantize-gguf", "slerp.yaml", "model", "=", "o"), ["org/tiny-llama", "other/gpt2"]),
        (("init", "quantize-"), ["quantize-gguf", "quantize-gptq", "quantize-exl2"]),
        (("doctor", "r"), ["run"]),
    ],
)
def test_bash_offers(script: str, folder: Path, words: tuple[str, ...], expected: list[str]) -> None:
    assert offered(script, folder, "llmcourse", *words) == expected
