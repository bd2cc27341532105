"""What was counted: one row for each command and kind of fault, and docs/reliability.md from all of them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torture.running import Ended

_ABOUT = """Written by `make torture` (`torture/`), which breaks the world around each command on purpose.

*Tries*: how often the fault was made. *Wrong*: tries that did not end as meant, with the right exit code and
its two sentences; what they did is below the table. *Left*: files beside the output, in TMPDIR, or processes
(torch's own cache there, `torchinductor_USER`, is not counted). *Equal*: results, afterwards, that are those
of an undisturbed run, of all that were compared: by sha256 of the files, for GPTQ of each tensor, for
autoeval by its figures. `quantize-exl2` runs with the stand-in for its converter that its tests use."""


@dataclass
class Tally:
    """`tries` of one fault on one command. `wrong` says of each that did not end as meant what it did."""

    command: str
    fault: str
    tries: int = 0
    tracebacks: int = 0
    leftovers: int = 0
    compared: int = 0  # results compared with the undisturbed one
    equal: int = 0
    skipped: str = ""
    seed: int = 0
    seconds: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.wrong and not self.tracebacks and not self.leftovers and self.compared == self.equal

    def see(self, ended: Ended, codes: Sequence[int | None], about: str = "") -> bool:
        """Count a try by how it ended; whether it is one of the codes, with its sentences."""
        self.tries += 1
        return self.check(ended, codes, about)

    def check(self, ended: Ended, codes: Sequence[int | None], about: str = "") -> bool:
        """The same for what follows a try."""
        self.tracebacks += ended.is_traceback
        is_meant = ended.code in codes and (ended.is_told or (ended.code or 0) < 0)
        if not is_meant or ended.is_traceback:
            self.wrong.append(
                f"{about}: exit {ended.code}: {ended.last_words or ended.stdout.strip()[-300:]}".strip(": ")
            )
        return is_meant

    def left(self, names: Sequence[str], about: str = "") -> None:
        self.leftovers += len(names)
        if names:
            self.wrong.append(f"{about}: left {', '.join(names)}".strip(": "))

    def compare(self, made: dict[str, str], expected: dict[str, str], about: str = "") -> None:
        self.compared += 1
        if made == expected and made:
            self.equal += 1
        else:
            names = sorted(name for name in {*made, *expected} if made.get(name) != expected.get(name))
            self.wrong.append(f"{about}: differs in {', '.join(names) or 'everything'}".strip(": "))


def load(path: Path) -> list[Tally]:
    return [Tally(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def save(path: Path, rows: Sequence[Tally]) -> None:
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def merged(old: Sequence[Tally], new: Sequence[Tally]) -> list[Tally]:
    """New rows in the place of old ones of the same command and fault."""
    rows = {(row.fault, row.command): row for row in (*old, *new)}
    return list(rows.values())


def page(rows: Sequence[Tally], faults: dict[str, str], commands: Iterable[str], where: str) -> str:
    """docs/reliability.md. `faults` says of each kind what is done, `where` on what machine and how."""
    made = {(row.fault, row.command) for row in rows}
    left = [(fault, command) for fault in faults for command in commands if (fault, command) not in made]
    rows = [*rows, *(Tally(command, fault, skipped="not run for this page") for fault, command in left)]
    tried = [row for row in rows if not row.skipped]
    minutes = sum(row.seconds for row in tried) / 60
    lines = ["# Reliability", "", *_ABOUT.splitlines(), ""]
    lines += [
        f"Measured on {where}: {sum(row.is_good for row in tried)} of {len(tried)} rows are "
        f"faultless. One after the other they took {minutes:.0f} minutes; "
        "`make torture` makes two at a time."
    ]
    for fault, about in faults.items():
        own = [row for row in rows if row.fault == fault]
        lines += [
            "",
            f"## {fault}",
            "",
            about,
            "",
            "|command|tries|wrong|tracebacks|left|equal|seed|seconds|",
        ]
        lines += ["|---|---:|---:|---:|---:|---:|---:|---:|"]
        lines += [_line(row) for row in sorted(own, key=lambda row: row.command)]
        for row in own:
            lines += [f"- **{row.command}**: {_one_line(sentence)}" for sentence in row.wrong[:5]]
    return "\n".join(lines) + "\n"


def _line(row: Tally) -> str:
    if row.skipped:
        return f"|{row.command}|{row.skipped}|||||||"
    equal = f"{row.equal} of {row.compared}" if row.compared else "–"
    cells = [row.tries, len(row.wrong), row.tracebacks, row.leftovers, equal, row.seed, row.seconds or "–"]
    return f"|{row.command}|{'|'.join(map(str, cells))}|"


def _one_line(sentence: str) -> str:
    return " ".join(sentence.split())[:300]
