"""`llmcourse demo` gives a Hub with real models that any client can use, until it is interrupted."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmcourse.testing.plugin import Cli
from llmcourse.testing.smol import MERGING_ID, PYTHON_ID, can_build_smol

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not can_build_smol(), reason="the extra demo is not installed"),
]


def exports(text: str) -> dict[str, str]:
    return dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))


def test_it_prints_two_lines_to_export_and_serves_until_it_is_interrupted(llmcourse: Cli) -> None:
    process = llmcourse.start("demo", "-o", "here")
    assert process.stdout
    variables = exports(process.stdout.readline() + process.stdout.readline())
    assert set(variables) == {"HF_ENDPOINT", "HF_TOKEN"}

    folder = llmcourse.folder / "here"
    user = Cli(folder, {**variables, "HF_HOME": str(llmcourse.folder / "home")})
    texts = ("calibration.txt", "held-out.txt", "conversations.jsonl")
    assert all((folder / name).stat().st_size > 1000 for name in texts)
    assert user("init", "merge", "demo").exit_code == 0
    merged = user("merge", "demo.yaml", "--push", "me/merged", "-o", "merged")
    assert merged.exit_code == 0, merged.stderr
    tree = user("family-tree", "me/merged").stdout
    assert PYTHON_ID in tree and MERGING_ID in tree and "apache-2.0" in tree

    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "")
    assert "The demo's Hub has ended." in said and "Traceback" not in said


def test_make_demo_ends_with_answers_in_sentences_and_no_noise(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmcourse.testing.demo"]
    environment = os.environ | {"COLUMNS": "80"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "Q4_K_M" in ended.stdout
    asked = ended.stderr[ended.stderr.index("> What is SLERP?") :]
    assert "merges two models" in asked and "Counter(text.split())" in asked
    noise = re.compile(r"torchao|UserWarning|FutureWarning|DeprecationWarning|^W\d{4} |it/s\]", re.MULTILINE)
    assert noise.findall(ended.stdout + ended.stderr) == []
    for name in ("merged/README.md", "gguf/quality.png", "scores/summary.md", "family-tree.html"):
        assert (tmp_path / "demo-out" / name).is_file(), name
