"""What people should know of llama.cpp's types: how large, how fast to make, what for.

Bits per weight and seconds are those of a Llama of 1.03 B parameters (`bench/gguf.py --types` prints
them); other shapes differ a little, and the plan's own sizes come from llama.cpp itself.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class TypeFacts:
    """`bits` per weight of the whole file; `seconds` of one core per 10⁹ parameters to make it."""

    bits: float
    seconds: float
    advice: str = ""
    wants_imatrix: bool = False


TYPES: dict[str, TypeFacts] = {
    "F32": TypeFacts(32.0, 5, "the weights without any rounding; for further conversions only"),
    "BF16": TypeFacts(16.0, 4, "as the original, where it is bfloat16"),
    "F16": TypeFacts(16.0, 5, "half precision, for backends without bfloat16"),
    "Q8_0": TypeFacts(8.5, 8, "hard to tell from the original"),
    "Q6_K": TypeFacts(6.6, 30, "very near to the original"),
    "Q5_1": TypeFacts(6.0, 12, "older format; Q5_K_M is better"),
    "Q5_K_M": TypeFacts(5.7, 48, "good quality, recommended where it fits"),
    "Q5_K_S": TypeFacts(5.6, 48, "a little smaller than Q5_K_M"),
    "Q5_0": TypeFacts(5.6, 12, "older format; Q5_K_S is better"),
    "Q4_1": TypeFacts(5.1, 10, "older format; Q4_K_M is better"),
    "Q4_K_M": TypeFacts(4.9, 52, "the usual choice: good quality for its size"),
    "Q4_K_S": TypeFacts(4.7, 52, "a little smaller than Q4_K_M"),
    "Q4_0": TypeFacts(4.7, 10, "repacked on ARM and AVX for speed"),
    "IQ4_NL": TypeFacts(4.7, 165, "like IQ4_XS, a little larger"),
    "IQ4_XS": TypeFacts(4.5, 165, "smaller than Q4_K_S at the same quality, slower on CPUs"),
    "MXFP4_MOE": TypeFacts(4.4, 30, "MXFP4 experts of a mixture, Q8_0 for the rest"),
    "Q3_K_L": TypeFacts(4.3, 30, "better than Q3_K_M where it fits"),
    "Q3_K_M": TypeFacts(4.0, 30, "noticeable loss"),
    "IQ3_M": TypeFacts(3.9, 240, "better than Q3_K_M at its size, best with an imatrix"),
    "IQ3_S": TypeFacts(3.8, 255, "better than Q3_K_S at its size, best with an imatrix"),
    "Q3_K_S": TypeFacts(3.7, 30, "large loss"),
    "IQ3_XS": TypeFacts(3.6, 240, "needs an imatrix", wants_imatrix=True),
    "IQ3_XXS": TypeFacts(3.4, 240, "needs an imatrix", wants_imatrix=True),
    "Q2_K": TypeFacts(3.2, 41, "very large loss; for those with no memory for more"),
    "Q2_K_S": TypeFacts(3.0, 41, "needs an imatrix", wants_imatrix=True),
    "IQ2_M": TypeFacts(2.9, 200, "needs an imatrix; the smallest of use", wants_imatrix=True),
    "IQ2_S": TypeFacts(2.7, 200, "needs an imatrix", wants_imatrix=True),
    "IQ2_XS": TypeFacts(2.6, 200, "needs an imatrix", wants_imatrix=True),
    "IQ2_XXS": TypeFacts(2.4, 200, "needs an imatrix", wants_imatrix=True),
    "Q2_0": TypeFacts(2.6, 10, "for models trained in two bits"),
    "TQ2_0": TypeFacts(2.4, 10, "for models trained in three values"),
    "TQ1_0": TypeFacts(2.0, 15, "for models trained in three values"),
    "IQ1_M": TypeFacts(2.1, 300, "needs an imatrix; speaks, and little more", wants_imatrix=True),
    "IQ1_S": TypeFacts(1.9, 300, "needs an imatrix; speaks, and little more", wants_imatrix=True),
    "Q1_0": TypeFacts(1.6, 10, "for models trained in one bit"),
}

# Seconds of one core to run 1,000 tokens through 10⁹ parameters: the unquantized model while it is watched,
# the same while its predictions are kept, and a type of it.  Machines keep their own (core/rates.py).
RUN_SECONDS = {"imatrix": 60.0, "original": 60.0, "compare": 40.0}

# llama-quantize's short names.
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
# llama.cpp keeps these as they are; they say how precise the file is, not how it was quantized.
UNQUANTIZED = ("F32", "BF16", "F16")
# What one tensor can be made (ggml.h's enum ggml_type, those that llama-quantize makes of others).
TENSOR_TYPES = (
    "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_1", "Q5_K", "Q5_0", "Q4_1", "Q4_K", "Q4_0", "IQ4_NL",
    "IQ4_XS", "MXFP4", "Q3_K", "IQ3_S", "IQ3_XXS", "Q2_K", "IQ2_S", "IQ2_XS", "IQ2_XXS", "TQ2_0", "TQ1_0",
    "IQ1_M", "IQ1_S",
)  # fmt: skip
# What a LoRA adapter can be written in (convert_lora_to_gguf.py --outtype).
ADAPTER_TYPES = ("F32", "F16", "BF16", "Q8_0")


def type_facts(name: str) -> TypeFacts:
    """What is known of a type; one that a newer llama.cpp brought is taken for a large, slow one."""
    return TYPES.get(name, TypeFacts(16.0, 100))
