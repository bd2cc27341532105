"""Runs every command that the README and the manual show, on the demo's Hub, in a page's order.

    python scripts/examples.py [--write] [PAGE ...]

With `--write`, what README.md shows below its commands is replaced by what they print now. A command is a
line of a block for a shell, or one that begins with `$ ` in a block without a language. What is not run here
is in `NOT_RUN`, each with its reason; what does not end with 0 is in `ENDS_WITH`. Recipes have own tests.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = "README.md"
PAGES = (
    README,
    "docs/index.md",
    *(f"docs/commands/{path.name}" for path in sorted(ROOT.glob("docs/commands/*.md"))),
)

# A part of a command -> why it is not run.
NOT_RUN = {
    "make ": "a target of the Makefile, which CI runs",
    "pip install ": "installs: tests/package does so with the wheel and each extra",
    "--install-completion": "writes to the start files of the shell that it is in: tests/test_completion.py",
    "jq ": "another program's part of it",
    "llmcourse demo": "stays until Ctrl-C: tests/testing/test_demo.py starts it and ends it",
    "export HF_": "what `llmcourse demo` has printed: set already",
    "cd demo-out": "where it is run",
}
# A part of a command -> the exit code that it is shown for. There is no GPU for EXL2, and what doctor says
# differs from machine to machine.
ENDS_WITH: dict[str, tuple[int, ...]] = {
    "merge_method=task_aritmetic": (2,),
    "quantize-exl2": (0, 3),
    "llmcourse doctor": (0, 3),
}
# Files that pages name as the reader's own; two letters are for a pipe.
FILES = {
    "m.yaml": "models:\n- {model: me/name, parameters: {weight: 0.5}}\n"
    "- {model: org/name, parameters: {weight: 0.5}}\nmerge_method: linear\ndtype: bfloat16\n",
    "g.yaml": 'model: "-"\ntypes: [Q8_0]\n',
}
FILES["linear.yaml"] = FILES["m.yaml"]

_BLOCK = re.compile(r"^```([\w-]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SHELLS = ("bash", "sh", "console")
_CUT = "…"  # a line of its own: what is printed goes on


@dataclass(frozen=True)
class Example:
    """A command as a page shows it; `shown` is where the page's text holds what it prints, if it does."""

    page: str
    command: str
    shown: tuple[int, int] | None = None

    @property
    def reason_not_to_run(self) -> str | None:
        return next((reason for part, reason in NOT_RUN.items() if part in self.command), None)

    @property
    def codes(self) -> tuple[int, ...]:
        return next((codes for part, codes in ENDS_WITH.items() if part in self.command), (0,))


def examples(page: str) -> Iterator[Example]:
    """All commands of a page, in its order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        if block[1] in _SHELLS:
            for line in block[2].replace("\\\n", " ").splitlines():
                if command := line.partition(" # ")[0].strip().removeprefix("$ "):
                    yield Example(page, command)
        elif not block[1] and block[2].startswith("$ "):
            yield from _with_output(page, block[2], block.start(2))


def _with_output(page: str, text: str, start: int) -> Iterator[Example]:
    """`$ command` lines, which may go on after a backslash, each followed by what it prints."""
    found = list(re.finditer(r"^\$ ((?:.*\\\n)*.*)\n", text, re.MULTILINE))
    for index, each in enumerate(found):
        end = found[index + 1].start() if index + 1 < len(found) else len(text)
        yield Example(page, re.sub(r"\\\n\s*", "", each[1]), (start + each.end(), start + end))


def prepared(folder: Path) -> Path:
    """A folder for one page: the files it takes for granted, and the program under its name."""
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    programs = folder / ".bin"
    programs.mkdir()
    (programs / "llmcourse").write_text(f'#!/bin/sh\nexec {sys.executable} -m llmcourse "$@"\n')
    (programs / "llmcourse").chmod(0o755)
    return folder


def ran(example: Example, folder: Path, hub: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it as a reader would, in a terminal of 80 columns, in its page's folder."""
    own = {
        "PATH": f"{folder / '.bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "COLUMNS": "80",
        "SHELL": "/bin/bash",
    }
    cache = {"LLMCOURSE_CACHE": os.environ.get("LLMCOURSE_CACHE", str(Path.home() / ".cache" / "llmcourse"))}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", example.command],
        cwd=folder, env={**os.environ, **cache, **hub, **own}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def output(ended: "subprocess.CompletedProcess[str]") -> str:
    """What a page shows: the results, or the errors where there are none; not the progress."""
    told = [line for line in ended.stderr.splitlines() if line.startswith(("error: ", "fix: "))]
    return ended.stdout if ended.returncode == 0 or ended.stdout.strip() else "\n".join(told) + "\n"


def rewritten(text: str, outputs: Mapping[tuple[int, int], str]) -> str:
    """A page's text with new outputs; one that ended with `…` is cut after as many lines as before.

    `…` alone stands for an output that nobody has written yet.
    """
    for (start, end), new in sorted(outputs.items(), reverse=True):
        lines = [line.rstrip() for line in new.strip("\n").splitlines()]
        old = text[start:end].rstrip("\n").splitlines()
        blank = text[start:end].endswith("\n\n")
        if len(old) > 1 and old[-1] == _CUT:
            lines = [*lines[: len(old) - 1], _CUT]
        text = text[:start] + "\n".join(lines) + ("\n\n" if blank else "\n") + text[end:]
    return text


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", default=list(PAGES), help="which; default: all")
    parser.add_argument("--write", action="store_true", help="refresh what README.md shows")
    chosen = parser.parse_args(arguments)
    from llmcourse.core.progress import Progress
    from llmcourse.testing.demo.hub import USER, demo_hub, models, write_texts

    place = Path(tempfile.mkdtemp(prefix="llmcourse-examples-"))
    failed = 0
    quiet = Progress(lambda event: None)
    smol = models(place, quiet)
    for number, page in enumerate(chosen.pages):
        text = (ROOT / page).read_text(encoding="utf-8")
        folder = place / str(number)
        folder.mkdir()
        write_texts(prepared(folder))
        with demo_hub(folder / "hub", smol, quiet) as hub:
            environment = hub.env(user=USER, home=folder / "hf-home")
            outputs: dict[tuple[int, int], str] = {}
            for example in examples(page):
                if reason := example.reason_not_to_run:
                    print(f"{page}: not run ({reason}): {example.command}")
                    continue
                ended = ran(example, folder, environment)
                fine = ended.returncode in example.codes
                failed += not fine
                print(
                    f"{page}: {'ok' if fine else 'FAILED'} ({ended.returncode}): {example.command}",
                    flush=True,
                )
                if not fine:
                    print(ended.stdout + ended.stderr)
                elif example.shown:
                    outputs[example.shown] = output(ended).replace(f"{folder}/", "")
                    if chosen.write and page == README:  # each at once: the page takes minutes
                        (ROOT / page).write_text(rewritten(text, outputs), encoding="utf-8")
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
