"""Merge models with mergekit (Goddard et al., 2024, https://arxiv.org/abs/2403.13257)."""
