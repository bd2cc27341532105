"""A row of data becomes one document: its text, or its conversation through the model's chat template."""

from collections.abc import Mapping
from typing import Any

from llmcourse.core.errors import PlanError

_COLUMNS = ("text", "messages", "conversations")
# ShareGPT's names of who speaks, as templates know them; other names are passed on as they are.
_ROLES = {"human": "user", "gpt": "assistant"}


# Conversations that a template may refuse before it is clear that it takes none.
_REFUSED_AT_FIRST = 100


class Rows:
    """Documents of the rows of one source, which all have the same column.

    With `leaves_out`, conversations that the chat template does not take are left out, and `refused` counts
    them: among the hundred thousand of a data set there are always some that begin with the wrong one.
    """

    def __init__(self, column: str | None, tokenizer: Any | None, leaves_out: bool = False) -> None:
        self._column = column
        self._tokenizer = tokenizer
        self._leaves_out = leaves_out
        self._taken = 0
        self.refused = 0

    def document(self, row: Mapping[str, Any], where: str) -> str:
        """The text of a row, empty for one that is left out; `where` names it, as `chats.jsonl, line 7`.

        Raises:
            PlanError: no such column, neither text nor conversation, or no chat template that takes it.
        """
        if self._column is None:
            self._column = next((name for name in _COLUMNS if row.get(name) is not None), None)
        column = self._column
        if column is None:
            raise PlanError(
                f"{where} has nothing under {' or '.join(_COLUMNS)}, only: {', '.join(row) or 'no columns'}.",
                "Set column: to the name of the text.",
                where=where,
            )
        value = row.get(column)
        if value is None:
            raise PlanError(
                f"{where} has no {column!r}.", "Correct the data, or set column: to another name.", where
            )
        if not isinstance(value, str):
            return self._conversation(value, where)
        try:
            value.encode()
        except UnicodeEncodeError as error:  # half of a pair, as JSON can write it
            raise PlanError(f"{where} is no Unicode text ({error.reason}).", "Correct it.", where) from None
        return value

    def is_empty(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has the column, with nothing in it; tables are full of such rows."""
        columns = [name for name in ([self._column] if self._column else _COLUMNS) if name in row]
        return bool(columns) and not any(row[name] for name in columns)

    def _conversation(self, value: Any, where: str) -> str:
        messages = [_message(item, where) for item in value] if isinstance(value, list) else []
        if not messages:
            raise PlanError(
                f"{where} is neither a text nor a list of messages.",
                'Write {"text": "…"} or {"messages": [{"role": "user", "content": "…"}]}.',
                where=where,
            )
        if getattr(self._tokenizer, "chat_template", None) is None:
            raise PlanError(
                f"{where} is a conversation, and the model has no chat template to write it with.",
                "Give plain text, or quantize the model that was made for conversations.",
                where=where,
            )
        assert self._tokenizer is not None, "it has a template"
        try:
            text = str(self._tokenizer.apply_chat_template(messages, tokenize=False))
        except Exception as error:  # templates are programs; what they raise has no common class
            self.refused += 1
            if self._leaves_out and (self._taken or self.refused < _REFUSED_AT_FIRST):
                return ""
            raise PlanError(
                f"The model's chat template refuses {where} ({error}).",
                "Correct the conversation, or leave it out.",
                where=where,
            ) from error
        self._taken += 1
        return text


def _message(item: Any, where: str) -> dict[str, Any]:
    """A message as templates take it, from either of the two usual forms."""
    if isinstance(item, dict) and isinstance(item.get("from"), str) and isinstance(item.get("value"), str):
        return {"role": _ROLES.get(item["from"], item["from"]), "content": item["value"]}
    if isinstance(item, dict) and isinstance(item.get("role"), str) and "content" in item:
        return {name: value for name, value in item.items() if value is not None}
    raise PlanError(
        f"{where} holds a message without role and content, or from and value.",
        'Write {"role": "user", "content": "…"}.',
        where=where,
    )
