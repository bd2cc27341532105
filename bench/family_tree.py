"""`llmcourse family-tree` against one request at a time, on a loopback Hub that answers after 100 ms.

300 models, eight levels above the root, merges of merges.  One request at a time is what huggingface_hub's
`model_info` in a loop does, each model once; the original notebook did so with whole cards.  Both are
processes that start, import and end; ours also draws the tree.

Usage: python bench/family_tree.py [--runs N] [--folder DIR]
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import Measure, compare, main, run

from llmcourse.testing.families import ROOT, WIDTHS, seed_family
from llmcourse.testing.hub import LoopbackHub, read_log

_LATENCY_S = 0.1
_DEPTH = len(WIDTHS) - 1
_LIMIT_S = 2 * _DEPTH * _LATENCY_S + 1

_ONE_BY_ONE = """
import sys
from huggingface_hub import HfApi
api, known, waiting = HfApi(), set(), [sys.argv[1]]
while waiting:
    name = waiting.pop()
    if name in known:
        continue
    known.add(name)
    info = api.model_info(name, expand=["baseModels", "cardData", "downloads", "gated", "tags"])
    waiting += [parent["id"] for parent in (info.base_models or {}).get("models", [])]
print(len(known))
"""


def _compare(folder: Path, runs: int) -> None:
    for with_recipes in (False, True):
        root = folder / f"hub-{with_recipes}"
        shutil.rmtree(root, ignore_errors=True)
        seed_family(LoopbackHub(root), with_recipes=with_recipes)
        # In a process of its own, so that its work does not count as ours.
        command = [
            sys.executable,
            "-m",
            "llmcourse.testing.hub",
            "--root",
            str(root),
            "--latency",
            str(_LATENCY_S),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hub:
            assert hub.stdout is not None
            endpoint = json.loads(hub.stdout.readline())["endpoint"]
            try:
                _report(folder, root, endpoint, runs, with_recipes)
            finally:
                hub.terminate()


def _report(folder: Path, root: Path, endpoint: str, runs: int, with_recipes: bool) -> None:
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "NO_PROXY": "127.0.0.1"}
    env |= {"LLMCOURSE_CACHE": str(folder / "cache")}
    ours = [sys.executable, "-m", "llmcourse", "family-tree", ROOT, "-q"]

    def afresh() -> Measure:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        return run(ours, env)

    counted = _requests(root, afresh)
    mine, others = compare(afresh, lambda: run([sys.executable, "-c", _ONE_BY_ONE, ROOT], env), runs)
    again = run(ours, env)
    how = "with" if with_recipes else "no"
    print(f"{sum(WIDTHS)} models, {_DEPTH} levels up, {how} recipes beside the cards:")
    print(
        f"  ours {mine.seconds:.2f} s (limit {_LIMIT_S:.1f} s), again with kept answers {again.seconds:.2f} s"
    )
    print(f"  one at a time {others.seconds:.2f} s, {others.seconds / mine.seconds:.0f} times as long")
    print(f"  requests to the API {counted['api']}, to files {counted['files']}")


def _requests(root: Path, ours: Callable[[], Measure]) -> dict[str, int]:
    log = root / "requests.jsonl"
    log.write_text("")
    ours()
    new = read_log(log)
    files = sum("/resolve/" in record.path for record in new)
    return {"api": len(new) - files, "files": files}


if __name__ == "__main__":
    main(__doc__, _compare)
