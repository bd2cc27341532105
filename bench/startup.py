"""`llmcourse --help` and `--version` against a bare `python -c "import typer"`, medians in one run."""

import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from measure import run

_RUNS = 15
_LIMIT = 1.35


def main() -> None:
    program = str(Path(sys.executable).with_name("llmcourse"))
    commands = {
        "python -c 'import typer'": [sys.executable, "-c", "import typer"],
        "llmcourse --help": [program, "--help"],
        "llmcourse --version": [program, "--version"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(_RUNS):
        for name, command in commands.items():
            times[name].append(run(command).seconds)
    bare = median(times["python -c 'import typer'"])
    print(f"start-up, medians of {_RUNS} (limit {_LIMIT}):")
    for name, seconds in times.items():
        print(f"  {name:26} {median(seconds):6.3f} s   {median(seconds) / bare:5.2f} x")


if __name__ == "__main__":
    main()
