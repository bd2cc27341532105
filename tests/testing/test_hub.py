"""The loopback Hub against the real client, in processes of its own (it reads its endpoint at import).

Functions named `do_…` run there, with the imports of `client.PRELUDE` and nothing else.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import HfHubHTTPError

from llmcourse.testing.hub import Fault, LoopbackHub, read_log
from llmcourse.testing.hub.client import run_client, start_client

CARD = b"---\nlicense: mit\nbase_model: [acme/base, alice/other]\nbase_model_relation: merge\n---\n# m\n"
both_transports = pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_bytes(CARD)
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(safetensors(300_000))
    (folder / "sub" / "notes.txt").write_text("notes")
    return folder


def safetensors(count: int) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    return len(header).to_bytes(8, "little") + header + os.urandom(4 * count)


def count(hub: LoopbackHub, method: str, part: str) -> int:
    return sum(record.method == method and part in record.path for record in hub.requests)


def xorb_bytes(hub: LoopbackHub) -> int:
    return sum(record.request_bytes for record in hub.requests if "/v1/xorbs/" in record.path)


def do_upload(repo: str, folder: str, create_pr: bool = False) -> str:
    HfApi().create_repo(repo, exist_ok=True)
    return str(HfApi().upload_folder(repo_id=repo, folder_path=folder, create_pr=create_pr).pr_revision)


def do_whole_life(repo: str, folder: str) -> dict[str, Any]:
    api, out = HfApi(), dict[str, Any]()
    out["missing"] = api.repo_exists(repo)
    api.create_repo(repo)
    api.create_repo(repo, exist_ok=True)
    api.upload_folder(repo_id=repo, folder_path=folder, commit_message="all")
    api.upload_folder(repo_id=repo, folder_path=folder, commit_message="again")
    api.upload_file(repo_id=repo, path_in_repo="late.bin", path_or_fileobj=b"late" * 1000)
    api.create_commit(repo, [CommitOperationDelete("sub/", is_folder=True)], commit_message="less")
    adds = [CommitOperationAdd("early.bin", b"early" * 1000)]
    api.preupload_lfs_files(repo, adds)
    api.create_commit(repo, adds, commit_message="more")
    api.create_branch(repo, branch="exp/1")
    api.create_branch(repo, branch="exp/1", exist_ok=True)
    api.create_tag(repo, tag="v1")
    refs = api.list_repo_refs(repo, include_pull_requests=True)
    out["refs"] = [ref.ref for ref in [*refs.branches, *refs.tags]]
    out["commits"] = [commit.title for commit in api.list_repo_commits(repo)]
    info = api.model_info(repo, files_metadata=True, securityStatus=True)
    out["tags"], out["scanned"] = info.tags, (info.security_repo_status or {})["scansDone"]
    out["sizes"] = {file.rfilename: file.size for file in info.siblings or []}
    tree = api.list_repo_tree(repo, recursive=True, expand=True, revision="exp/1")
    out["tree"] = {item.path: item.last_commit.title for item in tree if item.last_commit}
    out["paths"] = [item.path for item in api.get_paths_info(repo, ["config.json", "nowhere"])]
    out["snapshot"] = snapshot_download(repo)
    out["parameters"] = api.get_safetensors_metadata(repo).parameter_count
    api.update_repo_settings(repo, private=True, gated="auto")
    api.delete_repo(repo)
    out["left"] = api.repo_exists(repo)
    return out


@both_transports
def test_a_repository_lives_from_creation_to_deletion(hub: LoopbackHub, folder: Path, xet: bool) -> None:
    hub.settings.page_size = 2
    out = run_client(hub, do_whole_life, "acme/m", folder, xet=xet)
    weights = (folder / "model.safetensors").read_bytes()
    assert (Path(out["snapshot"]) / "model.safetensors").read_bytes() == weights
    assert (out["missing"], out["left"], out["scanned"]) == (False, False, True)
    assert out["commits"] == ["more", "less", "Upload late.bin with huggingface_hub", "all", "initial commit"]
    assert out["refs"] == ["refs/heads/main", "refs/heads/exp/1", "refs/tags/v1"]
    assert set(out["sizes"]) == {
        ".gitattributes",
        "README.md",
        "config.json",
        "model.safetensors",
        "late.bin",
        "early.bin",
    }
    assert out["sizes"]["model.safetensors"] == len(weights)
    assert out["tree"]["early.bin"] == "more" and out["tree"]["README.md"] == "all"
    assert out["paths"] == ["config.json"] and out["parameters"] == {"F32": 300_000}
    assert {"transformers", "safetensors", "text-generation", "base_model:merge:acme/base"} <= set(
        out["tags"]
    )
    assert (count(hub, "POST", "/v1/xorbs/") > 0) == xet and (count(hub, "PUT", "/lfs/") > 0) == (not xet)


def do_snapshot(repo: str, revision: str = "main") -> str:
    return snapshot_download(repo, revision=revision)


def do_download(repo: str, path: str, repo_type: str = "model") -> int:
    return Path(hf_hub_download(repo, path, repo_type=repo_type)).stat().st_size


def do_metadata(repo: str) -> int:
    return HfApi().get_safetensors_metadata(repo).parameter_count["F32"]


def test_a_restart_keeps_everything_and_serves_xet_files_plainly(tmp_path: Path, folder: Path) -> None:
    with LoopbackHub(tmp_path / "hub") as first:
        run_client(first, do_upload, "alice/m", folder)
        tokens = first.tokens
    with LoopbackHub(tmp_path / "hub") as second:
        assert second.tokens == tokens
        for xet in (True, False):
            snapshot = Path(
                run_client(second, do_snapshot, "alice/m", xet=xet, home=tmp_path / f"home-{xet}")
            )
            assert (snapshot / "model.safetensors").read_bytes() == (
                folder / "model.safetensors"
            ).read_bytes()
        assert [commit.title for commit in second.repo("alice/m").commits()][-1] == "initial commit"


def test_only_weights_beyond_the_header_count_as_weights(hub: LoopbackHub) -> None:
    hub.repo("alice/m").add_files({"model.safetensors": safetensors(300_000), "x.txt": b"x"})
    assert run_client(hub, do_metadata, "alice/m") == 300_000
    read_ahead = hub.weight_bytes_served()
    assert read_ahead < 100_001
    hub.clear_requests()
    run_client(hub, do_snapshot, "alice/m")
    assert hub.weight_bytes_served() == 1_200_000


def test_lfs_parts_are_joined(hub: LoopbackHub, folder: Path) -> None:
    hub.settings.lfs_part_bytes = 500_000
    run_client(hub, do_upload, "alice/m", folder, xet=False)
    assert count(hub, "PUT", "/lfs/part/") == 3
    assert hub.repo("alice/m").read("model.safetensors") == (folder / "model.safetensors").read_bytes()


def test_a_killed_xet_upload_sends_no_xorb_again(hub: LoopbackHub, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    for name in ("a.bin", "b.bin"):
        (big / name).write_bytes(os.urandom(2_000_000) + b"abcd" * 250_000)
    hub.faults.append(Fault("POST", "/v2/shards", sleep_s=1.0, status=503))
    process = start_client(hub, do_upload, "alice/m", big)
    while count(hub, "POST", "/v2/shards") == 0:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert xorb_bytes(hub) > 4_000_000
    hub.clear_requests()
    hub.clear_faults()
    run_client(hub, do_upload, "alice/m", big, home=tmp_path / "fresh")
    assert xorb_bytes(hub) == 0
    assert hub.repo("alice/m").read("b.bin") == (big / "b.bin").read_bytes()


def do_explore() -> dict[str, Any]:
    api = HfApi()
    info = api.model_info("acme/base", expand=["baseModels", "childrenModelCount"])
    child = api.model_info("alice/merged", expand=["baseModels"]).base_models
    both: list[str] = ["base_model:merge:acme/base", "base_model:merge:acme/other"]
    listed = {
        "children": api.list_models(filter="base_model:acme/base", sort="downloads"),
        "merges": api.list_models(filter=both),
        "wrong case": api.list_models(filter="base_model:Acme/Base"),
        "limited": api.list_models(author="alice", limit=2, expand=["tags"]),
        "searched": api.list_models(search="TUNE"),
    }
    out: dict[str, Any] = {name: sorted(model.id for model in models) for name, models in listed.items()}
    return out | {
        "counts": info.children_model_count,
        "root": info.base_models,
        "child": child,
        "id": api.model_info("ACME/base").id,
    }


def test_the_model_tree_follows_from_the_cards(hub: LoopbackHub) -> None:
    def seed(repo: str, card: str, **files: bytes) -> None:
        hub.repo(repo).add_files({"README.md": f"---\n{card}\n---\n".encode(), **files})

    hub.settings.page_size = 2
    seed("acme/base", "license: mit")
    seed("alice/merged", "base_model: [acme/base, acme/other]")
    seed("alice/tuned", "base_model: acme/base")
    seed("alice/one-parent", "base_model: acme/base\nbase_model_relation: merge")
    seed("alice/small", "base_model: acme/base", **{"m.Q4_K_M.gguf": b"GGUF"})
    seed("bob/lora", "base_model: acme/base", **{"adapter_config.json": b"{}"})
    out = run_client(hub, do_explore)
    children = ["alice/merged", "alice/one-parent", "alice/small", "alice/tuned", "bob/lora"]
    assert out["children"] == children and out["merges"] == ["alice/merged"]
    assert out["wrong case"] == [] and len(out["limited"]) == 2 and out["searched"] == ["alice/tuned"]
    assert out["counts"] == {"adapter": 1, "merge": 2, "quantized": 1, "finetune": 1}
    assert out["root"] is None and out["child"]["relation"] == "merge" and out["id"] == "acme/base"
    assert [model["id"] for model in out["child"]["models"]] == ["acme/base", "acme/other"]


def do_calls(calls: list[list[Any]], tokens: list[str | None] | None = None) -> list[Any]:
    """Call methods of the API, all of them with each token; errors are told by class, status and text."""
    out: list[Any] = []
    for token in tokens or [""]:
        for name, kwargs in calls:
            if "path_or_fileobj" in kwargs:
                kwargs = {**kwargs, "path_or_fileobj": kwargs["path_or_fileobj"].encode()}
            try:
                result = getattr(HfApi(token=False if token is None else token or None), name)(**kwargs)
                out.append(result if isinstance(result, bool | dict) else str(result))
            except (HfHubHTTPError, ValueError, ConnectionError) as error:
                response = getattr(error, "response", None)
                out.append([type(error).__name__, response and response.status_code, str(error)])
    return out


def statuses(out: list[Any]) -> list[Any]:
    return [result[1] if isinstance(result, list) else 200 for result in out]


def put(repo: str, path: str = "x.txt", content: str = "x", **more: Any) -> list[Any]:
    adds = {"repo_id": repo, "path_in_repo": path, "path_or_fileobj": content}
    return ["upload_file", {**adds, **more}]


def test_cards_the_hub_refuses_are_refused_with_a_reason(hub: LoopbackHub) -> None:
    bad = {
        "base_model: []": "not allowed to be empty",
        "base_model: ./merged": "is not valid",
        "base_model: https://huggingface.co/a/b": "is not valid",
        "tags: merge": "must be an array",
        "license: my-own": "must be one of",
    }
    hub.repo("alice/m").set_private(False)
    calls = [put("alice/m", "README.md", f"---\n{line}\n---\n") for line in bad]
    out = run_client(hub, do_calls, calls)
    assert [result[0] for result in out] == ["ValueError"] * len(bad)
    assert all(reason in result[2] for reason, result in zip(bad.values(), out, strict=True))
    hub.faults.append(Fault("POST", "/api/validate-yaml", times=None, status=200, body="{}"))
    (at_commit,) = run_client(hub, do_calls, calls[:1])
    assert at_commit[:2] == ["BadRequestError", 400] and len(hub.repo("alice/m").commits()) == 1


def test_tokens_do_what_their_role_allows(hub: LoopbackHub) -> None:
    hub.repo("alice/m").set_private(True)
    create = [["create_repo", {"repo_id": repo}] for repo in ("acme/n", "alice/n")]
    access = ["auth_check", {"repo_id": "alice/m"}]
    calls = [*create, put("alice/m"), access, ["auth_check", {"repo_id": "alice/m", "write": True}]]

    users = ("reader", "fine", "bob", "expired", None, "alice")
    out = statuses(run_client(hub, do_calls, calls, [user and hub.tokens[user] for user in users], user=None))
    answers = {user: out[5 * n : 5 * n + 5] for n, user in enumerate(users)}
    assert answers == {
        "reader": [403, 403, 403, 200, 403],
        "fine": [200, 403, 403, 200, 403],
        "bob": [403, 403, 404, 404, 404],
        "expired": [401] * 5,
        None: [401] * 5,
        "alice": [409, 200, 200, 200, 200],
    }
    (whoami,) = run_client(hub, do_calls, [["whoami", {}]], user="fine")
    assert whoami["auth"]["accessToken"]["fineGrained"]["scoped"][1]["entity"]["name"] == "acme"


def test_gated_and_private_repositories_open_only_for_their_readers(hub: LoopbackHub) -> None:
    for repo in ("alice/gated", "alice/private"):
        hub.repo(repo).add_files({"x.txt": b"x"})
    hub.repo("alice/gated").gate("manual", allowed=["carol"])
    hub.repo("alice/private").set_private(True)
    hub.add_user("carol")
    file = [
        ["hf_hub_download", {"repo_id": repo, "filename": "x.txt"}]
        for repo in ("alice/gated", "alice/private")
    ]
    info = [["model_info", {"repo_id": "alice/gated"}], ["repo_exists", {"repo_id": "alice/private"}]]

    # Those who may read last: the client gives what it has cached even to those who may not.
    users = (None, "bob", "carol", "alice")
    tokens = [user and hub.tokens[user] for user in users]
    out = run_client(hub, do_calls, file + info, tokens, user=None)
    said = [result[0] if isinstance(result, list) else result is not False for result in out]
    gated, missing = "GatedRepoError", "RepositoryNotFoundError"
    assert [said[n : n + 4] for n in range(0, 16, 4)] == [
        [gated, missing, True, False],
        [gated, missing, True, False],
        [True, missing, True, False],
        [True] * 4,
    ]


@both_transports
def test_a_pull_request_leaves_main_alone(hub: LoopbackHub, folder: Path, xet: bool) -> None:
    hub.repo("alice/m").add_files({"x.txt": b"x"})
    assert run_client(hub, do_upload, "alice/m", folder, True, xet=xet) == "refs/pr/1"
    assert "README.md" in hub.repo("alice/m").files("refs/pr/1")
    assert "README.md" not in hub.repo("alice/m").files()


def test_a_stale_parent_is_refused(hub: LoopbackHub) -> None:
    parent = hub.repo("alice/m").add_files({"x.txt": b"1"}).oid
    calls = [put("alice/m", "y.txt", text, parent_commit=parent) for text in ("2", "3")]
    first, second = run_client(hub, do_calls, calls)
    assert "/commit/" in first or "blob" in first
    assert second[1] == 412


def test_dataset_files_can_be_downloaded(hub: LoopbackHub) -> None:
    hub.repo("alice/d", "dataset").add_files({"data/train.parquet": b"P" * 1000})
    assert run_client(hub, do_download, "alice/d", "data/train.parquet", "dataset") == 1000


def test_uploads_survive_rate_limits_errors_and_resets(hub: LoopbackHub, folder: Path) -> None:
    faults = [
        Fault("POST", "/preupload/", status=429, headers={"Retry-After": "0"}),
        Fault("PUT", "/lfs/object/", status=500),
        Fault("PUT", "/lfs/object/", drop_upload_after_bytes=400_000, reset=True),
    ]
    hub.faults.extend(faults)
    run_client(hub, do_upload, "alice/m", folder, xet=False)
    puts = [record for record in hub.requests if record.method == "PUT"]
    assert [record.status for record in puts] == [500, 0, 200]
    assert puts[1].request_bytes == 400_000 and count(hub, "POST", "/preupload/") == 2
    assert hub.repo("alice/m").read("model.safetensors") == (folder / "model.safetensors").read_bytes()


def test_xet_transfers_survive_errors_and_cuts(hub: LoopbackHub, folder: Path) -> None:
    hub.faults.append(Fault("POST", "/v1/xorbs/", status=500))
    hub.faults.append(Fault("POST", "/v1/xorbs/", drop_upload_after_bytes=400_000))
    hub.faults.append(Fault("GET", "/xorb-data/", drop_download_after_bytes=400_000))
    run_client(hub, do_upload, "alice/m", folder)
    snapshot = Path(run_client(hub, do_snapshot, "alice/m"))
    assert (snapshot / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    xorbs = [record.status for record in hub.requests if "/v1/xorbs/" in record.path]
    assert xorbs == [500, 0, 200] and hub.weight_bytes_served() > 1_600_000


def do_download_twice(repo: str, path: str) -> list[Any]:
    first = Path(hf_hub_download(repo, path)).stat().st_size
    try:
        return [first, hf_hub_download(repo, path, force_download=True)]
    except Exception as error:
        return [first, type(error).__name__]


def test_a_download_resumes_after_an_orderly_close_but_not_after_a_reset(hub: LoopbackHub) -> None:
    size, cut, kept = 24_000_000, 23_000_000, 2 * 10_485_760  # the client keeps whole blocks of 10 MiB
    hub.repo("alice/m").add_files({"m.bin": os.urandom(size)})
    hub.faults.append(Fault("GET", "/resolve/", drop_download_after_bytes=cut))
    hub.faults.append(Fault("GET", "/resolve/", skip=1, drop_download_after_bytes=cut, reset=True))
    first, second = run_client(hub, do_download_twice, "alice/m", "m.bin")
    gets = [record for record in hub.requests if record.method == "GET" and "/resolve/" in record.path]
    assert first == size and second == "ReadError"
    assert [record.response_bytes for record in gets] == [cut, size - kept, cut]
    assert gets[1].headers["range"] == f"bytes={kept}-"
    assert hub.weight_bytes_served() == 2 * cut + size - kept


def do_upload_or_fail(repo: str, folder: str) -> str:
    try:
        return HfApi().upload_folder(repo_id=repo, folder_path=folder).oid
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize(("xet", "commits"), [(True, 3), (False, 2)], ids=["xet", "lfs"])
def test_a_lost_answer_leaves_the_commit(hub: LoopbackHub, folder: Path, xet: bool, commits: int) -> None:
    hub.repo("alice/m").set_private(False)
    hub.faults.append(Fault("POST", "/commit/", apply_then_drop=True))
    answer = run_client(hub, do_upload_or_fail, "alice/m", folder, xet=xet)
    assert (answer == "RemoteProtocolError") == (not xet)
    assert len(hub.repo("alice/m").commits()) == commits


def test_a_token_can_expire_on_the_way(hub: LoopbackHub) -> None:
    hub.faults.append(Fault("POST", "/commit/", expired_token=True))
    hub.repo("alice/m").set_private(False)
    out = run_client(hub, do_calls, [put("alice/m"), put("alice/m")])
    assert statuses(out) == [401, 200] and "expired" in out[0][2]


def test_the_hub_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmcourse.testing.hub", "--root", str(tmp_path), "--no-xet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        headers = {"Authorization": f"Bearer {ready['tokens']['bob']}"}
        request = urllib.request.Request(f"{ready['endpoint']}/api/whoami-v2", headers=headers)
        with urllib.request.urlopen(request) as response:
            assert json.load(response)["name"] == "bob"
        process.terminate()
    assert process.returncode == 0
    log = (tmp_path / "requests.jsonl").read_text()
    assert ready["tokens"]["bob"] not in log
    assert [(record.path, record.token) for record in read_log(tmp_path / "requests.jsonl")] == [
        ("/api/whoami-v2", "bob")
    ]
