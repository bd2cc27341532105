"""Quantize a model to GPTQ (or AWQ) with gptqmodel, or to GPTQ with auto-gptq as it was."""
