"""STAND-IN for exllamav2's converter, for machines without a GPU: it makes the same files and says the same
kinds of lines, and computes nothing.

What it imitates of exllamav2 0.3.2 (conversion/convert_exl2.py): job_new.json in the working folder, a job
that lies there is gone on with and its options win, `invalid` and `finished` jobs end with 0, status lines,
measurement.json, out_tensor/, the compiled folder with all that is no weight, exit 0 after some errors.
`stand_in` in the model's config.json says how long a layer takes, which error comes, where calls are noted.
"""
# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

DONE_LAYERS = {"Measuring": "last_module_idx", "Quantizing": "q_last_module_idx"}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for flag, name in (("-i", "in_dir"), ("-o", "out_dir"), ("-om", "output_measurement"),
                       ("-m", "measurement"), ("-cf", "compile_full"), ("-c", "cal_dataset")):  # fmt: skip
        parser.add_argument(flag, dest=name)
    for flag, name in (("-r", "dataset_rows"), ("-l", "length"), ("-mr", "measurement_rows"),
                       ("-ml", "measurement_length"), ("-hb", "head_bits")):  # fmt: skip
        parser.add_argument(flag, dest=name, type=int)
    for flag, name in (("-b", "bits"), ("-ss", "shard_size"), ("-rs", "rope_scale"), ("-ra", "rope_alpha")):
        parser.add_argument(flag, dest=name, type=float)
    parser.add_argument("-so", dest="status_output", action="store_true")
    return parser.parse_args(arguments)


class Converter:
    def __init__(self, options: argparse.Namespace) -> None:
        self.work = Path(options.out_dir)
        self.work.mkdir(parents=True, exist_ok=True)
        self.job_file = self.work / "job_new.json"
        self.is_resumed = self.job_file.exists()
        self.job: dict[str, Any] = {**vars(options), "progress": "begin"}
        if options.measurement:
            self.job["reuse_measurement"] = self.job.pop("measurement")
            self.job |= json.loads(Path(options.measurement).read_text())
        else:
            del self.job["measurement"]
        if self.is_resumed:
            self.job |= json.loads(self.job_file.read_text()) | {"out_dir": options.out_dir}
        self.config = json.loads(Path(self.job["in_dir"], "config.json").read_text())
        self.wish: dict[str, Any] = self.config.get("stand_in", {})

    def show(self, stage: str, done: int, total: int) -> None:
        status = {"stage": stage, "completion": round(done / total, 4)}
        say("[STATUS]" + json.dumps(status) + "[/STATUS]")

    def save(self) -> None:
        self.job_file.write_text(json.dumps(self.job, indent=4))

    def run(self) -> None:
        self.note()
        say(" -- Resuming job" if self.is_resumed else " -- Beginning new job")
        if "invalid" in self.job:
            say(" ** Error: Corrupted job")
            sys.exit()
        if self.job["progress"] == "finished":
            say(" !! Job is already finished.")
            sys.exit()
        (self.work / "out_tensor").mkdir(exist_ok=True)
        self.save()
        if self.job["output_measurement"]:
            self.measure()
        else:
            self.quantize()
        self.job["progress"] = "finished"
        self.save()
        say(" -- Finished")

    def note(self) -> None:
        if "log" in self.wish:
            with Path(self.wish["log"]).open("a") as log:
                call = {"arguments": sys.argv[2:], "resumed": self.is_resumed,
                        "measured": self.job.get("last_module_idx", 0),
                        "quantized": self.job.get("q_last_module_idx", 0)}  # fmt: skip
                log.write(json.dumps(call) + "\n")

    def layers(self, stage: str) -> None:
        key, count = DONE_LAYERS[stage], self.config["num_hidden_layers"]
        first = self.job.get(key, 0)
        self.show(stage, first, count)
        for index in range(first, count):
            time.sleep(self.wish.get("seconds", 0))
            time.sleep(self.wish.get("more_seconds_at", {}).get(str(self.job["bits"]), 0))
            if self.wish.get("fails") == stage:
                say(self.wish.get("words", " ## Measurement/inference error (2): hidden_states"))
                os._exit(self.wish.get("code", 1))
            (self.work / "out_tensor" / f"model.layers.{index}.safetensors").write_bytes(b"layer")
            self.job[key] = index + 1
            self.save()
            self.show(stage, index + 1, count)

    def measure(self) -> None:
        self.show("Tokenizing (1)", 1, 1)
        self.show("Embeddings", 1, 1)
        self.layers("Measuring")
        options = [{"accuracy": 0.9, "total_bits": 1000}]
        names = (f"model.layers.{index}" for index in range(self.config["num_hidden_layers"]))
        found = {f"{name}.{part}": options for name in names for part in ("self_attn", "mlp")}
        text = json.dumps({"measurement": found, "last_module_idx": self.job["last_module_idx"]}, indent=4)
        (self.work / "measurement.json").write_text(text)
        Path(self.job["output_measurement"]).write_text(text)

    def quantize(self) -> None:
        self.show("Optimizing", 1, 1)
        self.show("Tokenizing (2)", 1, 1)
        self.show("Embeddings", 1, 1)
        self.layers("Quantizing")
        perplexity = self.wish.get("perplexity", "12.3456")
        say(f" -- Module quantized, calibration perplexity (quant): {perplexity}")
        if self.wish.get("fails") == "Compiling":
            say(" ## Error: Unable to fit output tensor in single shard.")
            sys.exit()
        made, source = Path(self.job["compile_full"]), Path(self.job["in_dir"])
        made.mkdir(parents=True)
        tensors = {"lm_head.q_weight": int(self.job["bits"] * 100), "model.norm.weight": 16}
        (made / "output.safetensors").write_bytes(safetensors(tensors))
        for path in source.iterdir():
            if path.suffix != ".safetensors":
                shutil.copy(path, made / path.name)
        stated = {"quant_method": "exl2", "version": "0.3.2", "bits": self.job["bits"],
                  "head_bits": self.job["head_bits"]}  # fmt: skip
        (made / "config.json").write_text(json.dumps(self.config | {"quantization_config": stated}, indent=4))
        self.show("Compiling", 1, 1)


def safetensors(sizes: dict[str, int]) -> bytes:
    header, start = {}, 0
    for name, size in sizes.items():
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(start)


def logits(job: dict[str, Any]) -> None:
    """Logits that are the nearer to the original's, the more bits the model has."""
    import numpy as np

    config = json.loads(Path(job["model"], "config.json").read_text())
    bits = config.get("quantization_config", {}).get("bits")
    folder, context, vocabulary = Path(job["folder"]), job["context"], config["vocab_size"]
    text = np.frombuffer(Path(job["text"]).read_bytes(), np.uint8) % vocabulary
    count = min(job["chunks"], len(text) // context)
    windows = text[: count * context].reshape(count, context).astype(np.int32)
    save(np, folder / "tokens.npy", windows)
    for number in range(count):
        draw = np.random.default_rng(number)
        found = draw.normal(size=(context - 1 - context // 2, vocabulary)).astype(np.float32)
        if bits:
            found += draw.normal(size=found.shape).astype(np.float32) / 2**bits
        while any(folder.glob("window-*.npy")):
            time.sleep(0.001)
        save(np, folder / f"window-{number}.npy", found)


def save(np: Any, path: Path, array: Any) -> None:
    with path.with_suffix(".partial").open("wb") as file:
        np.save(file, array)
    path.with_suffix(".partial").rename(path)


if __name__ == "__main__":
    if sys.argv[1] == "logits":
        logits(json.loads(Path(sys.argv[2]).read_text()))
    elif sys.argv[2:] == ["-h"]:
        say("usage: a stand-in")
    else:
        Converter(parsed(sys.argv[2:])).run()
