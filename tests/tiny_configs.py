"""The configs that we ship, with the tiny models in the place of those of the Hub.

So what is tested is what users get: only names and ranges of layers differ.
"""

import hashlib
import tempfile
from pathlib import Path

from llmcourse.testing.models import BASE_ID, CODE_ID, PROSE_ID

CONFIGS = Path(__file__).parent.parent / "configs"
# Longer names first: some are the beginning of others.
_INSTEAD = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": CODE_ID,
    "HuggingFaceTB/SmolLM2-135M": PROSE_ID,
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": PROSE_ID,
    "Qwen/Qwen2.5-0.5B-Instruct": CODE_ID,
    "Qwen/Qwen2.5-0.5B": BASE_ID,
    "Qwen/Qwen3-0.6B": CODE_ID,
    "llmcourse-demo/SmolLM2-135M-python": CODE_ID,
    "llmcourse-demo/SmolLM2-135M-merging": PROSE_ID,
    "llmcourse-demo/SmolLM2-135M-Instruct": BASE_ID,
    "[0, 30]": "[0, 4]",
    "[0, 20]": "[0, 3]",
    "[10, 30]": "[1, 4]",
}


def tiny(text: str) -> str:
    """A config's text with the tiny models in it."""
    for there, here in _INSTEAD.items():
        text = text.replace(there, here)
    return text


def tiny_configs(command: str) -> Path:
    """A folder with all configs of `command`, on the models of the fixture `demo_hub`."""
    texts = {path.name: path.read_text() for path in sorted((CONFIGS / command).glob("*.yaml"))}
    texts = {name: tiny(text) for name, text in texts.items()}
    # One folder for all workers of a run, so that what one has made of a config serves the others.
    key = hashlib.sha256(repr(texts).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"llmcourse-tiny-configs-{key}" / command
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        if not (folder / name).exists():
            (folder / name).write_text(text)
    return folder
