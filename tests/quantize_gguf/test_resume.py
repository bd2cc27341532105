"""A result grows: more types, a measurement, another text; what is there is not made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.quantize_gguf.builders import (
    digests,
    manifest,
    merge_manifest,
    program,
    staging,
    start_converted,
    steps,
    whole,
    write_config,
)

RUN = ("quantize-gguf", "g.yaml", "-o", "out", "--json", "--progress", "json")
QUALITY = ("quality.text=held-out.txt", "quality.chunks=2")


@pytest.fixture
def quantize(llmcourse: Cli, tmp_path_factory: pytest.TempPathFactory, family: Family) -> Cli:
    """The program in a folder where g.yaml has been begun, with a text."""
    cli = program(llmcourse, tmp_path_factory)
    start_converted(tmp_path_factory, cli, family)
    (cli.folder / "held-out.txt").write_text(family.eval_texts["prose"], encoding="utf-8")
    return cli


Begin = Callable[[], None]


@pytest.fixture
def begin_again(quantize: Cli, tmp_path_factory: pytest.TempPathFactory, family: Family) -> Begin:
    """Spares a run that extends a finished result the conversion, as a killed run before it would."""
    return lambda: start_converted(tmp_path_factory, quantize, family)


def marks(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file it is, and when it was written."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.gguf")}


@pytest.mark.slow
def test_a_type_that_is_added_leaves_the_others_untouched(quantize: Cli, begin_again: Begin) -> None:
    out = quantize.folder / "out"
    first = quantize(*RUN, "types=[Q8_0]")
    assert first.exit_code == 0, first.stderr
    before = marks(out)
    begin_again()
    more = quantize(*RUN, "types=[Q8_0, Q2_K]")
    assert more.exit_code == 0, more.stderr
    assert [step for step in steps(more) if step.startswith("quantize")] == ["quantize Q2_K"]
    assert before.items() < marks(out).items() and len(marks(out)) == 2
    assert (out / "README.md").read_text().count("| [base.") == 2
    assert whole(out) and not staging(quantize.folder).exists()
    fewer = quantize(*RUN, "types=[Q2_K]")
    assert fewer.exit_code == 0 and fewer.json["cached"]
    assert len(marks(out)) == 2 and (out / "README.md").read_text().count("| [base.") == 2


@pytest.mark.slow
def test_a_measurement_that_is_added_later_leaves_the_types_untouched(
    quantize: Cli, begin_again: Begin
) -> None:
    out = quantize.folder / "out"
    assert quantize(*RUN).exit_code == 0
    before = marks(out)
    assert "Perplexity" not in (out / "README.md").read_text()
    begin_again()
    measured = quantize(*RUN, *QUALITY)
    assert measured.exit_code == 0, measured.stderr
    assert not [step for step in steps(measured) if step.startswith("quantize")]
    assert marks(out) == before and whole(out)
    assert {row["type"] for row in json.loads((out / "quality.json").read_text())["types"]} == {
        "Q8_0",
        "Q4_K_M",
    }
    assert "Perplexity" in (out / "README.md").read_text()
    again = quantize(*RUN, *QUALITY)
    assert again.exit_code == 0 and again.json["cached"] and steps(again) == []
    without = quantize(*RUN, "quality=none")
    assert without.exit_code == 0, without.stderr
    assert marks(out) == before


@pytest.mark.slow
def test_another_text_is_measured_anew(quantize: Cli, begin_again: Begin) -> None:
    out = quantize.folder / "out"
    assert quantize(*RUN, *QUALITY, "types=[Q8_0]").exit_code == 0
    first = json.loads((out / "quality.json").read_text())
    (quantize.folder / "held-out.txt").write_text("import os\nfrom pathlib import Path\n" * 2000)
    begin_again()
    other = quantize(*RUN, *QUALITY, "types=[Q8_0]")
    assert other.exit_code == 0 and not other.json["cached"], other.stderr
    second = json.loads((out / "quality.json").read_text())
    assert first["text"]["sha256"] != second["text"]["sha256"]
    assert first["base_perplexity"] != second["base_perplexity"]


@pytest.mark.slow
def test_a_type_that_is_added_to_a_measured_result_is_measured_alone(
    quantize: Cli, begin_again: Begin
) -> None:
    out = quantize.folder / "out"
    assert quantize(*RUN, *QUALITY, "types=[Q8_0]").exit_code == 0
    begin_again()
    more = quantize(*RUN, *QUALITY)
    assert more.exit_code == 0, more.stderr
    rows = {row["type"]: row["quality"] for row in json.loads((out / "quality.json").read_text())["types"]}
    assert set(rows) == {"Q8_0", "Q4_K_M"} and rows["Q4_K_M"]["mean_kld"] > rows["Q8_0"]["mean_kld"]
    assert [file["path"] for file in manifest(out)["files"]].count("quality.json") == 1
    assert [step for step in steps(more) if step.startswith("quantize")] == ["quantize Q4_K_M"]
    assert not [step for step in steps(more) if "Q8_0" in step], steps(more)


@pytest.mark.parametrize("override", ["card.license=mit", "card.tags=[mine]", "hub.repo=alice/tiny-GGUF"])
def test_a_wish_for_the_card_or_the_hub_makes_nothing_anew(override: str, quantize: Cli) -> None:
    out = quantize.folder / "out"
    assert quantize(*RUN, "types=[Q8_0]").exit_code == 0
    before = marks(out)
    again = quantize(*RUN, "types=[Q8_0]", override, "--no-push")
    assert again.exit_code == 0, again.stderr
    assert marks(out) == before
    card = (out / "README.md").read_text()
    assert override.partition("=")[2].strip("[]").partition("/")[0] in card or "hub" in override


@pytest.mark.slow
def test_a_file_that_was_deleted_is_made_again_alone(quantize: Cli, begin_again: Begin) -> None:
    out = quantize.folder / "out"
    first = quantize(*RUN)
    assert first.exit_code == 0, first.stderr
    (out / "base.Q4_K_M.gguf").unlink()
    kept = marks(out)
    begin_again()
    again = quantize(*RUN)
    assert again.exit_code == 0, again.stderr
    assert digests(again.json["files"]) == digests(first.json["files"]) and whole(out)
    assert kept.items() < marks(out).items()


@pytest.mark.slow
def test_half_of_a_split_type_is_not_taken_for_all_of_it(quantize: Cli, family: Family) -> None:
    """As a kill leaves it that comes between the first shard's record and the second's."""
    write_config(quantize.folder, model=str(family.base), types=["Q8_0"], split="2M")
    first = quantize(*RUN)
    assert first.exit_code == 0, first.stderr
    out, places = quantize.folder / "out", staging(quantize.folder)
    document = manifest(out)
    shard = next(file for file in document["files"] if file["path"].endswith(".gguf"))
    (places / "files").mkdir(parents=True)
    shutil.copy2(out / shard["path"], places / "files")
    record = {"fingerprint": document["fingerprint"], "files": [shard]}
    (places / "run.json").write_text(json.dumps(record))
    shutil.rmtree(out)
    again = quantize(*RUN)
    assert again.exit_code == 0, again.stderr
    assert digests(again.json["files"]) == digests(first.json["files"]) and whole(out)


@pytest.mark.slow
def test_other_bytes_are_another_result_and_need_force(quantize: Cli) -> None:
    out = quantize.folder / "out"
    assert quantize(*RUN, "types=[Q8_0]").exit_code == 0
    other = (*RUN, "types=[Q8_0]", "tensor_types.attn_v=Q6_K")
    refused = quantize(*other)
    assert refused.exit_code == 4 and "--force" in refused.stderr
    (out / "mine.txt").write_text("years of work")
    (out / "another.Q4_0.gguf").write_bytes(b"quantized by hand")
    forced = quantize(*other, "--force")
    assert forced.exit_code == 0, forced.stderr
    assert (out / "mine.txt").read_text() == "years of work"
    assert (out / "another.Q4_0.gguf").read_bytes() == b"quantized by hand"


def test_a_model_is_never_replaced_by_its_own_quantizations(quantize: Cli, family: Family) -> None:
    merged = quantize.folder / "merged"
    shutil.copytree(family.base, merged)
    (merged / "llmcourse.json").write_bytes(merge_manifest(merged))
    write_config(quantize.folder, model="./merged", types=["Q8_0"])
    result = quantize("quantize-gguf", "g.yaml", "-o", "merged", "--force")
    assert result.exit_code == 4 and "fix: " in result.stderr
    assert (merged / "model.safetensors").is_file()


def test_an_edited_card_and_foreign_files_survive_when_a_type_is_added(
    quantize: Cli, begin_again: Begin
) -> None:
    out = quantize.folder / "out"
    assert quantize(*RUN, "types=[Q8_0]").exit_code == 0
    (out / "README.md").write_text("my own words")
    (out / "mine.gguf").write_bytes(b"quantized by hand")
    begin_again()
    more = quantize(*RUN)
    assert more.exit_code == 0, more.stderr
    assert (out / "README.md").read_text() == "my own words"
    assert (out / "mine.gguf").read_bytes() == b"quantized by hand"
    assert {"base.Q8_0.gguf", "base.Q4_K_M.gguf"} < set(marks(out))


@pytest.mark.slow
def test_another_model_under_the_same_name_is_noticed(quantize: Cli, family: Family) -> None:
    shutil.copytree(family.base, quantize.folder / "model")
    write_config(quantize.folder, model="./model", types=["Q8_0"])
    assert quantize(*RUN).exit_code == 0
    shutil.copy(family.code / "model.safetensors", quantize.folder / "model" / "model.safetensors")
    refused = quantize(*RUN)
    assert refused.exit_code == 4 and "holds the result of another run" in refused.stderr
