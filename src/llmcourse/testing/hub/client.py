"""Runs functions in client processes of a hub: the real client reads its endpoint when it is imported.

The function travels as source text, so it can use `PRELUDE`'s imports and its own arguments only.
"""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmcourse.testing.hub.server import LoopbackHub

PRELUDE = """
from __future__ import annotations
import json, sys
from pathlib import Path
from typing import Any
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
"""
_TIMEOUT_S = 100


def start_client(
    hub: LoopbackHub,
    function: Callable[..., Any],
    *args: Any,
    user: str | None = "alice",
    xet: bool = True,
    home: Path | None = None,
) -> "subprocess.Popen[str]":
    """Start `function(*args)` as `user`; its result comes on stdout as JSON. `home` holds the caches."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    call = f"sys.stdout.write(json.dumps({function.__name__}(*json.loads(sys.argv[1]))))"
    script = "\n".join([PRELUDE, inspect.getsource(function), call])
    return subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(args, default=str)],
        env={**clean, **hub.env(user, home=home or hub.root / "client-home", xet=xet)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_client(hub: LoopbackHub, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Run `function(*args)` in a client process and return its result; options as for `start_client`.

    Raises:
        RuntimeError: the function raised; the text is the process's standard error.
    """
    with start_client(hub, function, *args, **options) as process:
        out, err = process.communicate(timeout=_TIMEOUT_S)
    if process.returncode != 0:
        raise RuntimeError(f"the client failed:\n{err}")
    return json.loads(out)
