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

# Names for how many tokens an answer may have, the first of them wins (lm-eval's normalize_gen_kwargs).
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")

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
    max_length: int | None = Field(
        None, ge=2, description="Tokens of a prompt with its answer; by default what the model was made for."
    )
    apply_chat_template: bool = Field(False, description="Put prompts into the model's chat template.")
    fewshot_as_multiturn: bool = Field(
        True, description="In a chat each example is a turn; false puts all into one."
    )
    system_instruction: str | None = Field(None, description="What the system says before each prompt.")
    chat_template_args: dict[str, Any] = Field({}, description="Further arguments of the chat template.")
    enable_thinking: bool | None = Field(
        None, description="The template's switch for thinking; true needs think_end_token."
    )
    think_end_token: str | int | None = Field(
        None, description="What ends a thought, as </think> or a token's id: what follows is the answer."
    )
    gen_kwargs: dict[str, Any] = Field(
        {}, description="Arguments of generation over those of tasks, as {max_gen_toks: 2048}."
    )
    seed: int = Field(0, description="Seed of the few-shot examples and of all chance.")

    def generation(self) -> dict[str, Any]:
        """gen_kwargs with one name for the length of an answer."""
        lengths = [self.gen_kwargs[name] for name in LENGTHS if name in self.gen_kwargs]
        others = {name: value for name, value in self.gen_kwargs.items() if name not in LENGTHS}
        return others | ({LENGTHS[0]: lengths[0]} if lengths else {})

    @model_validator(mode="after")
    def _thinking_ends(self) -> "Runtime":
        if self.enable_thinking and self.think_end_token is None:
            raise ValueError(
                "enable_thinking needs think_end_token, since the thought would be taken for the answer | "
                "Set think_end_token, for most models '</think>'."
            )
        return self

    @model_validator(mode="after")
    def _answers_have_a_length(self) -> "Runtime":
        for name in LENGTHS:
            value = self.gen_kwargs.get(name, 1)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"gen_kwargs.{name} cannot be {value!r} | Use a number of tokens, 1 or more."
                )
        if "max_length" in self.gen_kwargs:
            raise ValueError("gen_kwargs cannot hold max_length | Use max_gen_toks, the tokens of an answer.")
        return self


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
