"""What licence a model may carry that was made from others: the most restrictive of its parents'.

The identifiers are the Hub's (huggingface.co/docs/hub/repositories-licenses).  This is a help to the
author and no legal advice; whatever is unclear becomes "other" and is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

# In each group from the least to the most demanding.
_PERMISSIVE = (
    "cc0-1.0", "unlicense", "wtfpl", "pddl", "zlib", "isc", "mit", "bsl-1.0", "postgresql", "ncsa", "bsd",
    "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "ms-pl", "afl-3.0", "artistic-2.0", "ofl-1.1",
    "lppl-1.3c", "ecl-2.0", "openmdw-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "odc-by",
    "etalab-2.0", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "apache-2.0",
)  # fmt: skip
_COPYLEFT = (
    "mpl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "lgpl", "lgpl-lr", "lgpl-2.1", "lgpl-3.0",
    "osl-3.0", "c-uda", "gfdl", "odbl", "cdla-sharing-1.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "gpl",
    "gpl-2.0", "gpl-3.0", "agpl-3.0",
)  # fmt: skip
_USE_RESTRICTED = (
    "openrail", "openrail++", "creativeml-openrail-m", "bigscience-openrail-m",
    "bigscience-bloom-rail-1.0", "bigcode-openrail-m", "deepfloyd-if-license", "h-research",
    "lfm1.0", "gemma", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4",
    "grok2-community",
)  # fmt: skip
_NON_COMMERCIAL = (
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "apple-ascl", "apple-amlr",
    "intel-research", "fair-noncommercial-research-license",
)  # fmt: skip


class Kind(StrEnum):
    """What a licence asks of whoever uses the model, in a word."""

    PERMISSIVE = "permissive"
    COPYLEFT = "copyleft"
    USE_RESTRICTED = "use-restricted"
    NON_COMMERCIAL = "non-commercial"
    OWN_TERMS = "own terms"
    UNSTATED = "unstated"


_GROUPS = (_PERMISSIVE, _COPYLEFT, _USE_RESTRICTED, _NON_COMMERCIAL)
_RANK = {name: (group, index) for group, names in enumerate(_GROUPS) for index, name in enumerate(names)}
# Neither may be in a work under the other (gnu.org/licenses/license-list.html#apache2).
_NEVER_TOGETHER = {"gpl-2.0", "apache-2.0"}
_FAMILIES = ("gpl", "cc-by-nc", "cc-by-sa", "mpl", "epl", "eupl")
KNOWN = frozenset(_RANK) | {"other", "unknown"}


@dataclass(frozen=True)
class Licence:
    """A licence identifier, and the sentence about it that people must read, if there is one."""

    name: str
    warning: str = ""


def kind(name: str | None) -> Kind:
    """The kind of a licence by its identifier on the Hub; None and "unknown" state none."""
    if name in (None, "unknown"):
        return Kind.UNSTATED
    if name not in _RANK:
        return Kind.OWN_TERMS
    return (Kind.PERMISSIVE, Kind.COPYLEFT, Kind.USE_RESTRICTED, Kind.NON_COMMERCIAL)[_RANK[name][0]]


def combine(licences: Mapping[str, str | None]) -> Licence:
    """The licence of something made from these models (model -> its licence, None if it says none)."""
    silent = [model for model, name in licences.items() if name in (None, "unknown")]
    if silent:
        states = "states" if len(silent) == 1 else "state"
        return Licence("other", f"{_some(silent)} {states} no licence, so the result's is unknown.")
    strange = {model: name for model, name in licences.items() if name not in _RANK}
    if strange:
        return Licence("other", f"{_named(strange)} has terms of its own that the result inherits.")
    names = {name for name in licences.values() if name is not None}
    strictest = max(names, key=lambda name: _RANK[name], default="other")
    group = _RANK[strictest][0] if strictest in _RANK else 0
    equals = {model: name for model, name in licences.items() if name and _RANK[name][0] == group}
    if group > 0 and len({_family(name) for name in equals.values()}) > 1:
        return Licence("other", _conflict(equals))
    if names >= _NEVER_TOGETHER:
        return Licence("other", _conflict({m: n for m, n in licences.items() if n in _NEVER_TOGETHER}))
    if "-nd-" in strictest:
        return Licence(strictest, f"{_named({m: n for m, n in licences.items() if n == strictest})} "
                       "forbids sharing derivatives such as this one.")  # fmt: skip
    copyleft = {model: name for model, name in licences.items() if name in _COPYLEFT}
    if group > 1 and copyleft:
        return Licence("other", _conflict(copyleft | equals))
    return Licence(strictest)


def _family(name: str) -> str:
    """Licences that can be combined under the strictest of them share a family."""
    root = name.removeprefix("l").removeprefix("a")
    return next((prefix for prefix in _FAMILIES if root.startswith(prefix)), name)


# So many models are named; of more, the first ones and a count.
_NAMED = 3


def _named(licences: Mapping[str, str | None]) -> str:
    if len(licences) <= _NAMED:
        return ", ".join(f"{model} ({name})" for model, name in licences.items())
    return ", ".join(f"{model} ({name})" for model, name in [*licences.items()][:_NAMED]) + (
        f" and {len(licences) - _NAMED} more"
    )


def _conflict(licences: Mapping[str, str | None]) -> str:
    """The licences that cannot be together, each with the models that bring it."""
    by_name: dict[str, list[str]] = {}
    for model, name in licences.items():
        by_name.setdefault(str(name), []).append(model)
    told = [f"{_some(models)} ({name})" for name, models in by_name.items()]
    return f"These licences conflict: {', '.join(told)}."


def _some(models: list[str]) -> str:
    """All of a few names; the first of many, and how many more there are."""
    if len(models) <= _NAMED:
        return " and ".join(models)
    return f"{', '.join(models[:_NAMED])} and {len(models) - _NAMED} more"
