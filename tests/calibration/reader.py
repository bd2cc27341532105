"""Reads what wishes on stdin ask for and writes what it got as JSON; `what: texts` gives documents."""

import json
import sys
from itertools import islice
from typing import Any

from transformers import AutoTokenizer

from llmcourse.calibration import texts, windows
from llmcourse.core.calibration import Calibration
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.progress import Event, Note, Progress


def answer(wish: dict[str, Any], plain: Any, chat: Any) -> dict[str, Any]:
    events: list[Event] = []
    what, tokenizer = wish.pop("what", "windows"), chat if wish.pop("chat", False) else plain
    revision = wish.pop("revision", None)
    read = texts if what == "texts" else windows
    try:
        found = list(islice(read(Calibration(**wish), revision, tokenizer, Progress(events.append)), 1000))
    except LlmcourseError as error:
        return {"error": type(error).__name__, "what": error.what, "fix": error.fix}
    notes = [event.text for event in events if isinstance(event, Note)]
    return {"found": found, "notes": notes, "first": tokenizer.decode(found[0]) if what != "texts" else ""}


def main() -> None:
    plain, chat = (AutoTokenizer.from_pretrained(sys.argv[1]) for _ in range(2))
    chat.chat_template = sys.argv[2]
    answers = {key: answer(wish, plain, chat) for key, wish in json.load(sys.stdin).items()}
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
