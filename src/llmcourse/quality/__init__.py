"""How far a quantized model is from its original: perplexity and KL divergence on held-out text."""
