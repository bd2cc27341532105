"""`make demo`: the main job from end to end on this machine alone.

Trains a family of tiny Llamas, starts a Hub here, uploads them with the Hub's own client, merges two of
them with `llmcourse merge`, quantizes the result with `llmcourse quantize-gguf`, publishes both, measures
everything on text none of the models has seen, and shows how all are related with `llmcourse family-tree`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console as Terminal
from rich.table import Table

from llmcourse.core.console import Console, human_bytes, human_seconds
from llmcourse.core.progress import Progress
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import BASE_ID, CODE_ID, PROSE_ID, Family, build_family, perplexity

USER = "llmcourse-demo"
MERGED_ID = f"{USER}/tiny-llama-merged"
QUANTIZED_ID = f"{MERGED_ID}-GGUF"
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
        _write_texts(family, folder)
        for command, name, repo in (("merge", "merged", MERGED_ID), ("quantize-gguf", "gguf", QUANTIZED_ID)):
            _llmcourse(console, environment, command, "--push", repo, "-o", f"demo-out/{name}")
        _show(family, folder / "merged", progress, console)
        _show_types(folder / "gguf")
        _llmcourse(console, environment, "family-tree")
        _llmcourse(console, environment, "family-tree", "-o", "demo-out/family-tree.html")
    console.note(f"\nThe merge is in {folder / 'merged'}, its GGUF files in {folder / 'gguf'}.")
    console.note("Their cards are README.md there; the GGUF card has a plot, quality.png.")
    console.note(f"Open {folder / 'family-tree.html'} in a browser to look around in the family.")
    console.note(f"The Hub kept them as {MERGED_ID} and {QUANTIZED_ID} under {folder / 'hub'}.")
    console.note(f"All of it took {human_seconds(time.monotonic() - begin)}.")


def _train(progress: Progress) -> Family:
    """Build the models, or take them from the cache of an earlier demo."""
    with progress.step("train a tiny Llama and its two fine-tunes", 1000, "‰") as step:
        family = build_family(progress=lambda _, share: step.advance(int(share * 1000) - step.done))
        step.advance(1000 - step.done)
    return family


def _write_texts(family: Family, folder: Path) -> None:
    """Text for the importance matrix, and other text to judge the types by; no model has seen either."""
    parts: dict[str, list[str]] = {"calibration.txt": [], "held-out.txt": []}
    for text in family.eval_texts.values():
        middle = len(text) * 2 // 3
        parts["calibration.txt"].append(text[:middle])
        parts["held-out.txt"].append(text[middle:])
    for name, texts in parts.items():
        (folder / name).write_text("\n".join(texts), encoding="utf-8")


def _llmcourse(console: Console, environment: Mapping[str, str], command: str, *options: str) -> None:
    """Run one of our commands on its config of the demo, as a user would."""
    words = ["llmcourse", command, f"configs/{command}/demo.yaml", *options]
    console.note(f"\n$ {' '.join(words)}")
    _run([sys.executable, "-m", *words], environment)


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


def _show_types(folder: Path) -> None:
    measured = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
    table = Table(title="What each type costs (the original's perplexity is "
                        f"{measured['base_perplexity']:.2f})")  # fmt: skip
    for heading in ("type", "size", "bits per weight", "perplexity", "KL divergence", "same top token"):
        table.add_column(heading, justify="left" if heading == "type" else "right")
    for row in measured["types"]:
        quality = row["quality"]
        table.add_row(
            row["type"], human_bytes(row["size"]), f"{row['bits_per_weight']:.2f}",
            f"{quality['perplexity']:.2f}", f"{quality['mean_kld']:.1e}", f"{quality['same_top']:.1%}",
        )  # fmt: skip
    Terminal().print(table)
    manifest = json.loads((folder / "llmcourse.json").read_text(encoding="utf-8"))
    samples = [file["about"]["sample"] for file in manifest["files"] if file.get("piece") == "Q4_K_M"]
    Terminal().print(f"Q4_K_M writes: {samples[0]!r}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
