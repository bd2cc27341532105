"""`llmcourse quantize-gguf` against llama.cpp's converter and llama-quantize by hand: time, memory, bytes.

A bf16 Llama of about 1.1 B random parameters (hidden 2048, 20 layers, intermediate 5632, vocabulary 32000) is
made on the spot, and llama-quantize is built from the source archive of the installed llama-cpp-python
(4 minutes on 2 cores; --folder keeps both).  Then the same against a Hub that takes 20 MB/s.

Usage: python bench/gguf.py [--runs N] [--folder DIR] [convert-quantize | upload | types]
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from llama_tools import build
from measure import Measure, main_of_parts, run

from llmcourse.core.progress import Progress
from llmcourse.quantize_gguf.converter.source import fetch_converter
from llmcourse.quantize_gguf.installed_types import file_types
from llmcourse.testing.models import build_family, build_random_llama

_BIN = Path(sys.executable).parent
_TYPES = ("Q8_0", "Q5_K_M", "Q4_K_M", "Q2_K")
_UPLOAD_RATE = 20e6  # bytes per second
_TIME_LIMIT, _UPLOAD_LIMIT, _MEMORY_LIMIT = 1.0, 1.15, 1.2e9


class _Bench:
    def __init__(self, folder: Path, runs: int) -> None:
        self.folder = folder
        self.runs = runs
        self.model = folder / "model"
        if not self.model.exists():
            build_random_llama(
                self.model, hidden=2048, layers=20, intermediate=5632, vocab=32000, heads=32, kv_heads=32,
                tokenizer_from=build_family().base,
            )  # fmt: skip
        self.out = folder / "gguf-ours"
        self.hand = folder / "gguf-by-hand"
        self.config = folder / "gguf.yaml"
        self.config.write_text(f"model: {self.model}\ntypes: [{', '.join(_TYPES)}]\n")

    def by_hand(self) -> None:
        """Alternating runs of both; the peak of llama.cpp itself is that of its converter or quantizer."""
        tools, converter = (
            build(self.folder),
            fetch_converter(version("llama-cpp-python"), Progress(lambda _: None)),
        )
        mine, its = [], []
        for _ in range(self.runs):
            mine.append(self._ours())
            its.append(self._by_hand(tools, converter))
        ours = Measure(median(m.seconds for m in mine), int(median(m.peak_bytes for m in mine)))
        steps = {name: median(run[name].seconds for run in its) for name in its[0]}
        peak = max(int(median(run[name].peak_bytes for run in its)) for name in its[0])
        total = sum(steps.values())
        print("by hand: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in steps.items()))
        print(
            f"end to end: ours {ours.seconds:.1f} s, by hand {total:.1f} s, ratio {ours.seconds / total:.2f} "
            f"(limit {_TIME_LIMIT:.2f})"
        )
        print(
            f"peak memory: ours {ours.peak_bytes / 1e9:.2f} GB, llama.cpp's own {peak / 1e9:.2f} GB, "
            f"beyond it {(ours.peak_bytes - peak) / 1e9:.2f} GB (limit {_MEMORY_LIMIT / 1e9:.2f})"
        )
        same = [name for name in _TYPES if self._same(name)]
        print(f"bytes: {len(same)} of {len(_TYPES)} types hold the same tensors")

    def upload(self) -> None:
        """Quantizing and uploading by themselves, then both by one command."""
        quantizing = median(self._ours().seconds for _ in range(self.runs))
        size = sum(path.stat().st_size for path in self.out.glob("*.gguf"))
        with _SlowHub(self.folder) as environment:
            uploading = median(self._push_only(index, environment) for index in range(self.runs))
            both = median(self._ours(f"alice/both-{i}", environment).seconds for i in range(self.runs))
        larger = max(quantizing, uploading)
        print(
            f"a Hub that takes {_UPLOAD_RATE / 1e6:.0f} MB/s: quantizing alone {quantizing:.1f} s, uploading "
            f"{size / 1e9:.2f} GB alone {uploading:.1f} s, both {both:.1f} s"
        )
        print(
            f"ratio to the larger {both / larger:.2f} (limit {_UPLOAD_LIMIT:.2f}), "
            f"to their sum {both / (quantizing + uploading):.2f}"
        )

    def types(self) -> None:
        """Bits per weight and seconds of a core per 10⁹ parameters of every type, for types.py."""
        wanted = [
            name for name in file_types() if not name.startswith(("IQ1", "IQ2")) and name != "MXFP4_MOE"
        ]
        for name in wanted:
            shutil.rmtree(self.out, ignore_errors=True)
            command = [str(_BIN / "llmcourse"), "quantize-gguf", str(self.config), f"types=[{name}]"]
            command += ["-o", str(self.out)]
            done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name}: {done.stderr.strip().splitlines()[-2]}")
                continue
            about = json.loads(done.stdout)["files"][0]["about"]
            seconds = about["seconds"] * (os.cpu_count() or 1) / 1.1
            print(f"{name}: {about['bits_per_weight']:.1f} bits, {seconds:.0f} s", flush=True)

    def _ours(self, push: str | None = None, environment: Mapping[str, str] | None = None) -> Measure:
        _clear(self.out)
        target = ["--push", push] if push else ["--no-push"]
        command = [str(_BIN / "llmcourse"), "quantize-gguf", str(self.config), "-o", str(self.out), "-q"]
        cache = self.folder / "cache"
        _clear(cache / "answers")  # each run asks the converter anew, as a first one does
        (cache / "llama.cpp").parent.mkdir(exist_ok=True)
        return run([*command, *target], {**os.environ, "LLMCOURSE_CACHE": str(cache), **(environment or {})})

    def _by_hand(self, tools: Path, converter: Path) -> dict[str, Measure]:
        _clear(self.hand)
        self.hand.mkdir()
        source = self.hand / "source.gguf"
        script = [sys.executable, str(converter / "convert_hf_to_gguf.py")]
        measures = {"convert": run([*script, str(self.model), "--outfile", str(source)])}
        for name in _TYPES:
            out = self.hand / f"{name}.gguf"
            measures[name] = run([str(tools / "llama-quantize"), str(source), str(out), name])
        source.unlink()
        return measures

    def _push_only(self, index: int, environment: Mapping[str, str]) -> float:
        """The finished folder, made already, to a new repository."""
        command = [str(_BIN / "llmcourse"), "quantize-gguf", str(self.config), "-o", str(self.out), "-q"]
        cache = {"LLMCOURSE_CACHE": str(self.folder / "cache")}
        return run(
            [*command, "--push", f"alice/push-{index}"], {**os.environ, **cache, **environment}
        ).seconds

    def _same(self, name: str) -> bool:
        """Equal from the tensors on; the heads differ in name and author, which ours fills."""
        ours, theirs = self.out / f"model.{name}.gguf", self.hand / f"{name}.gguf"
        tail = min(ours.stat().st_size, theirs.stat().st_size) - 2_000_000
        with ours.open("rb") as left, theirs.open("rb") as right:
            left.seek(-tail, os.SEEK_END)
            right.seek(-tail, os.SEEK_END)
            while block := left.read(1 << 24):
                if block != right.read(1 << 24):
                    return False
        return True


class _SlowHub:
    """A Hub in a process of its own; yields the environment of its user."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "hub"

    def __enter__(self) -> dict[str, str]:
        _clear(self.root)
        command = [
            "-m",
            "llmcourse.testing.hub",
            "--root",
            str(self.root),
            "--upload-rate",
            str(_UPLOAD_RATE),
        ]
        self.process = subprocess.Popen([sys.executable, *command, "--no-xet"], stdout=subprocess.PIPE)
        assert self.process.stdout
        said = json.loads(self.process.stdout.readline())
        return {
            "HF_ENDPOINT": said["endpoint"],
            "HF_TOKEN": said["tokens"]["alice"],
            "HF_HOME": str(self.root / "home"),
            "HF_HUB_DISABLE_XET": "1",
        }

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.root)


def _clear(folder: Path) -> None:
    """Gone, and no writing of the last run still under way."""
    shutil.rmtree(folder, ignore_errors=True)
    os.sync()


def _part(work: Callable[[_Bench], None]) -> Callable[[Path, int], None]:
    return lambda folder, runs: work(_Bench(folder, runs))


if __name__ == "__main__":
    main_of_parts(
        __doc__,
        {
            "convert-quantize": _part(_Bench.by_hand),
            "upload": _part(_Bench.upload),
            "types": _part(_Bench.types),
        },
        usual=("convert-quantize", "upload"),
    )
