"""Products of matrices in 16 bits, on processors that have no instructions for them (AVX2 and less)."""

from collections.abc import Callable
from functools import wraps

import torch

Product = Callable[..., torch.Tensor]


def multiply_in_32_bits() -> None:
    """Have this process compute such products in 32 bits and round once, where oneDNN cannot do better.

    torch's own way there is a loop over single numbers, four times slower than the widening.  Sums are in
    32 bits either way; their order differs, so that one result in some thousands is rounded the other way.
    """
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    torch.nn.functional.linear = _widened(torch.nn.functional.linear)
    torch.matmul = _widened(torch.matmul)


def _widened(product: Product) -> Product:
    @wraps(product)
    def widened(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        more = () if bias is None else (bias,)
        if left.device.type != "cpu" or left.dtype not in (torch.bfloat16, torch.float16):
            return product(left, right, *more)
        return product(left.float(), right.float(), *(each.float() for each in more)).to(left.dtype)

    return widened
