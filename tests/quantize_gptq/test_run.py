"""The adapter on a trained tiny model, on the CPU: bits, settings, determinism, readers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from llmcourse.core.errors import PlanError
from llmcourse.testing.models import build_random_llama
from tests.quantize_gptq.builders import Adapter, Made
from tests.quantize_gptq.test_card import card_of


def _pads_with(folder: Path) -> object:
    return json.loads((folder / "config.json").read_text()).get("pad_token_id")


@pytest.fixture(scope="module")
def quality(texts: Path) -> dict[str, object]:
    return {"text": str(texts / "held-out.txt"), "chunks": 4}


@pytest.fixture(scope="module")
def by_bits(adapter: Adapter, quality: dict[str, object]) -> dict[int, Made]:
    return {bits: adapter.run(f"bits-{bits}", bits=bits, quality=quality) for bits in (4, 2)}


def test_divergence_grows_as_bits_shrink(by_bits: dict[int, Made]) -> None:
    many, few = (by_bits[bits].quality["mean_kld"] for bits in (4, 2))
    assert 0 < many < 1e-3 and 3e-3 < few < 3e-2


@pytest.mark.slow
def test_divergence_grows_with_each_bit_less(
    by_bits: dict[int, Made], adapter: Adapter, quality: dict[str, object]
) -> None:
    more = {bits: adapter.run(f"bits-{bits}", bits=bits, quality=quality) for bits in (8, 3)}
    divergences = [(by_bits | more)[bits].quality["mean_kld"] for bits in (8, 4, 3, 2)]
    assert divergences == sorted(divergences) and 0 < divergences[0] < 1e-4


def test_perplexity_stays_near_the_original_s(by_bits: dict[int, Made]) -> None:
    for made in by_bits.values():
        assert made.quality["perplexity"] == pytest.approx(made.quality["base_perplexity"], rel=0.05)


def test_every_module_s_loss_is_there_and_grows_as_bits_shrink(by_bits: dict[int, Made]) -> None:
    def losses(bits: int) -> list[float]:
        rows = (by_bits[bits].folder / "quant_log.csv").read_text().splitlines()
        assert rows[0] == "layer,module,loss,damp,fallback" and len(rows) == 1 + 4 * 7
        return [float(row.split(",")[2]) for row in rows[1:]]

    assert sum(losses(4)) < sum(losses(2))
    assert (by_bits[4].folder / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_the_checkpoint_has_all_that_readers_look_for(by_bits: dict[int, Made], adapter: Adapter) -> None:
    made = by_bits[4]
    assert {"config.json", "model.safetensors", "quantize_config.json", "generation_config.json"} <= set(
        made.digests
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"):
        assert (made.folder / name).read_bytes() == (adapter.model / name).read_bytes()
    assert _pads_with(made.folder) == _pads_with(adapter.model)
    assert json.loads((made.folder / "config.json").read_text())["rope_theta"] == 10000.0
    assert str(adapter.folder) not in "".join(
        path.read_text() for path in made.folder.iterdir() if path.suffix in (".json", ".csv")
    )


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(
    by_bits: dict[int, Made], adapter: Adapter, quality: dict[str, object], texts: Path
) -> None:
    again = adapter.run("again", bits=4, quality=quality)
    # The losses are sums over threads, whose last digits are those of the order in which they end.
    changing = {"quant_log.csv", "layers.png"}
    assert {name for name, digest in again.digests.items() if by_bits[4].digests[name] != digest} <= changing
    calibration = {"text": str(texts / "calibration.txt"), "samples": 16, "length": 256, "seed": 1}
    other = adapter.run("other", bits=4, calibration=calibration)
    assert other.digests["model.safetensors"] != again.digests["model.safetensors"]


def test_the_loaders_that_read_it_rightly_are_recorded(by_bits: dict[int, Made]) -> None:
    for made in by_bits.values():
        assert made.files[0].about["problems"] == {"gptqmodel": "", "transformers": ""}


@pytest.mark.slow
@pytest.mark.parametrize("loader", [0, 1])
def test_the_card_s_lines_generate(loader: int, by_bits: dict[int, Made], tmp_path: Path) -> None:
    made = by_bits[4]
    about = made.files[0].about
    text = card_of("model: org/tiny", tried=about).replace("me/tiny-GPTQ", str(made.folder))
    snippet = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[loader]
    done = subprocess.run(
        [sys.executable, "-c", snippet], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    question = "What is a large language model?" if about["is_chat"] else "A large language model is"
    assert len(done.stdout.partition(question)[2]) > 20


def test_every_setting_is_found_again_in_the_result(adapter: Adapter) -> None:
    made = adapter.run(
        "settings", bits=4, group_size=64, desc_act=True, damp_percent=0.05, symmetric=False,
        modules={"down_proj": {"bits": 8}, "layers.0.": False},
    )  # fmt: skip
    found = made.settings
    assert (found["bits"], found["group_size"], found["desc_act"], found["sym"]) == (4, 64, True, False)
    assert found["meta"]["damp_percent"] == 0.05
    with safe_open(made.folder / "model.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    hidden, intermediate = shapes["model.layers.0.mlp.up_proj.weight"][::-1]
    assert not [name for name in shapes if name.startswith("model.layers.0.") and "qweight" in name]
    assert shapes["model.layers.1.mlp.up_proj.qweight"] == (hidden * 4 // 32, intermediate)
    assert shapes["model.layers.1.mlp.down_proj.qweight"] == (intermediate * 8 // 32, hidden)
    assert shapes["model.layers.1.mlp.up_proj.scales"] == (hidden // 64, intermediate)
    assert "starts over" in made.notes
    # transformers does not know that some modules are left, or have other bits.
    assert "other shapes" in made.files[0].about["problems"]["transformers"]
    assert "transformers does not read this checkpoint rightly" in made.notes


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gptq_v2", "awq"])
def test_other_methods_run_here_too(
    method: str, adapter: Adapter, quality: dict[str, object], by_bits: dict[int, Made]
) -> None:
    made = adapter.run(method, method=method, quality=quality)
    assert made.settings["quant_method"] == ("awq" if method == "awq" else "gptq")
    assert made.settings["checkpoint_format"] == ("gemm" if method == "awq" else "gptq_v2")
    assert made.quality["mean_kld"] < 0.2 * by_bits[2].quality["mean_kld"]


@pytest.mark.slow
def test_whole_rows_may_share_a_scale(adapter: Adapter) -> None:
    made = adapter.run("rows", group_size=-1)
    assert made.settings["group_size"] == -1
    assert "sample" in made.files[0].about


@pytest.mark.slow
def test_a_mock_run_goes_through_every_step_and_measures_nothing(
    adapter: Adapter, quality: dict[str, object]
) -> None:
    made = adapter.run("mock", dry_run="mock", quality=quality)
    assert "model.safetensors" in made.digests and "quality.json" not in made.digests


@pytest.mark.slow
def test_experts_that_no_text_reached_are_named_and_a_wrong_name_is_refused(
    adapter: Adapter, tmp_path: Path
) -> None:
    folder = build_random_llama(
        tmp_path / "mixture", architecture="mixtral", hidden=128, intermediate=256, layers=1,
        tokenizer_from=adapter.model,
    )  # fmt: skip
    own = Adapter(tmp_path, folder, adapter.texts)
    try:
        short = {"text": str(adapter.texts / "calibration.txt"), "samples": 1, "length": 12}
        made = own.run("rounded", calibration=short)
        assert "were only rounded" in made.notes and made.files[0].about["rounded"]
        # Experts are one tensor to transformers 5, and were fused into numbers of nobody.
        problems = made.files[0].about["problems"]
        assert not problems["gptqmodel"] and "with random numbers" in problems["transformers"]
        with pytest.raises(PlanError, match="'no_such_module' matches no module"):
            own.run("unmatched", modules={"no_such_module": {"bits": 8}})
    finally:
        own.stop()


def test_damping_that_had_to_be_raised_is_told(adapter: Adapter) -> None:
    (adapter.folder / "same.txt").write_text("a " * 20_000)
    calibration = {"text": str(adapter.folder / "same.txt"), "samples": 8, "length": 128}
    made = adapter.run("damped", damp_percent=1e-5, calibration=calibration)
    assert "damp_percent was raised for" in made.notes
    damps = {row.split(",")[3] for row in (made.folder / "quant_log.csv").read_text().splitlines()[1:]}
    assert "1e-05" in damps and len(damps) > 1


def test_the_sample_in_the_record_goes_on_after_the_prompt(by_bits: dict[int, Made]) -> None:
    about = json.loads(json.dumps(by_bits[4].files[0].about))
    assert len(about["sample"]) > len("The meaning of life is")


@pytest.mark.slow
def test_a_model_whose_head_has_another_name_is_saved(adapter: Adapter, tmp_path: Path) -> None:
    folder = build_random_llama(
        tmp_path / "neox", architecture="gpt_neox", hidden=128, intermediate=256, layers=1,
        tokenizer_from=adapter.model,
    )  # fmt: skip
    own = Adapter(tmp_path, folder, adapter.texts)
    try:
        made = own.run("made")
        assert made.files[0].about["problems"] == {"gptqmodel": "", "transformers": ""}
    finally:
        own.stop()
