"""Files written tensor by tensor: what safetensors reads, the hash taken on the way, mergekit's division."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llmcourse.core.artifact import OutputFile, sha256_of
from llmcourse.merge.shards import DTYPES, PlannedTensor, Shard, ShardWriter, plan_shards


def planned(tensors: dict[str, torch.Tensor]) -> list[PlannedTensor]:
    return [
        PlannedTensor(name, DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()
    ]


def write(folder: Path, shards: list[Shard], tensors: dict[str, torch.Tensor]) -> list[OutputFile]:
    writer = ShardWriter(folder, shards)
    try:
        found = []
        for name, tensor in tensors.items():
            writer.save_tensor(name, tensor)
            found.append(writer.tensor_done(name))
        return [file for file in found if file]
    finally:
        writer.stop()


TENSORS = {
    "a": torch.randn(3, 5).bfloat16(),
    "b.ü": torch.arange(7, dtype=torch.int64),
    "scalar": torch.tensor(2.5),
    "empty": torch.empty(0, 4),
    "strided": torch.randn(4, 6).t(),
}


def test_the_library_reads_what_was_written_and_the_hash_is_the_files(tmp_path: Path) -> None:
    [file] = write(tmp_path, plan_shards(planned(TENSORS), 0), TENSORS)
    assert file.sha256 == sha256_of(tmp_path / "model.safetensors")
    assert file.size == (tmp_path / "model.safetensors").stat().st_size
    read = load_file(tmp_path / "model.safetensors")
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())


def test_tensors_that_turn_out_otherwise_than_planned_are_written_as_they_are(tmp_path: Path) -> None:
    plan = [PlannedTensor("x", "BF16", (2, 2)), PlannedTensor("left out", "F32", (3,))]
    writer = ShardWriter(tmp_path, plan_shards(plan, 0))
    writer.save_tensor("x", torch.ones(1000, 3))
    assert writer.tensor_done("x") is None
    file = writer.tensor_done("left out")
    writer.stop()
    assert file is not None and file.sha256 == sha256_of(tmp_path / file.path)
    assert load_file(tmp_path / file.path)["x"].shape == (1000, 3)


def test_files_are_divided_by_mergekits_rule() -> None:
    tensors = [PlannedTensor(str(index), "BF16", (size,)) for index, size in enumerate((10, 10, 30, 10, 10))]
    shards = plan_shards(tensors, max_shard_bytes=40)
    assert [[tensor.name for tensor in shard.tensors] for shard in shards] == [["0", "1"], ["2"], ["3", "4"]]
    assert shards[0].name == "model-00001-of-00003.safetensors"


def test_a_file_that_cannot_be_written_is_an_error_not_a_wait(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "model.safetensors").symlink_to(full)
    with pytest.raises(OSError, match="space"):
        write(tmp_path, plan_shards(planned(TENSORS), 0), TENSORS | {"a": torch.zeros(1 << 20)})
