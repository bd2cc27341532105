"""mergekit's own kinds of refusal: found in the plan, with both sentences, before any weight is sent."""

import pytest

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import CODE_ID, Family, build_random_llama
from llmcourse.testing.plugin import Cli, Result, as_user
from tests.tiny_configs import tiny_configs

SLERP = tiny_configs("merge") / "slerp.yaml"
LINEAR = tiny_configs("merge") / "linear.yaml"


def refused(result: Result, hub: LoopbackHub, exit_code: int = 4) -> str:
    """What every refusal has: its exit code, sentences, no traceback, no weights sent, nothing made."""
    assert result.exit_code == exit_code, result.stderr
    assert "error: " in result.stderr and "fix: " in result.stderr and "Traceback" not in result.stderr
    assert hub.weight_bytes_served() == 0
    assert not [request for request in hub.requests if request.method in ("POST", "PUT", "DELETE")]
    return result.stderr


@pytest.mark.parametrize(
    ("override", "code", "sentence", "fix"),
    [
        ("merge_method=dare-ties", 2, "'dare-ties' is no merge method", "Did you mean 'dare_ties'?"),
        ("slices.0.sources.0.layer_range=[0, 40]", 4, "Layers 0 to 40 of", "inside [0, 4]"),
        ("slices.0.sources.0.layer_range=[3, 1]", 2, "layer_range [3, 1] has no layers", "Write the first"),
        ("base_model=null", 2, "slerp needs a base_model", "Add base_model"),
        ("parameters.t=half", 2, "t is 'half', which is no number", "Write a number"),
        ("dtype=bf16", 2, "dtype 'bf16' is not known", "bfloat16"),
        (
            "slices.0.sources.1.model=llmcourse-demo/tiny-lama",
            4,
            "There is no llmcourse-demo/tiny-lama on the Hub",
            "Check the name",
        ),
        (
            "slices.0.sources.1.model=llmcourse-demo/tiny-llama@v9",
            4,
            "llmcourse-demo/tiny-llama@v9 does not exist",
            "branches and tags",
        ),
    ],
)
def test_refused_before_any_weight_is_sent(
    override: str, code: int, sentence: str, fix: str, llmcourse: Cli, demo_hub: LoopbackHub
) -> None:
    stderr = refused(as_user(llmcourse, demo_hub)("merge", SLERP, override), demo_hub, code)
    assert sentence in stderr and fix in stderr


def test_all_problems_are_shown_at_once(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    result = as_user(llmcourse, demo_hub)(
        "merge", SLERP, "slices.0.sources.0.layer_range=[0, 40]", "dtype=bf16", "parameters.t=half"
    )
    stderr = refused(result, demo_hub, exit_code=2)
    assert stderr.count("error: ") == 3


def test_a_dry_run_ends_with_the_code_of_the_run(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    alice = as_user(llmcourse, demo_hub)
    assert alice("merge", SLERP, "--dry-run").exit_code == 0
    broken = alice("merge", SLERP, "dtype=bf16", "--dry-run", "--json")
    assert broken.exit_code == broken.json["exit_code"] == 2
    assert demo_hub.weight_bytes_served() == 0


def test_mismatched_shapes_name_the_tensor_and_both_models(
    llmcourse: Cli, demo_hub: LoopbackHub, family: Family
) -> None:
    wide = llmcourse.folder / "wide"
    build_random_llama(wide, hidden=512, layers=4, intermediate=512, vocab=2000, tokenizer_from=family.base)
    demo_hub.repo("alice/wide").add_files({path.name: path for path in wide.iterdir()})
    result = as_user(llmcourse, demo_hub)("merge", LINEAR, "models.1.model=alice/wide")
    stderr = refused(result, demo_hub)
    assert "is " in stderr and "alice/wide" in stderr and CODE_ID in stderr


def test_a_gated_model_says_where_to_ask(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    demo_hub.repo(CODE_ID).gate("manual", allowed=["bob"])
    stderr = refused(as_user(llmcourse, demo_hub)("merge", LINEAR), demo_hub)
    assert f"{CODE_ID} is gated" in stderr and f"{demo_hub.endpoint}/{CODE_ID}" in stderr
    allowed = as_user(llmcourse, demo_hub, "bob")("merge", LINEAR, "--dry-run")
    assert allowed.exit_code == 0, allowed.stdout


def test_a_private_model_looks_missing_without_access(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    demo_hub.repo(CODE_ID).set_private(True)
    stderr = refused(as_user(llmcourse, demo_hub, None)("merge", LINEAR), demo_hub)
    assert "There is no" in stderr and "hf auth login" in stderr


def test_pickled_weights_need_to_be_asked_for(llmcourse: Cli, demo_hub: LoopbackHub, family: Family) -> None:
    files = {path.name: path for path in family.code.iterdir() if path.suffix != ".safetensors"}
    demo_hub.repo("alice/pickled").add_files({**files, "pytorch_model.bin": b"pickle"})
    stderr = refused(as_user(llmcourse, demo_hub)("merge", LINEAR, "models.0.model=alice/pickled"), demo_hub)
    assert "can run code" in stderr and "allow_pickle=true" in stderr


def test_a_hostile_shard_index_is_refused(llmcourse: Cli, demo_hub: LoopbackHub, family: Family) -> None:
    files = {path.name: path for path in family.code.iterdir() if path.suffix != ".safetensors"}
    index = b'{"weight_map": {"model.norm.weight": "../../etc/passwd"}}'
    demo_hub.repo("alice/hostile").add_files({**files, "model.safetensors.index.json": index})
    stderr = refused(as_user(llmcourse, demo_hub)("merge", LINEAR, "models.0.model=alice/hostile"), demo_hub)
    assert "outside its own folder" in stderr


@pytest.mark.parametrize(
    ("user", "repo", "sentence"),
    [
        ("reader", "alice/merged", "may only read"),
        ("expired", "alice/merged", "refused your token"),
        ("alice", "bob/merged", "may not write to bob"),
        (None, "alice/merged", "no Hub token to push with"),
    ],
)
def test_a_push_that_could_not_work_is_refused_before_the_merge(
    user: str | None, repo: str, sentence: str, llmcourse: Cli, demo_hub: LoopbackHub
) -> None:
    result = as_user(llmcourse, demo_hub, user)("merge", LINEAR, "--push", repo)
    assert sentence in refused(result, demo_hub)


def test_a_push_target_with_another_model_needs_force(
    llmcourse: Cli, demo_hub: LoopbackHub, family: Family
) -> None:
    demo_hub.repo("alice/taken").add_files({"model.safetensors": family.base / "model.safetensors"})
    demo_hub.clear_requests()
    alice = as_user(llmcourse, demo_hub)
    stderr = refused(alice("merge", LINEAR, "--push", "alice/taken", "-o", "out"), demo_hub)
    assert "holds another model already" in stderr and "--force" in stderr
    forced = alice("merge", LINEAR, "--push", "alice/taken", "-o", "out", "--force")
    assert forced.exit_code == 0, forced.stderr


def test_offline_says_what_is_not_cached(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    alice = as_user(llmcourse, demo_hub)
    missing = alice("merge", LINEAR, env={"HF_HUB_OFFLINE": "1"})
    assert missing.exit_code == 4 and "not in the local cache" in missing.stderr
    assert alice("merge", LINEAR, "-o", "out").exit_code == 0
    assert alice("merge", LINEAR, "-o", "again", env={"HF_HUB_OFFLINE": "1"}).exit_code == 0
