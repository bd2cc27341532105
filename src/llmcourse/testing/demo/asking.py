"""`python -m llmcourse.testing.demo.asking FILE QUESTION …`: a GGUF file's answers, a JSON list."""

import json
import sys

from llama_cpp import Llama


def main() -> None:
    path, *questions = sys.argv[1:]
    model = Llama(path, n_ctx=512, verbose=False)
    answers = []
    for question in questions:
        messages = [{"role": "user", "content": question}]
        answer = model.create_chat_completion(messages, max_tokens=60, temperature=0)  # type: ignore[arg-type]
        answers.append(answer["choices"][0]["message"]["content"].strip())  # type: ignore[index,union-attr]
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
