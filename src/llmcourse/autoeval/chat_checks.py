"""What is asked of chats and answers: is there a template, do thoughts end, has an answer room?"""

from collections.abc import Iterator, Mapping
from typing import Any

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.gguf_header import heads
from llmcourse.autoeval.model_checks import backend_of
from llmcourse.autoeval.suite import Suite
from llmcourse.core.errors import ConfigError, LlmcourseError
from llmcourse.core.human import few
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, Facts, fail, warn

_USUAL_ANSWER = 256  # tokens, where neither a task nor the config says how many (lm-eval)
_WRITTEN = "generate_until"  # lm-eval's name for tasks whose answers are written


def chat_checks(config: Config, suite: Suite, facts: Facts) -> Iterator[Check]:
    """Pure; says nothing of tasks that lm-eval could not be asked about."""
    answers: Mapping[str, Any] = {} if isinstance(facts.answers, LlmcourseError) else facts.answers
    leaves = _leaves(suite, answers)
    written = {name: asks for name, asks in leaves.items() if asks["for"] == _WRITTEN}
    yield from _idle_keys(config, leaves, written)
    chats = dict(answers.get("chats", {})) | {name: head["chat"] for name, head in heads(facts).items()}
    for name in config.model:
        if name in chats:
            yield from _model_chat(config, name, chats[name], has_written=bool(written))
        yield from _lengths(config, name, facts, written)
        if backend_of(config, name, facts) == "gguf":
            yield from _greedy(config, name, written)


def _leaves(suite: Suite, answers: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the tasks of the suite ask of a model, by the name of each."""
    wanted = {task.name for task in suite.tasks()}
    entries = [
        entry
        for name, below in answers.get("leaves", {}).items()
        if name in wanted
        for entry in below.items()
    ]
    return {name: entry["asks"] for name, entry in entries if entry.get("asks")}


def _idle_keys(config: Config, leaves: Mapping[str, Any], written: Mapping[str, Any]) -> Iterator[Check]:
    """Keys that change nothing here, and those that lm-eval would refuse."""
    runtime = config.runtime
    if not runtime.apply_chat_template:
        idle = [name for name in ("enable_thinking",) if getattr(runtime, name) is not None]
        idle += ["chat_template_args"] if runtime.chat_template_args else []
        idle += [] if runtime.fewshot_as_multiturn else ["fewshot_as_multiturn"]
        for name in idle:
            yield warn(
                f"runtime.{name}",
                "It changes nothing, since no chat template is applied.",
                "Set runtime.apply_chat_template to true, or leave it out.",
            )
    scored = [name for name in leaves if name not in written]
    if runtime.enable_thinking and scored:
        yield fail(
            "runtime.enable_thinking",
            f"{few(scored)} compare likelihoods of given answers, before which nothing is thought.",
            "Leave enable_thinking out, or give tasks whose answers are written a config of their own.",
            ConfigError.exit_code,
        )
    if runtime.gen_kwargs and leaves and not written:
        yield warn("runtime.gen_kwargs", "It changes nothing, since no answer of these tasks is written.")


def _model_chat(config: Config, name: str, chat: Mapping[str, Any], *, has_written: bool) -> Iterator[Check]:
    runtime = config.runtime
    if runtime.apply_chat_template and not chat["template"]:
        yield fail(
            "runtime.apply_chat_template",
            f"{name} has no chat template.",
            "Leave apply_chat_template out: it is a base model, whose prompts are plain texts.",
        )
    ends = chat["ends"]
    if has_written and ends and runtime.think_end_token is None and runtime.enable_thinking is not False:
        yield warn(
            "runtime.think_end_token",
            f"{name} may think before it answers (it knows {', '.join(ends)}): thoughts are scored too.",
            f"Set runtime.think_end_token={ends[0]}, with room for thoughts in "
            "runtime.gen_kwargs.max_gen_toks; or runtime.enable_thinking=false, if its template has that.",
        )


def _lengths(config: Config, name: str, facts: Facts, written: Mapping[str, Any]) -> Iterator[Check]:
    """Answers that the context has no room for, and those that leave little of it for the prompt."""
    context = context_of(config, name, facts)
    if context is None:
        return
    own = config.runtime.generation().get("max_gen_toks")
    lengths = {task: int(own or asks.get("max_gen_toks") or _USUAL_ANSWER) for task, asks in written.items()}
    too_long = [task for task, length in lengths.items() if length >= context]
    if too_long:
        longest = max(lengths[task] for task in too_long)
        key = "runtime.max_length" if config.runtime.max_length else "its context"
        yield fail(
            "runtime.gen_kwargs",
            f"{few(too_long)}: an answer may have {longest:,} tokens, and {name} has {context:,} for prompt"
            f" and answer ({key}).",
            f"Set runtime.gen_kwargs.max_gen_toks to less, as {max(1, context // 2)}, or leave the task out.",
        )
    tight = {task: context - length for task, length in lengths.items() if context / 2 < length < context}
    if tight:
        room = min(tight.values())
        yield warn(
            "runtime.gen_kwargs",
            f"{few(list(tight))}: room for the answer leaves {room:,} of {context:,} tokens for the prompt"
            f" of {name}; a longer one loses its beginning, and the report says how many did.",
            "Set runtime.gen_kwargs.max_gen_toks to less, if answers are shorter.",
        )


def context_of(config: Config, name: str, facts: Facts) -> int | None:
    """Tokens of a prompt with its answer, where files say it; as lm-eval reads them."""
    if config.runtime.max_length:
        return config.runtime.max_length
    head = heads(facts).get(name)
    if head:
        return int(head["context"]) if head.get("context") else None
    model = facts.models.get(name)
    if not isinstance(model, ModelFacts):
        return None
    inner = model.config.get("text_config")
    stated = inner if isinstance(inner, dict) else model.config
    keys = ("n_positions", "max_position_embeddings", "n_ctx")
    return next((value for key in keys if isinstance(value := stated.get(key), int)), None)


def _greedy(config: Config, name: str, written: Mapping[str, Any]) -> Iterator[Check]:
    own = config.runtime.generation()
    is_own = "do_sample" in own or "temperature" in own
    asked = bool(own.get("do_sample", float(own.get("temperature") or 0) > 0))
    drawn = [task for task, asks in written.items() if (asked if is_own else asks.get("do_sample"))]
    if drawn:
        yield fail(
            "runtime.gen_kwargs",
            f"{few(drawn)}: answers are drawn at random, and {name}, a GGUF file, is only asked greedily.",
            "Set runtime.gen_kwargs={do_sample: false, temperature: 0}, or evaluate the unquantized model.",
        )
