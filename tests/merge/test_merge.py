"""`llmcourse merge` from YAML to the Hub: the five steps on real models against a real client."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import BASE_ID, CODE_ID, PROSE_ID, Family, build_lora, perplexity
from llmcourse.testing.plugin import Cli, as_user
from tests.tiny_configs import tiny_configs

CONFIGS = tiny_configs("merge")
LINEAR = """\
models:
  - model: {first}
    parameters: {{weight: 0.5}}
  - model: {second}
    parameters: {{weight: 0.5}}
merge_method: linear
dtype: bfloat16
"""


def linear(folder: Path, first: object, second: object) -> Path:
    path = folder / "linear.yaml"
    path.write_text(LINEAR.format(first=first, second=second), encoding="utf-8")
    return path


def test_a_merge_is_pushed_in_one_commit_and_verified(
    llmcourse: Cli, demo_hub: LoopbackHub, transport: str
) -> None:
    alice = as_user(llmcourse, demo_hub, transport=transport)
    result = alice("merge", CONFIGS / "linear.yaml", "--push", "alice/merged", "-o", "out", "--json")
    assert result.exit_code == 0, result.stderr
    artifact = result.json
    repo = demo_hub.repo("alice/merged")
    remote = repo.files()
    assert {file["path"]: file["sha256"] for file in artifact["files"]} == {
        name: entry.sha256
        for name, entry in remote.items()
        if name not in (".gitattributes", "llmcourse.json")
    }
    assert [commit.title for commit in repo.commits()] == ["Add merge made by llmcourse", "initial commit"]
    assert artifact["hub"]["commit"] == repo.commits()[0].oid
    assert artifact["reference"] == f"hf://alice/merged@{repo.commits()[0].oid}"


def test_the_same_command_again_is_done_already_and_commits_nothing(
    llmcourse: Cli, demo_hub: LoopbackHub
) -> None:
    alice = as_user(llmcourse, demo_hub)
    arguments = ("merge", CONFIGS / "linear.yaml", "--push", "alice/merged", "-o", "out", "--json")
    first, second = alice(*arguments), alice(*arguments)
    assert (first.exit_code, second.exit_code) == (0, 0), second.stderr
    assert second.json["cached"] and not first.json["cached"]
    assert len(demo_hub.repo("alice/merged").commits()) == 2
    assert second.json["hub"] == first.json["hub"]


@pytest.mark.slow
def test_quiet_prints_the_folder_or_the_hub_reference_only(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    alice = as_user(llmcourse, demo_hub)
    made = alice("merge", CONFIGS / "linear.yaml", "-o", "out", "-q")
    assert (made.stdout, made.stderr) == (f"{llmcourse.folder / 'out'}\n", "")
    pushed = alice("merge", CONFIGS / "linear.yaml", "-o", "out", "-q", "--push", "alice/merged")
    head = demo_hub.repo("alice/merged").commits()[0].oid
    assert (pushed.stdout, pushed.stderr) == (f"hf://alice/merged@{head}\n", "")


@pytest.mark.slow
def test_the_merge_is_better_than_the_worse_parent_on_both_texts(
    llmcourse: Cli, demo_hub: LoopbackHub, family: Family
) -> None:
    result = as_user(llmcourse, demo_hub)("merge", CONFIGS / "demo.yaml", "-o", "out", "--no-push")
    assert result.exit_code == 0, result.stderr
    for text in family.eval_texts.values():
        parents = [perplexity(path, text, max_tokens=4000) for path in (family.code, family.prose)]
        assert perplexity(llmcourse.folder / "out", text, max_tokens=4000) < max(parents)


@pytest.mark.slow
def test_the_cards_usage_snippet_runs(llmcourse: Cli, family: Family) -> None:
    config = linear(llmcourse.folder, family.code, family.prose)
    assert llmcourse("merge", config, "-o", "merged").exit_code == 0
    card = (llmcourse.folder / "merged" / "README.md").read_text()
    snippet = (
        card.partition("```python\n")[2].partition("```")[0].replace("max_new_tokens=256", "max_new_tokens=4")
    )
    ran = subprocess.run(
        [sys.executable, "-c", snippet], cwd=llmcourse.folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "large language model" in ran.stdout


def test_folders_with_spaces_unicode_at_and_plus_work(llmcourse: Cli, family: Family) -> None:
    first, second = llmcourse.folder / "mein Modell ü@1", llmcourse.folder / "b+c"
    shutil.copytree(family.code, first)
    shutil.copytree(family.prose, second)
    config = linear(llmcourse.folder, json.dumps(str(first)), json.dumps(str(second)))
    result = llmcourse("merge", config, "-o", "výsledek out", "--json")
    assert result.exit_code == 0, result.stderr
    assert (llmcourse.folder / "výsledek out" / "model.safetensors").is_file()
    assert str(llmcourse.folder) not in (llmcourse.folder / "výsledek out" / "llmcourse.json").read_text()


def test_a_config_on_stdin_with_overrides(llmcourse: Cli, family: Family) -> None:
    text = LINEAR.format(first=family.code, second=family.prose)
    result = llmcourse(
        "merge", "-", "dtype=float32", "models.0.parameters.weight=0.9", "-o", "out", stdin=text
    )
    assert result.exit_code == 0, result.stderr
    said = json.loads((llmcourse.folder / "out" / "config.json").read_text())
    assert said["dtype"] == said["torch_dtype"] == "float32"  # as versions of transformers name it
    assert said["rope_theta"] == said["rope_parameters"]["rope_theta"] == 10000.0
    assert "weight: 0.9" in (llmcourse.folder / "out" / "mergekit_config.yml").read_text()


@pytest.mark.slow
# peft 0.21 reads a name that transformers 5.23 calls deprecated.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_lora_is_merged_into_its_model_first(llmcourse: Cli, family: Family) -> None:
    build_lora(llmcourse.folder / "lora", family.base)
    config = linear(llmcourse.folder, f"{family.base}+lora", family.base)
    result = llmcourse("merge", config, "-o", "out")
    assert result.exit_code == 0, result.stderr
    base, made = (
        path.joinpath("model.safetensors").read_bytes() for path in (family.base, llmcourse.folder / "out")
    )
    assert base != made
    assert "lora (not on the Hub)" in (llmcourse.folder / "out" / "README.md").read_text()


@pytest.mark.slow
def test_a_vocabulary_union_is_the_same_in_every_run(llmcourse: Cli, family: Family) -> None:
    config = linear(llmcourse.folder, family.code, family.prose)
    hashes = set()
    for output in ("first", "second"):
        result = llmcourse("merge", config, "tokenizer_source=union", "-o", output, "--json")
        assert result.exit_code == 0, result.stderr
        hashes.add(
            tuple(sorted(file["sha256"] for file in result.json["files"] if file["path"] != "README.md"))
        )
    assert len(hashes) == 1


def test_shards_are_split_as_mergekit_splits_them(llmcourse: Cli, family: Family) -> None:
    config = linear(llmcourse.folder, family.code, family.prose)
    result = llmcourse("merge", config, "options.out_shard_size=2M", "-o", "out")
    assert result.exit_code == 0, result.stderr
    shards = sorted(path.name for path in (llmcourse.folder / "out").glob("model-*.safetensors"))
    index = json.loads((llmcourse.folder / "out" / "model.safetensors.index.json").read_text())
    assert len(shards) > 1 and set(index["weight_map"].values()) == set(shards)
    assert perplexity(llmcourse.folder / "out", family.eval_texts["code"], max_tokens=1000) < 1000


def test_a_tokenizer_that_cannot_be_copied_is_a_failure(llmcourse: Cli, family: Family) -> None:
    bare = llmcourse.folder / "bare"
    shutil.copytree(family.code, bare, ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    config = linear(llmcourse.folder, bare, family.prose)
    result = llmcourse("merge", config, "-o", "out")
    assert result.exit_code == 4
    assert "has no tokenizer that could be copied" in result.stderr
    assert not (llmcourse.folder / "out").exists()


def test_another_result_in_the_output_needs_force(llmcourse: Cli, family: Family) -> None:
    config = linear(llmcourse.folder, family.code, family.prose)
    assert llmcourse("merge", config, "-o", "out").exit_code == 0
    refused = llmcourse("merge", config, "dtype=float32", "-o", "out")
    assert refused.exit_code == 4 and "--force" in refused.stderr
    assert llmcourse("merge", config, "dtype=float32", "-o", "out", "--force").exit_code == 0
    (llmcourse.folder / "mine").mkdir()
    (llmcourse.folder / "mine" / "thesis.txt").write_text("years of work")
    assert llmcourse("merge", config, "-o", "mine", "--force").exit_code == 4
    assert (llmcourse.folder / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_a_rerun_keeps_what_a_person_put_into_the_output(llmcourse: Cli, family: Family) -> None:
    config = linear(llmcourse.folder, family.code, family.prose)
    assert llmcourse("merge", config, "-o", "out").exit_code == 0
    out = llmcourse.folder / "out"
    (out / "README.md").write_text("my own words")
    (out / "mine.gguf").write_bytes(b"quantized by hand")
    (out / "sub").mkdir()
    for _ in range(2):  # also the second time, when the edit is known already
        again = llmcourse("merge", config, "-o", "out", "--json")
        assert again.exit_code == 0 and again.json["cached"], again.stderr
        assert (out / "README.md").read_text() == "my own words"
    (out / "model.safetensors").unlink()  # damaged: it is made again
    assert llmcourse("merge", config, "-o", "out").exit_code == 0
    assert (out / "README.md").read_text() == "my own words"
    assert llmcourse("merge", config, "dtype=float32", "-o", "out", "--force").exit_code == 0
    assert (out / "mine.gguf").read_bytes() == b"quantized by hand" and (out / "sub").is_dir()


def test_a_deleted_card_is_written_again_without_another_merge(llmcourse: Cli, family: Family) -> None:
    config = linear(llmcourse.folder, family.code, family.prose)
    assert llmcourse("merge", config, "-o", "out").exit_code == 0
    (llmcourse.folder / "out" / "README.md").unlink()
    again = llmcourse("merge", config, "-o", "out", "--json")
    assert again.json["cached"]
    assert "lazymergekit" in (llmcourse.folder / "out" / "README.md").read_text()


def test_published_texts_do_not_tell_where_models_lie_on_this_machine(
    llmcourse: Cli, hub: LoopbackHub, family: Family
) -> None:
    config = linear(llmcourse.folder, family.code, family.prose)
    result = as_user(llmcourse, hub)("merge", config, "-o", "out", "--push", "merged")
    assert result.exit_code == 0, result.stderr
    repo = hub.repo("alice/merged")
    texts = [repo.read(name).decode() for name in ("README.md", "mergekit_config.yml", "llmcourse.json")]
    assert not [text for text in texts if str(family.code.parent) in text]
    assert 'model = "alice/merged"' in texts[0]


@pytest.mark.slow
def test_a_damaged_cache_is_downloaded_again(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    alice = as_user(llmcourse, demo_hub)
    assert alice("merge", CONFIGS / "linear.yaml", "-o", "out").exit_code == 0
    home = llmcourse.folder / "hf-home-alice" / "hub"
    for path in [*home.rglob("snapshots/*/model.safetensors"), *home.rglob("snapshots/*/config.json")]:
        with path.resolve().open("r+b") as blob:
            blob.truncate(100)
    result = alice("merge", CONFIGS / "linear.yaml", "-o", "again")
    assert result.exit_code == 0, result.stderr


def test_a_reader_that_closes_the_pipe_does_not_undo_the_work(llmcourse: Cli, family: Family) -> None:
    config = linear(llmcourse.folder, family.code, family.prose)
    process = llmcourse.start("merge", config, "-o", "out")
    for stream in (process.stdin, process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert process.wait(timeout=120) == 0
    assert (llmcourse.folder / "out" / "llmcourse.json").is_file()


@pytest.mark.slow
def test_a_chain_reads_what_quiet_printed(llmcourse: Cli, demo_hub: LoopbackHub, family: Family) -> None:
    alice = as_user(llmcourse, demo_hub)
    first = alice("merge", CONFIGS / "linear.yaml", "--push", "alice/soup", "-o", "soup", "-q").stdout.strip()
    config = linear(llmcourse.folder, first, BASE_ID)
    result = alice("merge", config, "-o", "out", "--json")
    assert result.exit_code == 0, result.stderr
    assert set(result.json["inputs"]) == {"alice/soup", BASE_ID}


@pytest.mark.parametrize(
    "name", ["linear", *(pytest.param(name, marks=pytest.mark.slow) for name in ("moe", "multi-stage"))]
)
def test_the_card_on_the_hub_names_all_parents(name: str, llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    alice = as_user(llmcourse, demo_hub)
    result = alice("merge", CONFIGS / f"{name}.yaml", "--push", "alice/merged", "-o", "out")
    assert result.exit_code == 0, result.stderr
    card = demo_hub.repo("alice/merged").read("README.md").decode()
    assert "base_model_relation: merge" in card
    parents = {CODE_ID, PROSE_ID} | ({BASE_ID} if name != "linear" else set())
    assert all(f"- {parent}\n" in card.partition("tags:")[0] for parent in parents)
