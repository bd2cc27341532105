"""Configs, facts and answers for planner tests; and the program, begun where its model is converted."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest
from filelock import FileLock

from llmcourse.core.artifact import Artifact, OutputFile
from llmcourse.core.config import validate
from llmcourse.core.documents import parse
from llmcourse.core.model import ModelFacts, ModelRef, Tensor
from llmcourse.core.plan import Facts, FileFacts, Plan, Status
from llmcourse.core.progress import Progress
from llmcourse.quantize_gguf.config import Config
from llmcourse.quantize_gguf.converter.source import fetch_converter
from llmcourse.quantize_gguf.plan import plan
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli, Result, as_user
from tests.planner_facts import LAPTOP, llama_on_the_hub

TYPES = ("Q8_0", "Q4_K_M")


def config(text: str) -> Config:
    """A config as it would be read from the file g.yaml of the current folder."""
    return validate(Config, Config.arrange(parse(dedent(text), "g.yaml"), Path.cwd()))


def model(name: str = "org/tiny", **changes: Any) -> ModelFacts:
    """One with a tokenizer of SentencePiece."""
    return llama_on_the_hub(name, **{"files_beside": ("tokenizer.model",)} | changes)


def adapter(name: str = "org/lora") -> ModelFacts:
    """A LoRA for org/tiny on the Hub."""
    tensors = {"lora_A.weight": Tensor((2, 4), "F32", 32, "adapter_model.safetensors")}
    files = {"adapter_model.safetensors": 32, "adapter_config.json": 10}
    return ModelFacts(
        ModelRef.parse(name), "d" * 40, {"base_model_name_or_path": "org/tiny"}, tensors,
        ("adapter_model.safetensors",), files, {"license": "apache-2.0"}, is_adapter=True, hub_id=name,
    )  # fmt: skip


def answers(pre_tokenizer: Mapping[str, Any] | None = None, **types: Mapping[str, Any]) -> dict[str, Any]:
    """What llama.cpp and its converter say of a model; `types` by name, as `run.answer` gives them."""
    found = {"name": "default", "how": "none", "candidates": [], "matches": None} | dict(pre_tokenizer or {})
    return {
        "architecture": "llama",
        "tokenizer_model": "llama",
        "pre_tokenizer": found,
        "types": types,
    }


def sized(size: int, wants_imatrix: bool = False) -> dict[str, Any]:
    """What llama.cpp says of a type."""
    return {"size": size, "bits_per_weight": 4.5, "wants_imatrix": wants_imatrix}


def facts_of(read: Config, **changes: Any) -> Facts:
    """What is known: a default Llama for each model, a long text for each file, no word of llama.cpp."""
    models = {name: model(name) for name in read.models()} | dict(changes.pop("models", {}))
    files = {name: FileFacts(10_000_000, "ab" * 32) for name in read.files()} | dict(changes.pop("files", {}))
    return Facts(changes.pop("machine", LAPTOP), models, files, **changes)


def plan_of(text: str, **changes: Any) -> Plan:
    """The plan of a config; `changes` are fields of Facts."""
    read = config(text)
    return plan(read, facts_of(read, **changes))


def said(plan: Plan, status: Status = "fail") -> list[str]:
    """What the checks of one status say and advise, each as one line with the check's name before it."""
    return [
        f"{check.name}: {check.what} {check.fix}".rstrip() for check in plan.checks if check.status == status
    ]


def write_config(folder: Path, name: str = "g.yaml", **keys: Any) -> Path:
    """A config; JSON is YAML too."""
    path = folder / name
    path.write_text(json.dumps(keys, ensure_ascii=False), encoding="utf-8")
    return path


def merge_of(family: Family) -> dict[str, Any]:
    """The recipe of a merge of the tiny models."""
    parents = [{"model": str(path), "parameters": {"weight": 0.5}} for path in (family.code, family.prose)]
    return {"models": parents, "merge_method": "linear"}


def merge_manifest(folder: Path) -> bytes:
    """An llmcourse.json that says: this folder's model is a merge of ours."""
    files = [OutputFile.of(folder, path.name) for path in sorted(folder.iterdir()) if path.is_file()]
    made = Artifact("merge", ".", "f" * 64, tuple(files), {"org/a": "c" * 40}, {"mergekit": "0.1.5"}, {})
    return json.dumps(made.as_json()).encode()


def shared(factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share."""
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "quantize-gguf"
    folder.mkdir(exist_ok=True)
    return folder


def cache_of_this_run(factory: pytest.TempPathFactory) -> Path:
    """A cache whose answers are of this test run; the converter is that of everybody."""
    folder = shared(factory) / "cache"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            converter = fetch_converter(version("llama-cpp-python"), Progress(lambda _: None))
            folder.mkdir()
            (folder / "llama.cpp").symlink_to(converter.parent, target_is_directory=True)
    return folder


def program(cli: Cli, factory: pytest.TempPathFactory) -> Cli:
    """The program with the cache of this run, and a temporary folder in which nothing may be left."""
    temporary = cli.folder / "tmp"
    temporary.mkdir(exist_ok=True)
    more = {"LLMCOURSE_CACHE": str(cache_of_this_run(factory)), "TMPDIR": str(temporary)}
    return Cli(cli.folder, cli.env | more, cli.python)


def logged_in(cli: Cli, hub: LoopbackHub, user: str | None = "alice", transport: str = "lfs") -> Cli:
    """The same program as a user of a Hub."""
    other = as_user(cli, hub, user, transport)
    own = {name: cli.env[name] for name in ("LLMCOURSE_CACHE", "TMPDIR") if name in cli.env}
    return Cli(cli.folder, other.env | own, cli.python)


def staging(folder: Path, output: str = "out") -> Path:
    return folder / f".{output}.llmcourse"


def converted_once(factory: pytest.TempPathFactory, cli: Cli, family: Family) -> Path:
    """What a run leaves that was killed after the conversion of `family.base`, and its g.yaml."""
    folder = shared(factory) / "converted"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            made = Path(f"{folder}.partial")
            made.mkdir()
            write_config(made, model=str(family.base), types=list(TYPES))
            process = Cli(made, cli.env, cli.python).start("quantize-gguf", "g.yaml", "-o", "out")
            wait_for((staging(made) / "scratch" / "converted.gguf").is_file, process)
            kill(process)
            for leftover in staging(made).glob("files/*"):
                leftover.unlink()  # a quick machine may have gone further
            (staging(made) / "lock").unlink(missing_ok=True)
            shutil.rmtree(made / "hf-home", ignore_errors=True)
            made.rename(folder)
    return folder


def start_converted(factory: pytest.TempPathFactory, cli: Cli, family: Family, output: str = "out") -> None:
    """Give the program's folder a staging folder in which the conversion is done, and the config of it."""
    source = converted_once(factory, cli, family)
    shutil.copy2(source / "g.yaml", cli.folder / "g.yaml")
    shutil.copytree(staging(source), staging(cli.folder, output))


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 120) -> None:
    """Return when it is so, or the process has ended."""
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def kill(process: "subprocess.Popen[str]", signal_number: int = 9) -> int:
    """Send the signal to the program alone; every process that it started must end by itself."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal_number)
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive, [child.cmdline() for child in alive]
    return process.returncode


def digests(files: Sequence[Mapping[str, Any]], suffix: str = ".gguf") -> dict[str, str]:
    """sha256 by name, of the files of an artifact's document."""
    return {file["path"]: file["sha256"] for file in files if file["path"].endswith(suffix)}


def manifest(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "llmcourse.json").read_text(encoding="utf-8"))
    return document


def whole(folder: Path) -> bool:
    """Whether a result holds exactly what its manifest says, by hash."""
    files = manifest(folder)["files"]
    present = [file for file in files if file.get("is_local", True)]
    return bool(files) and all(
        (folder / file["path"]).is_file() and OutputFile.of(folder, file["path"]).sha256 == file["sha256"]
        for file in present
    )


def steps(result: Result) -> list[str]:
    """Names of the steps that a run with `--progress json` began, in order."""
    events = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    return [event["step"] for event in events if event["event"] == "started"]
