"""What an installation puts where, and that nothing stays of it."""

import subprocess
from pathlib import Path

import pytest

import llmcourse
from tests.package.installing import Alone, done, uv


def files(folder: Path) -> set[Path]:
    """Empty folders count, too."""
    return set(folder.rglob("*"))


@pytest.mark.slow
def test_an_installation_is_removed_without_a_trace(alone: Alone, tmp_path: Path) -> None:
    python = alone("tree")
    environment, home = Path(python).parent.parent, tmp_path / "home"
    home.mkdir()
    ours = ("llmcourse", "graphviz")
    placed = {path for path in files(environment) if any(name in path.name for name in ours)}
    assert Path(python).with_name("llmcourse") in placed

    program = [str(Path(python).with_name("llmcourse"))]
    for command in (program, [python, "-m", "llmcourse"]):
        env = {"HOME": str(home), "PATH": f"{Path(python).parent}:/usr/bin:/bin"}
        shown = subprocess.run([*command, "--version"], env=env, capture_output=True, text=True, check=True)
        first, *libraries = shown.stdout.splitlines()
        assert first == f"llmcourse {llmcourse.__version__}"
        assert any(line.startswith("graphviz-pure ") for line in libraries)
        assert not any(line.startswith(("torch ", "mergekit ")) for line in libraries)
    # Whoever only asks for the version has nothing written at home.
    assert files(home) == set()

    done(uv(), "pip", "uninstall", "--quiet", "--python", python, "llmcourse")
    left = {path for path in files(environment) if "llmcourse" in path.name}
    assert left == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", ".bash_completions/llmcourse.sh"),
        ("zsh", ".zfunc/_llmcourse"),
        ("fish", ".config/fish/completions/llmcourse.fish"),
    ],
)
def test_completion_is_installed_for_the_shell_that_is_used(
    core_python: str, tmp_path: Path, shell: str, file: str
) -> None:
    env = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(core_python).parent}:/usr/bin:/bin",
        "SHELL": f"/bin/{shell}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    program = Path(core_python).with_name("llmcourse")
    said = subprocess.run([program, "--install-completion", shell], env=env, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "llmcourse" in (tmp_path / file).read_text()
