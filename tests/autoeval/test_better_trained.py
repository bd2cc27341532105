"""The suite `tiny` orders models by how long they were trained."""

import shutil
from pathlib import Path

import pytest

from llmcourse.testing.models import Family, corpus
from llmcourse.testing.plugin import Cli
from tests.autoeval.builders import read_json

STEPS = (10, 40)  # of the 160 that the base model had


@pytest.fixture
def briefly_trained(tmp_path: Path, family: Family) -> list[Path]:
    """Models like the base model in all but the length of their training."""
    import sentencepiece
    import torch

    from llmcourse.testing.models.train import Recipe, new_model, save, train

    encode = sentencepiece.SentencePieceProcessor(model_file=str(family.base / "tokenizer.model")).encode
    texts = corpus.read().training.values()
    tokens = torch.cat([torch.tensor(encode(text[:400_000])) for text in texts])
    found = []
    for steps in STEPS:
        model = new_model(seed=0)
        train(model, tokens, Recipe(steps, speed=1.0, seed=0), lambda fraction: None)
        folder = tmp_path / f"steps-{steps}"
        shutil.copytree(family.base, folder)
        save(model, folder)
        found.append(folder)
    return found


@pytest.mark.slow
def test_the_longer_trained_of_two_models_wins(
    tmp_path: Path, briefly_trained: list[Path], family: Family
) -> None:
    cli = Cli(tmp_path, {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf-home")})
    models = ", ".join(str(folder) for folder in (*briefly_trained, family.base))
    (tmp_path / "e.yaml").write_text(f"model: [{models}]\nsuite: tiny\n")
    made = cli("autoeval", "e.yaml", "-o", "out", "--json")
    assert made.exit_code == 0, made.stderr
    found = read_json(tmp_path / "out" / "results.json")["models"]
    averages = [found[folder.name]["average"] for folder in (*briefly_trained, family.base)]
    # 18.2, 47.7 and 54.4 of 100 where this was written.
    assert averages[0] + 10 < averages[1] < averages[2] - 2
