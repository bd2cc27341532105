"""Parameters of models whose weights are packed."""

import pytest

from llmcourse.core.parameters import parameter_count


def packed(rows: int, columns: int, bits: int, group: int) -> dict[str, int]:
    """What GPTQ makes of a matrix [columns, rows]: packed weights, zero points, scales, order of groups."""
    groups = 1 if group < 1 else rows // group
    words = rows * columns * bits // 32 + groups * columns * bits // 32 + rows
    return {"I32": words, "BF16": groups * columns}


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("group", [32, 128, -1])
def test_a_packed_matrix_counts_as_the_matrix(bits: int, group: int) -> None:
    counted = parameter_count(
        packed(4096, 4096, bits, group), {"quant_method": "gptq", "bits": bits, "group_size": group}
    )
    assert counted == pytest.approx(4096 * 4096, rel=5e-3)


def test_what_is_not_packed_is_counted_as_it_is() -> None:
    numbers = {"I32": 10, "BF16": 1_000}
    assert parameter_count(numbers, {}) == 1_010
    assert parameter_count(numbers, {"quant_method": "fp8", "bits": 8}) == 1_010
    assert parameter_count(numbers, {"quant_method": "gptq", "bits": "four"}) == 1_010
    assert parameter_count({}, {"quant_method": "gptq", "bits": 4}) == 0
