"""Under which conditions figures were made, in sentences that stand beside every table of them."""

import json
from collections.abc import Iterable, Iterator

from llmcourse.autoeval.config import Runtime
from llmcourse.autoeval.results import TaskResult


def conditions(runtime: Runtime) -> list[str]:
    """What is not as lm-eval does it by itself; nothing where all is."""
    return [*limit_of(runtime), *_chat(runtime), *_answers(runtime)]


def limit_of(runtime: Runtime) -> list[str]:
    """That it is a trial, where it is one."""
    return (
        [] if runtime.limit is None else [f"Only {runtime.limit} samples of each task: a trial, no result."]
    )


def _chat(runtime: Runtime) -> Iterator[str]:
    if runtime.apply_chat_template:
        examples = "turns of the chat" if runtime.fewshot_as_multiturn else "one turn"
        yield f"Prompts are in the model's chat template, examples as {examples}."
    arguments = dict(runtime.chat_template_args)
    if runtime.enable_thinking is not None:
        arguments["enable_thinking"] = runtime.enable_thinking
    if arguments and runtime.apply_chat_template:
        yield f"Arguments of the chat template: {_plain(arguments)}."
    if runtime.system_instruction is not None:
        yield f"The system says: {_plain(runtime.system_instruction)}"


def _answers(runtime: Runtime) -> Iterator[str]:
    if runtime.think_end_token is not None:
        yield f"The answer is what follows `{runtime.think_end_token}`."
    if runtime.gen_kwargs:
        yield f"Arguments of generation: {_plain(runtime.generation())}."
    if runtime.max_length is not None:
        yield f"A prompt with its answer has {runtime.max_length} tokens at most."
    if runtime.seed:
        yield f"Seed {runtime.seed}."


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def losses(results: Iterable[TaskResult]) -> Iterator[str]:
    """What models were not shown, or did not finish, a sentence a task."""
    for result in results:
        if result.truncated:
            prompts, tokens = result.truncated["prompts"], result.truncated["tokens"]
            yield (
                f"{result.task}: {prompts} prompt{'s' if prompts > 1 else ''} lost {tokens} tokens at the"
                " front, since the context has no room for more."
            )
        if result.unfinished_thoughts:
            yield (
                f"{result.task}: {result.unfinished_thoughts} of the answers end within a thought, which was"
                " scored; set runtime.gen_kwargs.max_gen_toks higher."
            )
