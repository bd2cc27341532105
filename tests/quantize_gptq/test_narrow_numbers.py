"""Products in 16 bits are those of torch, but for the order of sums, whatever the processor can do."""

import pytest
import torch

from llmcourse.quantize_gptq.narrow_numbers import multiply_in_32_bits


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_products_are_those_of_torch(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right, bias = (torch.randn(*shape).to(dtype) for shape in ((2, 3, 64), (32, 64), (32,)))
    before = torch.nn.functional.linear(left, right, bias), torch.matmul(left, right.T)
    monkeypatch.setattr(torch.nn.functional, "linear", torch.nn.functional.linear)
    monkeypatch.setattr(torch, "matmul", torch.matmul)
    multiply_in_32_bits()
    after = torch.nn.functional.linear(left, right, bias), torch.matmul(left, right.T)
    for ours, its in zip(after, before, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, its, rtol=1e-2, atol=1e-2)
