"""For each extra the smallest job that needs it, as command lines for a folder that has two tiny models."""

from dataclasses import dataclass
from pathlib import Path

from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli

TEXT = "One sentence follows the other, and each of them says a little less than the one before it. " * 400
RECIPE = "models: [{model: ./code}, {model: ./prose}]\nmerge_method: linear\nparameters: {weight: 0.5}\n"
GGUF = "model: ./code\ntypes: [Q4_0]\n"
GPTQ = "model: ./code\nbits: 4\ncalibration: {text: text.txt, samples: 16, length: 128}\n"
EXL2 = "model: ./code\nbits_per_weight: [4.0]\ncalibration: {text: text.txt, length: 128}\n"
FILES = {"m.yaml": RECIPE, "g.yaml": GGUF, "q.yaml": GPTQ, "e.yaml": EXL2, "text.txt": TEXT}


@dataclass(frozen=True)
class Job:
    """`refused` has the places of a plan's refusals where this machine cannot do the job at all."""

    arguments: tuple[str, ...]
    exit_code: int = 0
    refused: frozenset[str] = frozenset()


def evaluation(more: str = "") -> str:
    # Many processors compute in 16 bits many times slower than in 32.
    return f"model: ./code\nsuite: tiny\nruntime: {{dtype: float32, limit: 4, batch_size: 4}}\n{more}"


JOBS = {
    "merge": Job(("merge", "m.yaml", "-o", "merge")),
    "gguf": Job(("quantize-gguf", "g.yaml", "-o", "gguf")),
    "gptq": Job(("quantize-gptq", "q.yaml", "-o", "gptq")),
    "exl2": Job(("quantize-exl2", "e.yaml", "--dry-run"), 3, frozenset({"GPU"})),
    "eval": Job(("autoeval", "t.yaml", "-o", "eval")),
    "ray": Job(("autoeval", "r.yaml", "-o", "ray")),
    "runpod": Job(("autoeval", "p.yaml", "--dry-run"), 4, frozenset({"runpod", "runpod.results"})),
    "tree": Job(("family-tree", "./code", "--offline", "-o", "family.svg")),
}
FILES |= {
    "t.yaml": evaluation(),
    "r.yaml": evaluation("engine: ray\nray: {workers: 1}\n"),
    "p.yaml": evaluation("engine: runpod\nrunpod: {gpu: [NVIDIA L4], max_cost_usd: 1, max_hours: 1}\n"),
}
# The extra leaderboard is for tasks whose data only the Hub has; their code is here.
LEADERBOARD = (
    "from lm_eval.tasks.leaderboard.ifeval import utils; from lm_eval.tasks.leaderboard.math import utils"
)


def lay(folder: Path, family: Family) -> None:
    """The configs, and the models as folders of this place."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "code").symlink_to(family.code)
    (folder / "prose").symlink_to(family.prose)


def program(llmcourse: Cli, python: str, family: Family) -> Cli:
    """The program of that environment, where the configs and the models lie."""
    folder = llmcourse.folder / "work"
    folder.mkdir()
    lay(folder, family)
    env = {**llmcourse.env, "PYTHONPATH": "", "RUNPOD_API_KEY": ""}
    # In a new environment, each library that is imported is compiled first.
    return Cli(folder, env, python, timeout=1200)


def carry_out(cli: Cli, extra: str) -> None:
    """Does the extra's job; where this machine cannot, the plan gives that reason and misses no library."""
    job = JOBS[extra]
    if not job.refused:
        result = cli(*job.arguments)
        assert result.exit_code == 0, result.stderr
        return
    result = cli(*job.arguments, "--json")
    refused = {check["name"] for check in result.json["checks"] if check["status"] == "fail"}
    assert refused <= job.refused
    assert (result.exit_code == 0) == (not refused)
    assert "is not installed" not in result.stdout
