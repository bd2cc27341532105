"""The llama-cpp-python that all of this was tried with, for those whose version is too different."""

TRIED = "0.3.36"
INSTALL = f"Run: pip install llama-cpp-python=={TRIED}"
