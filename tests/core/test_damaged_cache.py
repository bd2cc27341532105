"""A copy in the client's cache that is not what its hash says is never used, and is brought again."""

import hashlib
import os
from pathlib import Path

import pytest
from safetensors import deserialize

from llmcourse.core.hub.blobs import damaged
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.hub.client import run_client
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli, as_user

MODEL = "alice/tiny"


@pytest.fixture
def published(hub: LoopbackHub, family: Family) -> LoopbackHub:
    """A model of the Hub that is in the client's cache, too."""
    hub.repo(MODEL).add_files({path.name: path for path in family.base.iterdir()})
    run_client(hub, use, MODEL)
    return hub


def use(model: str, is_offline: bool = False) -> "tuple[list[str], int]":
    """Read and download it in a process of its own: what was said, and the exit code."""
    from huggingface_hub import constants

    from llmcourse.core import hub
    from llmcourse.core.errors import LlmcourseError
    from llmcourse.core.model import ModelRef
    from llmcourse.core.progress import Note, Progress

    constants.HF_HUB_OFFLINE = is_offline
    said: list[str] = []
    progress = Progress(lambda event: said.append(event.text) if isinstance(event, Note) else None)
    try:
        hub.download(hub.read_hub_model(ModelRef.parse(model), said.append), progress)
    except LlmcourseError as error:
        return [*said, error.what, error.fix], error.exit_code
    return said, 0


def cached(home: Path, name: str) -> Path:
    (path,) = home.glob(f"hub/models--alice--tiny/snapshots/*/{name}")
    return path.resolve()


def flip(blob: Path, position: int) -> None:
    """Flip a bit of the file, counted from its end if negative."""
    content = bytearray(blob.read_bytes())
    content[position] ^= 1
    blob.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "position"),
    [("model.safetensors", -5), ("model.safetensors", 9), ("config.json", 3), ("tokenizer.json", 40)],
)
def test_a_flipped_bit_is_told_by_name_and_the_file_brought_anew(
    published: LoopbackHub, family: Family, name: str, position: int
) -> None:
    blob = cached(published.root / "client-home", name)
    flip(blob, position)
    said, code = run_client(published, use, MODEL)
    assert code == 0 and len(said) == 1, said
    assert said[0].startswith(f"! {name} of {MODEL} was damaged in the cache") and "again" in said[0]
    assert blob.read_bytes() == (family.base / name).read_bytes()
    assert run_client(published, use, MODEL) == [[], 0]


def upload(model: str, folder: str) -> None:
    import huggingface_hub

    api = huggingface_hub.HfApi()
    api.create_repo(model)
    api.upload_folder(repo_id=model, folder_path=folder)


def test_what_was_published_over_xet_is_whole_and_a_flipped_bit_of_it_is_told(
    hub: LoopbackHub, family: Family
) -> None:
    """The client links its blob on to a store of all models, under Xet's hash."""
    run_client(hub, upload, MODEL, str(family.base))
    assert run_client(hub, use, MODEL) == [[], 0]
    blob = cached(hub.root / "client-home", "model.safetensors")
    assert blob.name != hashlib.sha256(blob.read_bytes()).hexdigest()
    flip(blob, -5)
    said, code = run_client(hub, use, MODEL)
    assert code == 0 and len(said) == 1, said
    assert said[0].startswith(f"! model.safetensors of {MODEL} was damaged in the cache")
    assert blob.read_bytes() == (family.base / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_offline_a_damaged_copy_is_refused_and_the_fix_helps(published: LoopbackHub, name: str) -> None:
    flip(cached(published.root / "client-home", name), -5)
    (what, fix), code = run_client(published, use, MODEL, True)
    assert code == 4 and what.startswith(f"{name} of {MODEL} is damaged in the cache")
    assert fix.startswith("Unset HF_HUB_OFFLINE")
    assert run_client(published, use, MODEL)[1] == 0
    assert run_client(published, use, MODEL, True) == [[], 0]


def test_a_header_that_changed_its_meaning_stops_the_run_and_the_next_one_is_right(
    published: LoopbackHub,
) -> None:
    blob = cached(published.root / "client-home", "model.safetensors")
    blob.write_bytes(blob.read_bytes().replace(b"model.norm.weight", b"model.norn.weight", 1))
    said, code = run_client(published, use, MODEL)
    assert code == 4 and "damaged headers" in said[-2] and said[-1] == "Run the same command again."
    assert run_client(published, use, MODEL) == [[], 0]


def test_a_merge_of_a_damaged_copy_is_the_merge_of_the_model(
    published: LoopbackHub, family: Family, llmcourse: Cli, tmp_path: Path
) -> None:
    user = as_user(llmcourse, published)
    (tmp_path / "m.yaml").write_text(
        f"merge_method: passthrough\nmodels: [{{model: {MODEL}}}]\ndtype: bfloat16\n"
    )
    home = published.root / "client-home"
    flip(cached(home, "model.safetensors"), -5)
    done = user("merge", "m.yaml", "-o", "out", env={"HF_HOME": str(home)})
    assert done.exit_code == 0 and f"! model.safetensors of {MODEL} was damaged" in done.stderr
    files = (folder / "model.safetensors" for folder in (tmp_path / "out", family.base))
    made, right = (dict(deserialize(file.read_bytes())) for file in files)  # type: ignore[no-untyped-call]
    assert made == right


def test_a_blob_is_hashed_once_for_each_inode_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCOURSE_CACHE", str(tmp_path / "cache"))
    blob = tmp_path / hashlib.sha256(b"weights").hexdigest()
    blob.write_bytes(b"weights")
    (tmp_path / "model.bin").symlink_to(blob)
    assert damaged(tmp_path, ["model.bin"]) == []
    time_ns = blob.stat().st_mtime_ns
    blob.write_bytes(b"weighty")
    os.utime(blob, ns=(time_ns, time_ns))  # what no record can see
    assert damaged(tmp_path, ["model.bin"]) == []
    os.utime(blob, ns=(time_ns, time_ns + 1))
    assert damaged(tmp_path, ["model.bin"]) == ["model.bin"]
