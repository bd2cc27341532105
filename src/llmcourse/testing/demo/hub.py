"""The demo's Hub: SmolLM2 and its fine-tunes on 127.0.0.1, for typed examples and `make demo`."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from llmcourse.core.errors import LibraryError, MissingError
from llmcourse.core.progress import Progress
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.smol import LIBRARIES, Smol, build_smol, can_build_smol

USER: Final = "me"
ORGANIZATIONS: Final = ("llmcourse-demo", "org")
# Under the names that the manual's examples use; the value is whose files these are.
EXAMPLES: Final = {"org/name": "base", "me/name": "python"}
CONVERSATIONS: Final = ("python", "merging", "general")


def models(folder: Path, progress: Progress) -> Smol:
    """The models, built in another process where the cache lacks them; what libraries say goes to a log.

    Raises:
        MissingError: the extra `demo` is not installed.
        LibraryError: a library failed.
    """
    if not can_build_smol():
        raise MissingError(
            f"The demo's models need {', '.join(LIBRARIES)}, which are not all installed.",
            "Run: pip install 'llmcourse[demo]'",
        )
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "models.log"
    with progress.step("make SmolLM2 and two fine-tunes of it", 1000, "‰") as step:
        code = _build(log, lambda share: step.advance(share - step.done))
        step.advance(1000 - step.done)
    if code != 0:
        error = LibraryError("The demo's models could not be made.", f"What was said is in {log}.")
        error.log = log
        raise error
    return build_smol()


def _build(log: Path, report: Callable[[int], None]) -> int:
    command = [sys.executable, "-m", "llmcourse.testing.smol"]
    with (
        log.open("w", encoding="utf-8") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            report(int(line.partition(" ")[0]))
    return process.returncode


@contextmanager
def demo_hub(folder: Path, smol: Smol, progress: Progress, port: int = 0) -> Iterator[LoopbackHub]:
    """A Hub that keeps what it holds under `folder`, with the models and a user `me` on it."""
    with LoopbackHub(folder, port) as hub:
        hub.add_user(USER, ORGANIZATIONS)
        folders = smol.by_id | {name: getattr(smol, whose) for name, whose in EXAMPLES.items()}
        with progress.step("put them on a Hub of this machine", len(folders)) as step:
            for name, path in folders.items():
                if not hub.repo(name).exists():
                    hub.repo(name).add_files({file.name: file for file in path.iterdir()}, message="Upload")
                step.advance()
        yield hub


def write_texts(folder: Path) -> None:
    """What the examples calibrate and measure with: English prose and code, and conversations."""
    from llmcourse.testing.models import corpus

    parts: dict[str, list[str]] = {"calibration.txt": [], "held-out.txt": []}
    for text in corpus.read().held_out.values():
        middle = len(text) * 2 // 3
        parts["calibration.txt"].append(text[:middle])
        parts["held-out.txt"].append(text[middle:])
    for name, texts in parts.items():
        (folder / name).write_text("\n".join(texts), encoding="utf-8")
    rows = Path(__file__).parent.parent / "smol"
    text = "".join((rows / f"{name}.jsonl").read_text("utf-8") for name in CONVERSATIONS)
    (folder / "conversations.jsonl").write_text(text, encoding="utf-8")
