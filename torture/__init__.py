"""Faults on purpose, by the hundred: what the commands do when the world around them breaks.

`python -m torture` (or `make torture`) runs all of it and writes docs/reliability.md; `--only`, `--quick` and
`--seed` choose.  One module for each kind of fault; `jobs.JOBS` has a short real job for each command.
"""
