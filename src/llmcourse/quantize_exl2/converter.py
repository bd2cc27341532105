"""Calls of exllamav2's converter: each is a process, which goes on with its own job after a kill.

The converter resumes whatever job lies in its working folder, with that job's options in place of those it
is given.  So each call has a folder of its own beside a record of its options, and what does not agree with
them is removed before; the folders are in our scratch, and no other is ever removed.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from llmcourse.core.environments import Environment
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quantize_exl2.failures import is_telling
from llmcourse.quantize_exl2.options import JOB_NAME, Options
from llmcourse.quantize_exl2.results import read_json
from llmcourse.quantize_exl2.status import Stages

_PERPLEXITY = "calibration perplexity (quant):"


@dataclass
class Call:
    """How a call ended, and what it said on the way."""

    code: int = 0
    telling: list[str] = field(default_factory=list)
    perplexity: float | None = None

    def hear(self, line: str) -> None:
        if is_telling(line):
            self.telling.append(line.strip())
        if _PERPLEXITY in line:
            self.perplexity = float(line.rpartition(":")[2])


@dataclass(frozen=True)
class Converter:
    """The converter in its environment; `variables` are what its process gets beside ours."""

    environment: Environment
    variables: Mapping[str, str]
    progress: Progress

    def run(self, name: str, options: Options) -> Call:
        """Call it, or go on with this call where a kill ended it; its log goes to our stderr.

        Whether it made what it should its files must tell: it exits with 0 after some errors too.
        """
        self._clear_unless_ours(name, options)
        call, stages = Call(), Stages(name, self.progress)
        process = self.environment.start(
            ["convert", *options.arguments()],
            environment=self.variables,
            stdin=subprocess.DEVNULL,  # on Ctrl-C it would ask there whether to go on
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    text = line.decode(errors="replace")
                    if not stages.take(text):
                        call.hear(text)
                        sys.stderr.write(text)
                        sys.stderr.flush()
                call.code = process.wait()
            finally:
                process.kill()
        if call.code == 0:
            stages.finish()
        return call

    def _clear_unless_ours(self, name: str, options: Options) -> None:
        work, record = Path(options.out_dir), Path(f"{options.out_dir}.json")
        if work.exists() and not self._goes_on(options):
            self.progress.note(
                f"{name}: what an interrupted run left cannot be gone on with; it starts over."
            )
            shutil.rmtree(work)
        if options.compile_full:  # written last and at once, from what lies in the working folder
            shutil.rmtree(options.compile_full, ignore_errors=True)
        work.parent.mkdir(parents=True, exist_ok=True)
        write_json(record, asdict(options))

    def _goes_on(self, options: Options) -> bool:
        """Whether the job in the working folder is this call's, and can be resumed.

        A kill can tear the job file, and marks it `invalid` where it came between two files that belong
        together; a job that is finished is not done again by the converter.
        """
        work = Path(options.out_dir)
        if read_json(Path(f"{options.out_dir}.json")) != json.loads(json.dumps(asdict(options))):
            return False
        job = read_json(work / JOB_NAME)
        if not job:
            return not any(path.name == JOB_NAME for path in work.iterdir())  # killed before it began
        is_open = "invalid" not in job and job.get("progress") != "finished"
        return is_open and options.agree_with(job)
