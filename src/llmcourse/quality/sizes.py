"""How much disk the log-probabilities of the unquantized model take; plans need it, so nothing heavy here.

Source: tools/perplexity/perplexity.cpp (process_logits): a row per token of the second half of a window, of
a scale and an offset in 32 bits and 16 bits for each entry of the vocabulary, padded to an even number.
"""

CONTEXT = 512  # tokens of a window, as llama.cpp's own tools have it


def scored_tokens(context: int) -> int:
    """Tokens of a window that are predicted with at least half of it before them."""
    return context - 1 - context // 2


def row_entries(vocabulary: int) -> int:
    """Length of a stored row, in numbers of 16 bits."""
    return vocabulary + vocabulary % 2 + 4


def base_bytes(vocabulary: int, chunks: int, context: int) -> int:
    """Bytes of all chunks of the unquantized model."""
    return chunks * scored_tokens(context) * row_entries(vocabulary) * 2
