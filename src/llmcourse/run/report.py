"""The report of a pipeline: one page without network, with every step, its figures and its plots."""

import base64
import json
import mimetypes
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from llmcourse import __version__
from llmcourse.core.extras import installed
from llmcourse.core.human import human_bytes, human_seconds
from llmcourse.core.model import expanded
from llmcourse.run.figures import Quantization, quantizations, scores
from llmcourse.run.steps import PUSH

if TYPE_CHECKING:
    from llmcourse.run.command import Done

_PICTURES = (".png", ".svg")
_MOST_BYTES = 3_000_000  # of a picture; a larger one is linked


def page(done: Sequence["Done"], folder: Path) -> str:
    """The page; pictures of results are in it, other files are linked relative to `folder`."""
    environment = Environment(
        loader=PackageLoader("llmcourse.run", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    published = _published(done)
    quantized = [
        (each.work.name, one)
        for each in done
        if each.artifact and each.work.command != PUSH
        for one in quantizations(each.artifact, each.work.name)
    ]
    return environment.get_template("report.html.jinja").render(
        title=folder.name,
        total=_total(done),
        version=__version__,
        steps=[_step(each, folder, published) for each in done],
        quantized=quantized,
        plot=_plot(quantized),
        scores=[
            (each.work.name, _shown(model, folder, published), found)
            for each in done
            if each.artifact
            for model, found in scores(each.artifact).items()
        ],
        bytes=human_bytes,
    )


def _total(done: Sequence["Done"]) -> dict[str, str]:
    """When this page was made, and what all steps of this run took together."""
    seconds = sum(each.seconds for each in done)
    rented = [each.work.settings for each in done if each.work.settings.get("engine") == "runpod"]
    caps = [dict(settings.get("runpod") or {}).get("max_cost_usd") for settings in rented]
    costs = [cap for cap in caps if isinstance(cap, int | float)]
    return {
        "made": f"Made on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "time": f"{human_seconds(seconds)} in all" if seconds else "",
        "cost": f"up to ${sum(costs):.2f}" if costs else "",
    }


def _step(done: "Done", folder: Path, published: Mapping[str, str]) -> dict[str, Any]:
    artifact = done.artifact
    files = [file.path for file in artifact.files if file.is_local] if artifact else []
    paths = [done.work.output / name for name in files] if done.work.command != PUSH else []
    paths += list(done.files)
    hub = artifact.hub if artifact else None
    return {
        "name": done.work.name,
        "command": done.work.command,
        "state": done.state,
        "time": human_seconds(done.seconds) if done.state in ("made", "published", "failed") else "",
        "size": human_bytes(sum(file.size for file in artifact.files)) if artifact else "",
        "combination": done.work.combination,
        "settings": [
            f"{key}: {_shown(json.dumps(value, ensure_ascii=False, default=str), folder, published)}"
            for key, value in done.work.settings.items()
        ],
        "config": done.work.config.name if done.work.config else "",
        "hub": hub,
        "versions": artifact.versions if artifact else {},
        "inputs": {_shown(name, folder, published): commit for name, commit in artifact.inputs.items()}
        if artifact
        else {},
        "pictures": [(path.name, _embedded(path)) for path in paths if _is_picture(path)],
        "files": [(path.relative_to(folder).as_posix(), _size(path)) for path in paths if path.is_file()],
        "error": _shown(f"{done.error.what} {done.error.fix}", folder, published) if done.error else "",
    }


def _shown(text: str, folder: Path, published: Mapping[str, str]) -> str:
    """Without the way to this folder, and to whose machine it is: pages are shared.

    A result that is on the Hub has its name there: that is what others can find.
    """
    for place, repo in published.items():
        text = re.sub(rf"{re.escape(place)}(?![\w./-])", repo, text)
    return text.replace(f"{folder}/", "").replace(str(expanded("~")), "~")


def _published(done: Sequence["Done"]) -> dict[str, str]:
    """Hub ids of the models that were published, by their folders here."""
    return {
        str(each.work.output): each.artifact.hub.repo
        for each in done
        if each.artifact and each.artifact.hub and each.work.command != PUSH
    }


def _size(path: Path) -> str:
    return human_bytes(path.stat().st_size)


def _is_picture(path: Path) -> bool:
    return path.suffix in _PICTURES and path.is_file() and path.stat().st_size <= _MOST_BYTES


def _embedded(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _plot(quantized: Sequence[tuple[str, Quantization]]) -> str:
    """Size against divergence of all that was measured, as a data address; empty where it is one."""
    measured = [(name, one) for name, one in quantized if one.kld]
    if len(measured) < 2 or not installed("matplotlib"):
        return ""
    from llmcourse.run.plot import size_against_divergence

    svg = size_against_divergence(measured)
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
