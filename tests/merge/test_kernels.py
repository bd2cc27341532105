"""Parity of the fast kernels with mergekit's own code, which runs on the same inputs in each test."""

import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from mergekit.merge_methods import registry
from mergekit.merge_methods.base import MergeMethod, TensorGroup

from llmcourse.merge import kernels
from llmcourse.merge.kernels import keep_freed_memory, selection, use_fast_kernels
from llmcourse.merge.kernels.chunks import sum_as_threads_do
from llmcourse.merge.kernels.selection import select_first_of_sort, sort_is_followed

NAMES = ["dare_linear", "dare_ties", "linear", "slerp", "task_arithmetic", "ties"]
ORIGINALS: dict[str, MergeMethod] = {name: registry.get(name) for name in NAMES}
SHAPES = [(), (1,), (7,), (0,), (3, 5, 7), (2048,), (100, 333), ((1 << 18) + 1,)]
BITS = {
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


@pytest.fixture(autouse=True)
def fast_kernels() -> Iterator[tuple[str, ...]]:
    """Install the kernels; afterwards restore mergekit's methods and the thread count."""
    threads = torch.get_num_threads()
    yield use_fast_kernels()
    registry._METHODS.update(ORIGINALS)
    torch.set_num_threads(threads)


def draw_tensors(
    seed: int, count: int, shape: tuple[int, ...], dtype: torch.dtype, kind: str
) -> list[torch.Tensor]:
    """Return `count` related tensors: smooth deltas, few distinct deltas, mostly zero or not finite."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator) * 0.02
    tensors = [base if kind != "tied" else torch.zeros(shape)]
    for _ in range(count - 1):
        delta = torch.randn(shape, generator=generator) * 0.004
        if kind == "tied":
            delta = torch.randint(-3, 4, shape, generator=generator) * 2.0**-7
        if kind == "sparse":
            delta = delta * (torch.rand(shape, generator=generator) < 0.3)
        tensors.append(tensors[0] + delta)
    if kind == "special":
        for value in (float("nan"), float("inf"), -float("inf"), 1e-40, -0.0, 6e4):
            for tensor in tensors:
                tensor[torch.rand(shape, generator=generator) < 0.01] = value
    return [tensor.to(dtype) for tensor in tensors]


def draw_parameters(name: str, group: TensorGroup, choose: random.Random) -> dict[str, Any]:
    weights, densities = [1, 0.3, -0.5, 0, 0.25, 0.7], [0, 0.1, 0.5, 0.53, 0.9, 0.999, 1, 1.5]
    if name == "slerp":
        return {"t": choose.choice([0, 1, 0.5, 0.3])}
    entries = group.entries if name == "linear" else group.non_base
    parameters: dict[str, Any] = {
        "weight": {entry.id: choose.choice(weights) for entry in entries},
        "normalize": choose.random() < 0.5,
    }
    if name != "linear":
        parameters["density"] = {entry.id: choose.choice(densities) for entry in entries}
        parameters["rescale"] = choose.random() < 0.5
        parameters["int8_mask"] = choose.random() < 0.5
        parameters["lambda"] = choose.choice([1, 0.5, 1.3])
    return parameters


def merge(
    method: MergeMethod, group: TensorGroup, parameters: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the merged tensor and the state of torch's generator after it."""
    torch.manual_seed(7)
    (result,) = method((group,), parameters=parameters)
    return result, torch.get_rng_state()


def assert_same_bits(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Those of a NaN too: comparing bytes is how one compares files."""
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    bits = BITS[expected.dtype]
    assert torch.equal(actual.contiguous().view(bits), expected.contiguous().view(bits))


def assert_parity(name: str, tensors: list[torch.Tensor], seed: int) -> None:
    choose = random.Random(seed)
    base_index = choose.randrange(len(tensors))
    group = TensorGroup.from_tensors(tensors, base_index=base_index)
    parameters = draw_parameters(name, group, choose)
    copies = [tensor.clone() for tensor in tensors]
    expected, expected_state = merge(ORIGINALS[name], group, parameters)
    actual, state = merge(registry.get(name), group, parameters)
    assert_same_bits(actual, expected)
    assert torch.equal(state, expected_state)
    for tensor, copy in zip(tensors, copies, strict=True):
        assert_same_bits(tensor, copy)


@pytest.mark.slow
def test_import_defers_what_a_usual_merge_does_not_use() -> None:
    """In a process of its own, as this one has imported everything already."""
    program = """
        import sys
        from llmcourse.merge.imports import import_mergekit
        import_mergekit()
        import mergekit.common, mergekit.merge, mergekit.plan
        assert not {"peft", "accelerate", "sympy", "scipy", "transformers.modeling_utils"} & set(sys.modules)
        auto_class = mergekit.common.get_auto_cls("T5ForConditionalGeneration")
        assert auto_class.__name__ == "AutoModelForSeq2SeqLM", auto_class
        assert mergekit.common.peft.PeftModel.__module__ == "peft.peft_model"
        from mergekit.architecture import infer_architecture_info
        from mergekit.architecture.auto import infer_architecture_info as real
        assert real is not infer_architecture_info and real.__module__ == "mergekit.architecture.auto"
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_methods_are_replaced_with_mergekits_specs(fast_kernels: tuple[str, ...]) -> None:
    assert sorted(fast_kernels) == NAMES
    for name in NAMES:
        assert registry.get(name) is not ORIGINALS[name]
        assert registry.get(name).spec is ORIGINALS[name].spec


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_random_tensors_merge_to_the_same_bits(name: str, dtype: torch.dtype, threads: int) -> None:
    torch.set_num_threads(threads)
    for number, shape in enumerate(SHAPES):
        seed = number + len(SHAPES) * threads + 100 * NAMES.index(name)
        kind = ("smooth", "tied", "sparse", "special")[(seed + dtype.itemsize) % 4]
        count = 2 if name == "slerp" else (2, 3, 4, 6)[seed % 3 if number > 5 else seed % 4]
        assert_parity(name, draw_tensors(seed, count, shape, dtype, kind), seed)


@pytest.mark.parametrize("kind", ["smooth", "tied"])
@pytest.mark.parametrize("name", NAMES)
def test_large_tensors_merge_to_the_same_bits(name: str, kind: str) -> None:
    count = 2 if name == "slerp" else 3
    assert_parity(name, draw_tensors(1, count, (1201, 1031), torch.bfloat16, kind), seed=5)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_kernels_do_not_take_goes_to_mergekit(name: str) -> None:
    float64 = [tensor.double() for tensor in draw_tensors(2, 2, (20, 30), torch.float32, "smooth")]
    strided = [tensor.t() for tensor in draw_tensors(2, 2, (20, 30), torch.float32, "smooth")]
    for tensors in (float64, strided):
        group = TensorGroup.from_tensors(tensors, base_index=0)
        parameters = draw_parameters(name, group, random.Random(1))
        expected, _ = merge(ORIGINALS[name], group, parameters)
        assert_same_bits(merge(registry.get(name), group, parameters)[0], expected)


def test_negative_density_fails_as_in_mergekit() -> None:
    group = TensorGroup.from_tensors(draw_tensors(3, 2, (8,), torch.bfloat16, "smooth"), base_index=0)
    parameters = {"weight": 1, "density": -0.5}
    with pytest.raises(RuntimeError) as expected:
        merge(ORIGINALS["dare_ties"], group, parameters)
    with pytest.raises(RuntimeError) as actual:
        merge(registry.get("dare_ties"), group, parameters)
    assert str(actual.value) == str(expected.value)


def test_base_alone_is_returned_unchanged() -> None:
    (base,) = draw_tensors(4, 1, (9, 9), torch.bfloat16, "smooth")
    result, _ = merge(registry.get("ties"), TensorGroup.from_tensors([base], base_index=0), {"weight": {}})
    assert torch.equal(result, base)


@pytest.mark.parametrize("block_length", [8, 1 << 16])
def test_selection_keeps_what_the_sort_keeps(block_length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_BLOCK_LENGTH", block_length)
    draw = np.random.default_rng(0)
    followed = 0
    for round_ in range(600):
        size = int(draw.integers(1, 3000))
        patterns = (
            draw.integers(0, draw.integers(2, 60), size),
            draw.integers(0, 30000, size),
            np.arange(size) // 3,
            np.arange(size)[::-1] // 3,
            np.where(draw.random(size) < 0.6, 0, draw.integers(0, 30, size)),
        )
        keys = patterns[round_ % 5].astype(np.int16)
        k = int(draw.integers(1, size + 1))
        kept = torch.argsort(torch.from_numpy(keys).float(), descending=True)[:k].numpy()
        found = select_first_of_sort(keys.copy(), k)
        if found is not None:
            followed += 1
            assert found[0] == keys[kept[-1]]
            assert np.array_equal(np.sort(found[1]), np.sort(kept[keys[kept] == found[0]]))
    assert followed > 400


@pytest.mark.parametrize("values", [20, 3000, 32000])
def test_selection_keeps_what_the_sort_keeps_in_a_large_tensor(values: int) -> None:
    keys = np.random.default_rng(values).integers(0, values, 5_000_001).astype(np.int16)
    kept = torch.argsort(torch.from_numpy(keys).float(), descending=True)[: keys.size // 2].numpy()
    found = select_first_of_sort(keys.copy(), keys.size // 2)
    assert found is not None
    assert np.array_equal(np.sort(found[1]), np.sort(kept[keys[kept] == found[0]]))


def test_selection_gives_up_where_the_sort_turns_to_heapsort() -> None:
    organ_pipe = np.concatenate([np.arange(20_000), np.arange(20_000)[::-1]]).astype(np.int16)
    assert select_first_of_sort(organ_pipe, 20_000) is None


def test_ties_falls_back_where_the_sort_turns_to_heapsort() -> None:
    ramp = torch.arange(20_000, dtype=torch.float32) * 1e-4
    assert_parity("ties", [torch.zeros(40_000), torch.cat([ramp, ramp.flip(0)])], seed=0)


@pytest.mark.parametrize("versions", [("0.1.4", "2.13.0"), ("0.1.5", "2.12.1")])
def test_unproven_versions_keep_mergekits_methods(
    versions: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry._METHODS.update(ORIGINALS)
    monkeypatch.setattr(kernels, "version", lambda _package: versions[0])
    monkeypatch.setattr(torch, "__version__", versions[1])
    assert use_fast_kernels() == ()
    assert all(registry.get(name) is ORIGINALS[name] for name in NAMES)


def test_another_sort_keeps_mergekits_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    registry._METHODS.update(ORIGINALS)
    monkeypatch.setattr(selection, "_INSERTION_SORT_LENGTH", 32)
    assert not sort_is_followed()
    assert "ties" not in use_fast_kernels()
    assert registry.get("ties") is ORIGINALS["ties"]


def test_keeping_freed_memory_changes_no_result() -> None:
    keep_freed_memory()
    assert_parity("slerp", draw_tensors(6, 2, (1000, 1000), torch.bfloat16, "smooth"), seed=1)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [1, 32767, 32768, 65537, 777777, 1 << 20])
def test_a_sum_in_one_thread_has_the_bits_of_a_sum_in_many(length: int, threads: int) -> None:
    values = torch.randn(1, length, generator=torch.Generator().manual_seed(length))
    torch.set_num_threads(threads)
    expected = values.sum(dim=1)
    torch.set_num_threads(1)
    assert torch.equal(sum_as_threads_do(values, threads), expected)
