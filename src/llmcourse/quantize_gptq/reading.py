"""Which programs read a checkpoint as it was written: each that a card names is tried on the files.

Runs in a process of its own, because gptqmodel changes the models of transformers wherever it was used: after
it, transformers reads mixtures of experts that it fills with random numbers for everybody else.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import chdir
from typing import Any

# Else torch compiles what unpacks the weights: seconds of C++ for one window, in the temporary folder.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import LibraryError
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quantize_gptq.failures import refuse_nan

RESULT_NAME = "result.json"
_PROMPT = "The meaning of life is"
_SAMPLE_TOKENS = 5
# Two kernels that round to 16 bits in another order differ by less than 0.001 (measured); experts of random
# numbers by 0.01 to 0.6 even in tiny models, and are told apart by their names as well.
_SAME = 0.02  # nats


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Read the checkpoint in `job.files` with transformers, then with gptqmodel, as a card's readers would.

    `job.settings` has device, window (token ids) and trust_remote_code.  Writes {"sample": a prompt with what
    follows, "problems": {loader: why it does not read it, empty where it does}, "is_chat": …} into scratch.

    Raises:
        LibraryError: gptqmodel itself does not read what it wrote.
    """
    trying = _Trying(job)
    with chdir(job.scratch):  # gptqmodel writes logs into the current folder, which is the user's
        with progress.step("reload with transformers"):
            theirs, problem = trying.with_transformers()
        with progress.step("reload with gptqmodel and generate"):
            ours, sample = trying.with_gptqmodel()
    if theirs is not None and not problem:
        difference = _divergence(ours, theirs)
        if not difference < _SAME:  # NaN, too
            problem = f"it predicts something else (KL divergence {difference:.2g} from GPTQModel)"
    found = {"sample": sample, "problems": {"gptqmodel": "", "transformers": problem}}
    write_json(job.scratch / RESULT_NAME, found | {"is_chat": trying.is_chat})
    yield from ()


class _Trying:
    """The checkpoint and the window on which loaders are compared."""

    def __init__(self, job: Job) -> None:
        self.folder = job.files
        self.device: str = job.settings["device"]
        self.trust: bool = job.settings["trust_remote_code"]
        self.ids = torch.tensor([job.settings["window"]], device=self.device)
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=self.trust)

    @property
    def is_chat(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def with_transformers(self) -> tuple[torch.Tensor | None, str]:
        """Logits (tokens, vocabulary) and what is wrong; as the card's lines load it."""
        loader: Any = AutoModelForCausalLM  # whose annotations do not know output_loading_info
        try:
            model, found = loader.from_pretrained(
                self.folder,
                device_map=self.device,
                output_loading_info=True,
                trust_remote_code=self.trust,
            )
            problem = _left_open(found)
            return (None if problem else self._logits(model.eval())), problem
        except Exception as error:  # whatever it is, it is told in the card and the loader is not named
            if "ignore_mismatched_sizes" in str(error):  # with the details in a log that nobody has
                return None, "it expects other shapes of some tensors, and stops"
            return None, f"it fails: {type(error).__name__}: {_first_line(error)}"
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def with_gptqmodel(self) -> tuple[torch.Tensor, str]:
        from gptqmodel import GPTQModel  # after transformers was tried without it

        model = GPTQModel.load(
            str(self.folder), device=self.device, trust_remote_code=self.trust
        ).model.eval()
        problem = self._unnamed(model)
        if problem:
            raise LibraryError(
                f"gptqmodel does not read what it wrote: {problem}.",
                "Use quantize-gguf for this model, and report it to GPTQModel.",
            )
        logits = self._logits(model)
        refuse_nan(
            bool(torch.isfinite(logits).all()), "The quantized model", str(model.dtype).removeprefix("torch.")
        )
        return logits, self._sample(model)

    def _unnamed(self, model: Any) -> str:
        """What the checkpoint has and the loaded model lacks, or the other way round; by names."""
        names: set[str] = set()
        for path in self.folder.glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                names.update(file.keys())
        held = dict(model.named_parameters(remove_duplicate=False))
        places = {tensor.data_ptr() for name, tensor in held.items() if name in names}
        missing = [name for name in held if name not in names and held[name].data_ptr() not in places]
        # Kernels keep tensors of a packed layer under names of their own, but in a module of its name.
        modules = {name for name, _ in model.named_modules()}
        unexpected = [name for name in names if name.rpartition(".")[0] not in modules]
        return _left_open({"missing_keys": missing, "unexpected_keys": unexpected})

    @torch.inference_mode()
    def _logits(self, model: Any) -> torch.Tensor:
        logits: torch.Tensor = model(input_ids=self.ids).logits[0].float().cpu()
        return logits

    @torch.inference_mode()
    def _sample(self, model: Any) -> str:
        tokens = self.tokenizer(_PROMPT, return_tensors="pt")["input_ids"].to(self.device)
        for _ in range(_SAMPLE_TOKENS):
            following = model(input_ids=tokens).logits[0, -1].argmax()
            tokens = torch.cat([tokens, following.reshape(1, 1)], dim=1)
        return str(self.tokenizer.decode(tokens[0], skip_special_tokens=True))


def _left_open(found: Mapping[str, Any]) -> str:
    """What a loader did with the names of a checkpoint, where they are not the model's."""
    parts = []
    missing = sorted(
        {_name(key) for kind in ("missing_keys", "mismatched_keys") for key in found.get(kind) or ()}
    )
    if missing:
        parts.append(f"it fills {_counted(missing)} with random numbers")
    if unexpected := sorted(map(_name, found.get("unexpected_keys") or ())):
        parts.append(f"it leaves out {_counted(unexpected)}")
    return " and ".join(parts)


def _name(key: Any) -> str:
    return str(key[0] if isinstance(key, tuple) else key)


def _counted(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} tensors ({names[0]} is the first)"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:200]


def _divergence(logits: torch.Tensor, others: torch.Tensor) -> float:
    """Mean KL divergence [nats] over a window; logits of shape (tokens, vocabulary)."""
    left, right = (each.double().log_softmax(-1) for each in (logits, others))
    return float((left.exp() * (left - right)).sum(-1).mean())
