"""Reading a model folder's metadata, and the folders that are refused."""

import json
from pathlib import Path

import pytest

from llmcourse.core.errors import PlanError
from llmcourse.core.headers import safetensors_header
from llmcourse.core.model import LocalFiles, ModelFacts, ModelRef, Tensor, read_local
from tests.model_folders import safetensors, shard_index, with_header, write_adapter, write_model


def read(folder: Path) -> ModelFacts:
    return read_local(ModelRef.parse(str(folder)))


def refusal(folder: Path) -> PlanError:
    with pytest.raises(PlanError) as caught:
        read(folder)
    assert caught.value.where == str(folder)
    assert caught.value.fix
    return caught.value


def test_a_folder_tells_shapes_sizes_and_card_without_its_weights(tmp_path: Path) -> None:
    facts = read(write_model(tmp_path / "m", card="---\nlicense: mit\n---\n# M\n"))
    assert facts.architecture == "LlamaForCausalLM"
    assert facts.tensors["model.norm.weight"] == Tensor((4,), "BF16", 8, "model.safetensors")
    assert facts.weight_files == ("model.safetensors",)
    assert facts.weight_bytes == (tmp_path / "m" / "model.safetensors").stat().st_size
    assert facts.card == {"license": "mit"}
    assert (facts.is_adapter, facts.is_pickled, facts.hub_id, facts.revision) == (False, False, None, None)


def test_only_the_header_is_read(tmp_path: Path) -> None:
    content = safetensors({"w": (3, 5)})
    (tmp_path / "w.safetensors").write_bytes(content)
    reads = list[tuple[int, int]]()

    class Counting(LocalFiles):
        def span(self, name: str, start: int, length: int) -> bytes:
            reads.append((start, length))
            return super().span(name, start, length)

    safetensors_header(Counting(tmp_path), "w.safetensors")
    assert reads == [(0, 8), (8, len(content) - 8 - 30)]


def test_shards_are_one_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    for number, name in enumerate(("a.weight", "b.weight"), start=1):
        (folder / f"model-{number}.safetensors").write_bytes(safetensors({name: (2,)}))
    shard_index(folder, {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"})
    facts = read(folder)
    assert facts.weight_files == ("model-1.safetensors", "model-2.safetensors")
    assert facts.tensors["b.weight"].file == "model-2.safetensors"


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    shard_index(folder, {"a": "model.safetensors", "b": "model-2.safetensors"})
    assert refusal(folder).what == f"{folder} lacks 1 of 2 weight files, model-2.safetensors first."


@pytest.mark.parametrize(
    ("weight_map", "what"),
    [
        (
            {"a.weight": "model-2.safetensors", "b.weight": "model-2.safetensors"},
            "model.safetensors.index.json of {folder} says that a.weight is in model-2.safetensors, "
            "and it is in model-1.safetensors.",
        ),
        (
            {
                "a.weight": "model-1.safetensors",
                "b.weight": "model-2.safetensors",
                "c": "model-2.safetensors",
            },
            "model.safetensors.index.json of {folder} says that c is in model-2.safetensors, "
            "and it is in no file.",
        ),
        (
            {"b.weight": "model-2.safetensors", "x.weight": "model-1.safetensors"},
            "model-1.safetensors of {folder} holds a.weight, "
            "and model.safetensors.index.json does not name it.",
        ),
    ],
)
def test_an_index_that_does_not_belong_to_its_shards_is_refused(
    tmp_path: Path, weight_map: dict[str, str], what: str
) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "model-1.safetensors").write_bytes(safetensors({"a.weight": (2,), "x.weight": (2,)}))
    (folder / "model-2.safetensors").write_bytes(safetensors({"b.weight": (2,)}))
    shard_index(folder, {"x.weight": "model-1.safetensors"} | weight_map)
    error = refusal(folder)
    assert error.what == what.format(folder=folder)
    assert error.fix == "Download or copy the model again, its index and all its files from one place."


def test_a_tensor_in_two_shards_is_that_of_the_index(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "model-1.safetensors").write_bytes(safetensors({"a.weight": (2,)}))
    (folder / "model-2.safetensors").write_bytes(safetensors({"a.weight": (2,), "b.weight": (2,)}))
    shard_index(folder, {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"})
    assert read(folder).tensors["a.weight"].file == "model-1.safetensors"


@pytest.mark.parametrize("shard", ["../other/model.safetensors", "/etc/passwd", "sub/x.safetensors", "..\\x"])
def test_an_index_may_not_point_outside_its_folder(tmp_path: Path, shard: str) -> None:
    folder = write_model(tmp_path / "m")
    shard_index(folder, {"a": "model.safetensors", "b": shard})
    error = refusal(folder)
    assert "outside its own folder" in error.what
    assert "damaged or hostile" in error.fix


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05",
        with_header(b"{"),
        with_header(b"[]"),
        with_header(b'{"w": 1}'),
        with_header(b'{"w": {"dtype": "F32", "shape": [1]}}'),
        with_header(b"\xff\xfe"),
        (10**9).to_bytes(8, "little") + b"{}",
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(content)
    assert refusal(folder).what.startswith(f"model.safetensors of {folder} is not a whole safetensors file (")


@pytest.mark.parametrize("change", [-3, 5])
def test_a_file_of_another_length_than_its_header_says_is_refused(tmp_path: Path, change: int) -> None:
    folder = write_model(tmp_path / "m")
    content = (folder / "model.safetensors").read_bytes()
    changed = content[:change] if change < 0 else content + bytes(change)
    (folder / "model.safetensors").write_bytes(changed)
    assert f"({len(changed):,} bytes instead of {len(content):,})" in refusal(folder).what


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("config.json", "{", "config.json of {folder} is damaged: "),
        ("config.json", "[1]", "config.json of {folder} is not a JSON object."),
        ("model.safetensors.index.json", "no", "model.safetensors.index.json of {folder} is damaged: "),
    ],
)
def test_damaged_json_is_refused(tmp_path: Path, name: str, content: str, what: str) -> None:
    folder = write_model(tmp_path / "m")
    (folder / name).write_text(content)
    assert refusal(folder).what.startswith(what.format(folder=folder))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path / "gone")
    assert error.what == f"There is no model folder {str(tmp_path / 'gone')!r}."


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    assert refusal(tmp_path).what == f"{tmp_path} has no config.json."


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    assert refusal(folder).what.startswith(f"{folder} has no weights that can be read (model.safetensors or")


def test_pickled_weights_are_seen_and_never_opened(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    facts = read(folder)
    assert (facts.is_pickled, facts.tensors, facts.weight_files) == (True, {}, ("pytorch_model.bin",))


def test_safetensors_are_preferred_to_pickled_weights(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert not read(folder).is_pickled


def test_an_adapter_is_seen_as_one(tmp_path: Path) -> None:
    facts = read(write_adapter(tmp_path / "lora", base="org/base"))
    assert facts.is_adapter
    assert facts.config["base_model_name_or_path"] == "org/base"
    assert facts.weight_files == ("adapter_model.safetensors",)


def test_a_folder_of_the_client_s_cache_knows_its_repository(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models--org--name" / "snapshots" / ("a" * 40))
    assert read(folder).hub_id == "org/name"


@pytest.mark.parametrize(
    ("manifest", "hub_id"),
    [
        (json.dumps({"hub": {"repo": "me/merged", "revision": "main"}}), "me/merged"),
        (json.dumps({"hub": None}), None),
        ("torn", None),
        ("[]", None),
    ],
)
def test_a_result_of_ours_knows_where_it_was_published(
    tmp_path: Path, manifest: str, hub_id: str | None
) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "llmcourse.json").write_text(manifest)
    assert read(folder).hub_id == hub_id


def test_the_card_does_not_change_what_a_local_model_is_but_its_weights_do(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    before = read(folder).identity
    (folder / "README.md").write_text("# changed")
    (folder / "llmcourse.json").write_text("{}")
    assert read(folder).identity == before
    (folder / "model.safetensors").write_bytes(safetensors({"w": (2,)}))
    assert read(folder).identity != before
