"""`python -m llmcourse.testing.demo.asking FILE QUESTION …`: a GGUF file's answers, a JSON list."""

import json
import os
import sys
from pathlib import Path

from llmcourse.quantize_gguf.llama.model import Context, Model, opened

_ROOM, _LONGEST = 256, 60  # tokens: of question and answer, of the answer
# What SmolLM2's chat template writes.
_CHAT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
)


def answer(model: Model, context: Context, question: str) -> str:
    """The most likely one."""
    tokens = model.tokenize(_CHAT.format(question=question), has_special=True)
    said: list[int] = []
    position = 0
    while len(said) < _LONGEST:
        likeliest = context.decode(tokens, position, slice(-1, None))[-1].argmax(keepdims=True)
        position += len(tokens)
        if model.ends(int(likeliest[0])):
            break
        said.append(int(likeliest[0]))
        tokens = likeliest.astype("int32")
    return model.text(said).strip()


def main() -> None:
    path, *questions = sys.argv[1:]
    answers = []
    for question in questions:
        with opened(Path(path), _ROOM, os.cpu_count() or 1) as (model, context):
            answers.append(answer(model, context, question))
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
