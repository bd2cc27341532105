"""As much of GraphQL as RunPod's clients write: one operation, literal arguments, selections.

A field or an argument that RunPod's schema does not have is refused, as there: a query that passes here was
not made up.  Sources: the queries and mutations of runpod 1.12.0, and RunPod's published schema for secrets.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r'\s*(?:(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)'
                    r'|(?P<sign>[{}()\[\]:,]))')  # fmt: skip

_POD = """id name imageName env desiredStatus costPerHr containerDiskInGb dockerArgs dockerId gpuCount
lastStatusChange machineId memoryInGb podType port ports uptimeSeconds vcpuCount volumeInGb volumeMountPath"""
_GPU = """id displayName manufacturer memoryInGb cudaCores maxGpuCount secureCloud communityCloud securePrice
communityPrice oneMonthPrice threeMonthPrice oneWeekPrice communitySpotPrice secureSpotPrice"""
_DEPLOY = """name imageName cloudType startSsh gpuTypeId supportPublicIp gpuCount volumeInGb minVcpuCount
minMemoryInGb allowedCudaVersions dataCenterId dockerArgs countryCode containerDiskInGb ports volumeMountPath
env templateId networkVolumeId minDownload minUpload"""


def _fields(scalars: str, **objects: str) -> dict[str, str]:
    return dict.fromkeys(scalars.split(), "") | objects


# Type -> field -> type of the field, "" for what has no fields of its own.
_TYPES: dict[str, dict[str, str]] = {
    "query": _fields("", myself="User", pod="Pod", gpuTypes="GpuType"),
    "mutation": _fields(
        "podTerminate secretDelete",
        podFindAndDeployOnDemand="Pod",
        podStop="Pod",
        podEditJob="Pod",
        secretCreate="Secret",
    ),
    "User": _fields("id email", pods="Pod", secrets="Secret"),
    "Pod": _fields(_POD, machine="Machine", runtime="Runtime"),
    "Machine": _fields("gpuDisplayName podHostId"),
    "Runtime": _fields("uptimeInSeconds", ports="Port"),
    "Port": _fields("ip isIpPublic privatePort publicPort type"),
    "GpuType": _fields(_GPU, lowestPrice="LowestPrice"),
    "LowestPrice": _fields("minimumBidPrice uninterruptablePrice stockStatus"),
    "Secret": _fields("id name description"),
}
_INPUTS: dict[str, set[str]] = {
    "podFindAndDeployOnDemand": set(_DEPLOY.split()),
    "podTerminate": {"podId"},
    "podStop": {"podId"},
    "podEditJob": {"podId", "dockerArgs", "env", "imageName", "ports", "containerDiskInGb"},
    "pod": {"podId"},
    "gpuTypes": {"id"},
    "lowestPrice": {"gpuCount", "secureCloud"},
    "secretCreate": {"name", "value", "description"},
}


class GraphqlError(Exception):
    """What RunPod answers as `errors[0].message`."""


@dataclass(frozen=True)
class Field:
    """A field that is asked for: its arguments and, of an object, its fields."""

    name: str
    arguments: Mapping[str, Any]
    selection: tuple["Field", ...] = field(default=())

    @property
    def input(self) -> Mapping[str, Any]:
        """The argument `input`, empty where there is none."""
        given = self.arguments.get("input", {})
        return given if isinstance(given, Mapping) else {}


class _Reader:
    """Tokens of one document, read from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text.strip()
        self._at = 0

    def peek(self) -> str:
        match = _TOKEN.match(self._text, self._at)
        return match[0].strip() if match else ""

    def take(self, expected: str = "") -> str:
        match = _TOKEN.match(self._text, self._at)
        token = match[0].strip() if match else ""
        if match is None or (expected and token != expected):
            place = self._text[self._at : self._at + 20]
            raise GraphqlError(f"Syntax Error: Expected {expected or 'a value'}, found {place!r}.")
        self._at = match.end()
        return token

    def value(self) -> Any:
        token = self.take()
        if token == "{":
            return self._object("}")
        if token == "[":
            items = []
            while self.peek() != "]":
                items.append(self.value())
                self._comma()
            self.take("]")
            return items
        if token.startswith('"') or token in ("true", "false", "null") or re.fullmatch(r"-?[\d.]+", token):
            return json.loads(token)
        return token  # a name of an enumeration

    def _object(self, end: str) -> dict[str, Any]:
        found = {}
        while self.peek() != end:
            name = self.take()
            self.take(":")
            found[name] = self.value()
            self._comma()
        self.take(end)
        return found

    def _comma(self) -> None:
        if self.peek() == ",":
            self.take(",")

    def selection(self, owner: str) -> tuple[Field, ...]:
        self.take("{")
        fields = []
        while self.peek() != "}":
            fields.append(self._field(owner))
        self.take("}")
        if not fields:
            raise GraphqlError("Syntax Error: Expected Name, found '}'.")
        return tuple(fields)

    def _field(self, owner: str) -> Field:
        name = self.take()
        known = _TYPES[owner]
        if name not in known:
            raise GraphqlError(f'Cannot query field "{name}" on type "{owner.capitalize()}".')
        arguments: dict[str, Any] = {}
        if self.peek() == "(":
            self.take("(")
            arguments = self._object(")")
        unknown = set(arguments.get("input", {})) - _INPUTS.get(name, set())
        if unknown:
            raise GraphqlError(f'Field "{min(unknown)}" is not defined by the input of "{name}".')
        if not known[name]:
            return Field(name, arguments)
        if self.peek() != "{":
            raise GraphqlError(f'Field "{name}" of type "{known[name]}" must have a selection of subfields.')
        return Field(name, arguments, self.selection(known[name]))


def parse(query: str) -> tuple[str, tuple[Field, ...]]:
    """Kind (`query` or `mutation`) and fields of the one operation in a document.

    Raises:
        GraphqlError: not of RunPod's schema, or no GraphQL.
    """
    reader = _Reader(query)
    kind = "query" if reader.peek() == "{" else reader.take()
    if kind not in ("query", "mutation"):
        raise GraphqlError(f"Syntax Error: Unexpected Name {kind!r}.")
    if reader.peek() not in ("{", ""):
        reader.take()
    return kind, reader.selection(kind)


def select(value: Any, selection: tuple[Field, ...]) -> Any:
    """The fields asked for; a value that is called gets its field, for what depends on its arguments."""
    if not selection or value is None:
        return value
    if isinstance(value, list):
        return [select(item, selection) for item in value]
    return {item.name: select(_resolved(value.get(item.name), item), item.selection) for item in selection}


def _resolved(value: Any, asked: Field) -> Any:
    resolver: Callable[[Field], Any] | None = value if callable(value) else None
    return resolver(asked) if resolver else value
