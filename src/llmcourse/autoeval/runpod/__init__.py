"""Evaluate on pods that are rented from RunPod, within a cap, and leave none behind."""
