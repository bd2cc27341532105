"""`make demo`: the main job from end to end on this machine alone.

Trains a family of tiny Llamas, starts a Hub here, uploads them with the Hub's own client, merges two of
them with `llmcourse merge`, publishes the result, and measures all four on text none of them has seen.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console as Terminal
from rich.table import Table

from llmcourse.core.console import Console, human_seconds
from llmcourse.core.progress import Progress
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import BASE_ID, CODE_ID, PROSE_ID, Family, build_family, perplexity

USER = "llmcourse-demo"
MERGED_ID = f"{USER}/tiny-llama-merged"
CONFIG = Path("configs/merge/demo.yaml")
_TOKENS = 8192
_UPLOAD = "import sys, huggingface_hub as h; api = h.HfApi(); repo, folder = sys.argv[1:]; \
api.create_repo(repo, exist_ok=True); api.upload_folder(repo_id=repo, folder_path=folder)"


def main() -> None:
    begin = time.monotonic()
    folder = Path("demo-out").absolute()
    console = Console()
    progress = Progress(console.event)
    family = _train(progress)
    with LoopbackHub(folder / "hub") as hub:
        hub.add_user(USER)
        environment = hub.env(user=USER, home=folder / "hf-home")
        quiet = environment | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        parents = {BASE_ID: family.base, CODE_ID: family.code, PROSE_ID: family.prose}
        with progress.step(f"upload the three models to the Hub at {hub.endpoint}", len(parents)) as step:
            for repo, path in parents.items():
                _run([sys.executable, "-c", _UPLOAD, repo, str(path)], quiet)
                step.advance()
        console.close()
        command = ["llmcourse", "merge", str(CONFIG), "--push", MERGED_ID, "-o", "demo-out/merged"]
        console.note(f"\n$ {' '.join(command)}")
        _run([sys.executable, "-m", *command], environment)
    _show(family, folder / "merged", progress, console)
    console.note(f"\nThe merge is in {folder / 'merged'}; its card is README.md there.")
    console.note(f"The Hub kept it as {MERGED_ID} under {folder / 'hub'}.")
    console.note(f"All of it took {human_seconds(time.monotonic() - begin)}.")


def _train(progress: Progress) -> Family:
    """Build the models, or take them from the cache of an earlier demo."""
    with progress.step("train a tiny Llama and its two fine-tunes", 1000, "‰") as step:
        family = build_family(progress=lambda _, share: step.advance(int(share * 1000) - step.done))
        step.advance(1000 - step.done)
    return family


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    """Run a program; what it says on stderr goes to ours."""
    result = subprocess.run(command, env={**os.environ, **environment}, check=False)
    if result.returncode != 0:
        sys.exit(result.returncode)


def _show(family: Family, merged: Path, progress: Progress, console: Console) -> None:
    import transformers  # takes seconds, and nothing before needs it

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    table = Table(title="Perplexity on unseen text (less is better)")
    for heading in ("model", *(f"on {kind}" for kind in family.eval_texts)):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    models = {"base": family.base, "fine-tuned on code": family.code, "fine-tuned on prose": family.prose,
              "merge of the two": merged}  # fmt: skip
    with progress.step("measure perplexity", len(models) * len(family.eval_texts)) as step:
        for name, path in models.items():
            row = [name]
            for text in family.eval_texts.values():
                row.append(f"{perplexity(path, text, max_tokens=_TOKENS):.2f}")
                step.advance()
            table.add_row(*row)
    console.close()
    Terminal().print(table)


if __name__ == "__main__":
    main()
