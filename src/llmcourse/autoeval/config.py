"""What the YAML of `llmcourse autoeval` may say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from llmcourse.autoeval.suite import Task
from llmcourse.core.artifact import HubKind
from llmcourse.core.config import CommandConfig, Strict
from llmcourse.core.documents import Location
from llmcourse.core.local_paths import Kind
from llmcourse.core.model import ModelRef, expanded

Engine = Literal["local", "ray", "runpod"]


def _list_of(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _batch_size(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"batch_size cannot be {value!r} | Use a number from 1, or auto.")


class Runtime(Strict):
    """How lm-eval runs the model."""

    backend: Literal["auto", "hf", "vllm", "gguf", "gptq"] = Field("auto", description="What runs the model.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Numbers to compute in; auto takes the model's own."
    )
    batch_size: Annotated[int | Literal["auto"], BeforeValidator(_batch_size)] = Field(
        "auto", description="Sequences at once; auto finds what fits."
    )
    device: Literal["auto", "cuda", "cpu", "mps"] = Field(
        "auto", description="Where it runs; auto takes a GPU where there is one."
    )
    limit: int | None = Field(None, ge=1, description="Only so many samples a task: a trial, not a result.")
    trust_remote_code: bool = Field(False, description="Run code that the model brings.")
    apply_chat_template: bool = Field(False, description="Put prompts into the model's chat template.")
    seed: int = Field(0, description="Seed of the few-shot examples and of all chance.")


class Runpod(Strict):
    """The machine that is rented, and what it may cost."""

    gpu: Annotated[list[str], BeforeValidator(_list_of)] = Field(
        ["NVIDIA GeForce RTX 4090"],
        min_length=1,
        description="RunPod's names; of several the cheapest free one.",
    )
    gpus: int = Field(1, ge=1, le=8, description="GPUs of each pod.")
    pods: int = Field(1, ge=1, description="Pods at once; models and groups are spread over them.")
    cloud: Literal["community", "secure", "all"] = Field(
        "community", description="community (cheaper), secure, or all of both."
    )
    image: str = Field(
        "runpod/pytorch:2.8.0-py3.11-cuda12.8.1-cudnn-devel-ubuntu22.04",
        description="Container image of the pod; it needs Python, pip and CUDA.",
    )
    container_disk_gb: int = Field(
        80, ge=10, description="Disk of each pod in GB, for the model and the libraries."
    )
    max_cost_usd: float = Field(
        5, gt=0, description="Of the whole run; a plan that may cost more is refused."
    )
    max_hours: float = Field(6, gt=0, description="A pod ends itself after this, whatever happens.")
    wait: bool = Field(True, description="Stay until it has ended; else print the pods' ids.")
    pod: str | None = Field(None, description="Id of a pod that is there already; it is not terminated.")
    results: str | None = Field(
        None, description="Private data set repository through which results come back."
    )


class Ray(Strict):
    """An existing Ray cluster by its address, or one on this machine."""

    address: str | None = Field(
        None, description="Address of a running cluster; without it, one is started on this machine."
    )
    workers: int = Field(2, ge=1, description="Workers of a cluster that is started here.")
    gpus_per_task: float = Field(0, ge=0, description="GPUs, or parts of one, that each worker gets.")


class Publish(Strict):
    """Where figures go beside the result's folder."""

    hub: bool = Field(False, description="Add .eval_results and model-index to the model's repository.")
    pull_request: bool = Field(False, description="As a pull request rather than a commit.")
    gist: Literal["private", "public"] | None = Field(None, description="A GitHub gist (needs GITHUB_TOKEN).")
    leaderboard: str | None = Field(None, description="Data set repository of a leaderboard: a row a model.")
    partial: bool = Field(False, description="Publish also where some tasks failed.")


class Config(CommandConfig):
    """What is evaluated, on what, where, and where the figures go."""

    PATHS: ClassVar[Mapping[Location, Kind]] = {
        ("model",): "model", ("suite",): "suite", ("reference",): "file",
    }  # fmt: skip

    NOT_COMPUTED: ClassVar[frozenset[str]] = frozenset(
        {"output", "hub", "publish", "engine", "runpod", "ray", "reference"}
    )

    HUB_KIND: ClassVar[HubKind] = "dataset"
    PUBLISHES: ClassVar[frozenset[str]] = frozenset({"hub", "publish"})

    model: Annotated[list[str], BeforeValidator(_list_of)] = Field(
        min_length=1,
        description="Hub ids, folders, GGUF files, or - for the reference of a pipe; one or a list.",
    )
    suite: str | None = Field(None, description="nous, openllm, leaderboard, eq-bench, tiny, or a file.")
    tasks: list[Task] | None = Field(None, description="Single tasks instead of a suite.")
    engine: Engine = Field("local", description="Where it is evaluated: local, ray or runpod.")
    runtime: Runtime = Field(Runtime(), description="How lm-eval runs the model.")
    runpod: Runpod = Field(Runpod(), description="The machine that engine: runpod rents.")
    ray: Ray = Field(Ray(), description="The cluster of engine: ray.")
    publish: Publish = Field(Publish(), description="Where figures go beside the result's folder.")
    samples: bool = Field(False, description="Keep what the model answered to each sample.")
    reference: list[str] = Field([], description="Results of other models (folders) to draw beside these.")

    @model_validator(mode="before")
    @classmethod
    def _named_tasks(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("tasks"), list):
            named = [{"name": task} if isinstance(task, str) else task for task in data["tasks"]]
            return data | {"tasks": named}
        return data

    @model_validator(mode="after")
    def _one_of_suite_and_tasks(self) -> "Config":
        if (self.suite is None) == (self.tasks is None):
            raise ValueError("Give either suite or tasks | For example suite: nous, or tasks: [arc_easy].")
        return self

    @model_validator(mode="after")
    def _one_file_of_a_folder(self) -> "Config":
        for name in self.model:
            found = _gguf_files(name)
            if len(found) > 1:
                raise ValueError(
                    f"{name} holds {len(found)} GGUF files | Name one, as {name.rstrip('/')}/{found[0].name}."
                )
        return self

    def models(self) -> dict[str, ModelRef]:
        """Models in Hugging Face format; a GGUF file is one of `files`."""
        return {name: ModelRef.parse(name) for name in self.model if name not in self.gguf_files()}

    def gguf_files(self) -> dict[str, Path]:
        """Models that are GGUF files of this machine, by the name as written."""
        return {name: found[0] for name in self.model if (found := _gguf_files(name))}

    def reference_files(self) -> dict[str, Path]:
        """The figures of other results, by their folders as written."""
        return {name: expanded(name) / "results.json" for name in self.reference}

    def files(self) -> dict[str, Path]:
        """GGUF models, the suite where it is a file of the user's, and the references."""
        is_file = self.suite is not None and self.suite.endswith((".yaml", ".yml"))
        suite = {str(self.suite): Path(str(self.suite))} if is_file else {}
        return self.gguf_files() | suite | self.reference_files()

    def publishes_partial(self) -> bool:
        return self.publish.partial

    def left_to_others(self) -> Self | None:
        if self.engine != "runpod":
            return None
        return self.model_copy(update={"runpod": self.runpod.model_copy(update={"wait": False})})

    def was_left(self, scratch: Path) -> bool:
        from llmcourse.autoeval.runpod.ledger import read_ledger

        ledger = read_ledger(scratch) if self.engine == "runpod" else None
        return ledger is not None and ledger.handed_over


def _gguf_files(name: str) -> list[Path]:
    """The GGUF file of that name, or those in a folder that holds no model in Hugging Face format."""
    path = expanded(name)
    if name.endswith(".gguf"):
        return [path]
    if not path.is_dir() or (path / "config.json").exists():
        return []
    return sorted(path.glob("*.gguf"))
