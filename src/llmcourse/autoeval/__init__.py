"""Benchmark models with lm-eval, here, on Ray or on RunPod."""
