"""`make demo`: the main job from end to end on this machine alone, with a real language model.

Fine-tunes SmolLM2-135M-Instruct twice, starts a Hub here, merges the two, quantizes and measures the
merge, evaluates all three, shows how they are related, and asks the result. Users can type every command.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from llmcourse.core.console import Console, human_seconds
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.progress import Progress
from llmcourse.testing.demo.hub import USER, demo_hub, models, write_texts
from llmcourse.testing.smol import MERGING_ID, PYTHON_ID

MERGED = f"{USER}/SmolLM2-135M-merged"
QUESTIONS = ("What is SLERP?", "How do I count words in Python?")
COMMANDS = (
    "init merge demo -o merge.yaml",
    f"merge merge.yaml --push {MERGED} -o merged",
    "init quantize-gguf demo -o gguf.yaml",
    f"quantize-gguf gguf.yaml model={MERGED} --push {MERGED}-GGUF -o gguf",
    "init autoeval demo -o scores.yaml",
    f"autoeval scores.yaml 'model=[{PYTHON_ID}, {MERGING_ID}, {MERGED}]' -o scores",
    f"family-tree {MERGED} --direction both",
    f"family-tree {MERGED} --direction both -o family-tree.html",
)
_FILES = "merge.yaml gguf.yaml scores.yaml"


def main() -> None:
    """Run all of it in demo-out/; ends with the first exit code that is not 0."""
    begin = time.monotonic()
    folder = Path("demo-out").absolute()
    console = Console()
    try:
        _run(folder, console)
    except LlmcourseError as error:
        console.error(error)
        sys.exit(error.exit_code)
    finally:
        console.close()
    _close(console, time.monotonic() - begin)


def _run(folder: Path, console: Console) -> None:
    progress = Progress(console.event)
    smol = models(folder, progress)
    write_texts(folder)
    for name in _FILES.split():
        (folder / name).unlink(missing_ok=True)  # of an earlier demo
    with demo_hub(folder / "hub", smol, progress) as hub:
        console.close()
        console.note(f"It is at {hub.endpoint}, and all of the following is in demo-out.")
        environment = hub.env(user=USER, home=folder / "hf-home")
        for command in COMMANDS:
            console.note(f"\n$ llmcourse {command}")
            _in(folder, f"{sys.executable} -m llmcourse {command}", environment)
    _ask(folder, console)


def _in(folder: Path, command: str, environment: Mapping[str, str]) -> None:
    """Run a command as a shell does; what it says goes where ours does."""
    code = subprocess.run(["sh", "-c", command], cwd=folder, env=os.environ | environment, check=False)
    if code.returncode != 0:
        sys.exit(code.returncode)


def _ask(folder: Path, console: Console) -> None:
    """Ask the merge, in four bits and in its own words."""
    (file,) = (folder / "gguf").glob("*Q4_K_M.gguf")
    console.note(f"\ngguf/{file.name}, asked one question of each of its parents' subjects:")
    command = [sys.executable, "-m", "llmcourse.testing.demo.asking", str(file), *QUESTIONS]
    with (folder / "asking.log").open("w") as log:
        answered = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=True)
    for question, answer in zip(QUESTIONS, json.loads(answered.stdout), strict=True):
        console.note(f"  > {question}\n    {answer}")


def _close(console: Console, seconds: float) -> None:
    console.note(
        f"""
Made in demo-out, in {human_seconds(seconds)}:
  merged/           the model, with its card in README.md
  gguf/             its files for llama.cpp, their card, and a plot: quality.png
  scores/           the evaluation: summary.md, scores.png
  family-tree.html  open it in a browser

Next:
  llmcourse demo            the same Hub again, to type commands against
  llmcourse init merge      a config to start from, with models of the real Hub
  llmcourse doctor          what this machine can run"""
    )


if __name__ == "__main__":
    main()
