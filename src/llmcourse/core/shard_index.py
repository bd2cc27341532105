"""The index of a model in several files: whether it names files that are there, and what those hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmcourse.core.errors import PlanError

if TYPE_CHECKING:
    from llmcourse.core.model import ModelFiles, ModelRef

_AGAIN = "Download or copy the model again, its index and all its files from one place."


def indexed_files(ref: "ModelRef", files: "ModelFiles", weight_map: Mapping[str, Any]) -> tuple[str, ...]:
    """The weight files that an index names.

    Raises:
        PlanError: it names none, one outside the model's folder, or one that is not there.
    """
    shards = sorted({str(shard) for shard in weight_map.values()})
    if not shards:
        raise PlanError(f"The shard index of {ref} names no files.", "Download the model again.", str(ref))
    outside = [shard for shard in shards if Path(shard).name != shard or "\\" in shard]
    if outside:
        raise PlanError(
            f"The shard index of {ref} names {outside[0]!r}, outside its own folder.",
            "Do not use this model; its index is damaged or hostile.",
            where=str(ref),
        )
    absent = [shard for shard in shards if shard not in files.sizes]
    if absent:
        raise PlanError(
            f"{ref} lacks {len(absent)} of {len(shards)} weight files, {absent[0]} first.",
            "Download the model again.",
            where=str(ref),
        )
    return tuple(shards)


def check_index(ref: "ModelRef", index: str, weight_map: Mapping[str, Any], held: Mapping[str, Any]) -> None:
    """Compare an index with what its files hold: `held` has the names of the tensors in each file.

    Libraries differ in which of the two they believe, so a tensor would be lost, or looked for in vain.

    Raises:
        PlanError: a tensor is not in the file that the index names, or is in a file and not in the index.
    """
    for tensor, file in weight_map.items():
        if tensor not in held[str(file)]:
            place = next(
                (f"is in {name}" for name, names in held.items() if tensor in names), "is in no file"
            )
            raise PlanError(
                f"{index} of {ref} says that {tensor} is in {file}, and it {place}.", _AGAIN, str(ref)
            )
    for file, names in held.items():
        unnamed = next((name for name in names if name not in weight_map), None)
        if unnamed is not None:
            raise PlanError(
                f"{file} of {ref} holds {unnamed}, and {index} does not name it.", _AGAIN, str(ref)
            )
