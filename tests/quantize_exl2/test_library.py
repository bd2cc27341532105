"""What we say of exllamav2 against its own sources, which are read and never imported."""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from llmcourse.core.environments import pinned
from llmcourse.core.progress import Advanced, Event, Progress, Started
from llmcourse.quantize_exl2.architectures import KNOWN, as_exllamav2_reads
from llmcourse.quantize_exl2.config import Config
from llmcourse.quantize_exl2.naming import WORKER, width_name
from llmcourse.quantize_exl2.options import Options, Places
from llmcourse.quantize_exl2.sizes import BUILT_IN_MEASUREMENT_ROWS, BUILT_IN_ROWS
from llmcourse.quantize_exl2.status import Stages
from tests.quantize_exl2.builders import Library, config

PLACES = Places(Path("/s/model"), Path("/s/work"), None)
MEASUREMENT = Path("/f/measurement.json")


@pytest.fixture(scope="session")
def library() -> Library:
    return Library()


def parse(library: Library, arguments: list[str]) -> dict[str, Any]:
    """What the converter's own parser makes of a command line: of its script, the lines of the parser run."""
    script = library.source("conversion/convert_exl2.py")
    lines = [node for node in script.body if _is_of_parser(node)]
    names: dict[str, Any] = {"argparse": argparse}
    exec(compile(ast.Module(lines, []), "convert_exl2.py", "exec"), names)
    found: dict[str, Any] = vars(names["parser"].parse_args(arguments))
    return found


def _is_of_parser(node: ast.stmt) -> bool:
    text = ast.unparse(node)
    return text.startswith("parser = argparse") or text.startswith("parser.add_argument")


def options_of(read: Config, bits: float | None) -> Options:
    if bits is None:
        return PLACES.measuring(read, "measurement", Path("/s/measurement.json"))
    return PLACES.quantizing(read, width_name(bits), bits, MEASUREMENT, Path("/s/made", width_name(bits)))


@pytest.mark.parametrize("bits", [None, 2.55, 3.0, 4.25, 6.5, 8.0])
def test_the_command_line_means_what_we_mean(library: Library, bits: float | None) -> None:
    text = """
        model: m
        bits_per_weight: [2.55, 3.0, 4.25, 6.5, 8.0]
        head_bits: 8
        shard_size: 0
        measurement_rows: 4
        measurement_length: 1024
        rope_alpha: 2.5
        rope_scale: 2
        calibration: {file: /d/c4.parquet, samples: 20, length: 512}
    """
    wanted = options_of(config(text), bits)
    understood = parse(library, wanted.arguments())
    stated = {name: value for name, value in vars(wanted).items() if value is not None}
    assert {name: understood[name] for name in stated} == stated
    assert understood["status_output"] and not understood["no_resume"] and not understood["resume"]
    assert (understood["output_measurement"] is None) == (bits is not None)
    assert (understood["compile_full"] is None) == (bits is None)


def test_the_exact_command_lines(library: Library) -> None:
    read = config("{model: m, bits_per_weight: [3.0, 4.25]}")
    common = ["-r", "115", "-l", "2048", "-mr", "16", "-ml", "2048"]
    assert options_of(read, None).arguments() == [
        *["-i", "/s/model", "-o", "/s/work/measurement"], *common, *["-om", "/s/measurement.json", "-so"]
    ]  # fmt: skip
    assert options_of(read, 4.25).arguments() == [
        *["-i", "/s/model", "-o", "/s/work/4.25bpw"], *common,
        *["-m", "/f/measurement.json", "-cf", "/s/made/4.25bpw"],
        *["-b", "4.25", "-hb", "6", "-ss", "8192", "-so"],
    ]  # fmt: skip


def test_a_job_of_ours_is_known_by_the_keys_of_its_job_file(library: Library) -> None:
    """The script's `job = {…}`, with values as the script computes them, is what we compare with."""
    script = library.source("conversion/convert_exl2.py")
    keys = next(
        [ast.literal_eval(key) for key in node.value.keys if key]
        for node in script.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "job"
        if isinstance(node.value, ast.Dict)
    )
    wanted = options_of(config("{model: m, bits_per_weight: 4.25}"), 4.25)
    understood = parse(library, wanted.arguments())
    job = {key: understood.get(key) for key in keys} | {"reuse_measurement": str(MEASUREMENT)}
    assert wanted.agree_with(job)
    others = {"bits": 4.0, "head_bits": 8, "in_dir": "/x", "compile_full": "/y", "cal_dataset": "/z.parquet",
              "rope_scale": 2.0, "reuse_measurement": "/w"}  # fmt: skip
    for name, value in others.items():
        assert name in job and not wanted.agree_with(job | {name: value}), name


def test_bits_of_the_head_are_the_library_s(library: Library) -> None:
    found = next(
        [ast.literal_eval(key) for key in node.value.keys if key]
        for node in library.source("conversion/qparams.py").body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "qparams_headoptions"
        if isinstance(node.value, ast.Dict)
    )
    assert list(get_args(Config.model_fields["head_bits"].annotation)) == found


def test_the_architectures_are_the_library_s(library: Library) -> None:
    compared = {
        name
        for node in ast.walk(library.source("architecture.py"))
        for name in _compared_with_arch_string(node)
    }
    assert compared == KNOWN


def _compared_with_arch_string(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Compare) and ast.unparse(node.left) == "arch_string":
        for right in node.comparators:
            value = ast.literal_eval(right)
            yield from [value] if isinstance(value, str) else value


@pytest.mark.parametrize("part", [None, "text_config"])
def test_it_is_told_positions_in_its_words(part: str | None) -> None:
    """It looks for rope_theta, and ends where a scaling says its type in both words (config.py)."""
    yarn = {"rope_type": "yarn", "factor": 4.0}
    said: dict[str, Any] = {"rope_parameters": {**yarn, "rope_theta": 1e6}}
    older: dict[str, Any] = {"rope_theta": 1e6, "rope_scaling": {"type": "yarn", **yarn}}
    for stated in (said, older):
        found = as_exllamav2_reads({part: stated} if part else stated)
        found = found[part] if part else found
        assert (found["rope_theta"], found["rope_scaling"]) == (1e6, yarn)


def test_the_library_s_own_set_has_as_many_rows_as_we_say(library: Library) -> None:
    rows = [0, 0]
    for node in ast.walk(library.source("conversion/tokenize.py")):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("rows_"):
            value = node.value
            both = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value, value)
            if all(isinstance(part, ast.Constant) for part in both) and "noise" not in ast.unparse(node):
                rows = [total + ast.literal_eval(part) for total, part in zip(rows, both, strict=True)]
    assert rows == [BUILT_IN_MEASUREMENT_ROWS, BUILT_IN_ROWS]


def test_its_status_lines_become_steps(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(library.source("conversion/bot_status.py"), "bot_status.py", "exec"), names)
    for stage, done in (("Tokenizing (1)", 1), ("Measuring", 0), ("Measuring", 3), ("Measuring", 7)):
        names["print_stage"]({"status_output": True}, stage, done, 7)
    events: list[Event] = []
    stages = Stages("measure", Progress(events.append))
    assert all(map(stages.take, capsys.readouterr().out.splitlines()))
    assert not stages.take(" -- Layer: model.layers.0 (Attention)\n")
    stages.finish()
    began = [event.step for event in events if isinstance(event, Started)]
    assert began == ["measure: tokenizing", "measure: measuring"]
    assert [event.done for event in events if isinstance(event, Advanced)][1:] == [0, 43, 100]


def test_the_environment_has_the_version_that_was_read(library: Library) -> None:
    version = library.source("version.py").body[0]
    assert ast.unparse(version) == f"__version__ = '{pinned(WORKER)['exllamav2']}'"
