"""Where packages come from: what pip was told, in the words of uv, which does not read pip's settings."""

import ast
import os
import subprocess
import sys

# What pip calls where packages come from -> uv's variable for it and how it separates several.
_FROM_PIP = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
}


def as_pip_finds_packages() -> tuple[dict[str, str], list[str]]:
    """pip's settings of where packages come from as uv's variables and options; uv's own variables win."""
    settings = _pip_settings()
    variables = {
        variable: separator.join(settings[name].split())
        for name, (variable, separator) in _FROM_PIP.items()
        if name in settings
    }
    if "UV_INDEX" in variables:
        # As pip: the best version of all indexes, not the best of the first that has the package.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    options = ["--no-index"] if settings.get("no-index", "").lower() in ("1", "true", "yes", "on") else []
    return {name: value for name, value in variables.items() if name not in os.environ}, options


def _pip_settings() -> dict[str, str]:
    """What pip's files and variables say, by the name of the option; nothing where there is no pip."""
    # -P: a pip.py in the current folder is none of ours.
    command = [sys.executable, "-P", "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    settings: dict[str, str] = {}
    # pip's own order: what is for all commands gives way to what is for one, and both to the environment.
    for section in ("global.", "install.", ":env:."):
        for line in listed:
            name, _, value = line.removeprefix(section).partition("=")
            if line.startswith(section):
                settings[name] = ast.literal_eval(value)
    return settings
