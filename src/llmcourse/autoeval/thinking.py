"""Whether a model has a chat template, and what ends its thoughts, from its files without any library."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# </think>, </thinking>, [/THINK], <|/think|>, ◁/think▷, </seed:think>, <|end_of_thought|>, <|think_end|>
_ENDS = re.compile(
    r"(?:<\|?/|\[/|◁/)(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|reason)(?:\|?>|\]|▷)"
    r"|<\|(?:end_of_(?:thought|thinking|reasoning)|end_think|(?:think|thinking|thought)_end)\|>",
    re.IGNORECASE,
)
# gpt-oss thinks in a channel: what follows the last of these tokens is its answer.
_CHANNEL, _MESSAGE = "<|channel|>", "<|message|>"

Chat = dict[str, Any]  # "template": whether there is one; "ends": what ends thoughts, most likely first


def chat_of(template: str, tokens: Iterable[str]) -> Chat:
    """What a template and the tokens that were added to a vocabulary say of chats and thoughts."""
    added = list(tokens)
    found = [*_ENDS.findall(template), *(token for token in added if _ENDS.fullmatch(token))]
    if _CHANNEL in template and "analysis" in template:
        found.append(_MESSAGE)
    return {"template": bool(template), "ends": list(dict.fromkeys(found))}


def chat_in(folder: Path) -> Chat:
    """Of a model's folder; `template` is True also where only code could tell."""
    config = _json(folder / "tokenizer_config.json")
    texts = [text for path in _templates(folder) if (text := _text(path))]
    texts += _named(config.get("chat_template")) + _named(
        _json(folder / "chat_template.json").get("chat_template")
    )
    tokens = [item.get("content") for item in _items(_json(folder / "tokenizer.json").get("added_tokens"))]
    decoder = config.get("added_tokens_decoder")
    tokens += [
        item.get("content") for item in _items(list(decoder.values()) if isinstance(decoder, dict) else [])
    ]
    tokens += list(_json(folder / "added_tokens.json"))
    found = chat_of("\n".join(texts), [token for token in tokens if isinstance(token, str)])
    # A tokenizer with code of its own, or Mistral's, may bring one.
    is_coded = "auto_map" in config or (folder / "tekken.json").exists()
    return found | {"template": bool(texts) or is_coded}


def _templates(folder: Path) -> list[Path]:
    return [folder / "chat_template.jinja", *sorted(folder.glob("additional_chat_templates/*.jinja"))]


def _named(stated: Any) -> list[str]:
    """A template, or the list of named ones, of a tokenizer's configuration."""
    if isinstance(stated, str):
        return [stated]
    return [item["template"] for item in _items(stated) if isinstance(item.get("template"), str)]


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _json(path: Path) -> dict[str, Any]:
    """What the file says; nothing where it is absent or damaged, which the checks of tokenizers tell."""
    try:
        data = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
