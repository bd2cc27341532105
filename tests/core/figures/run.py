"""A file for each piece; a failed one has a file too, which is no piece."""

from collections.abc import Iterator

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import HandedOver, LibraryError
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from tests.core.figures.config import Config


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    config = Config(**job.config)
    failed = [piece for piece in config.pieces if piece in config.failing_pieces]
    done = {file.piece for file in job.done}
    for piece in config.pieces:
        if piece in done:
            continue
        if not config.waits and done:
            raise HandedOver(f"{piece} is made elsewhere.", "The same command collects it.", where="pod-1")
        progress.note(f"made {piece}")
        (job.files / f"{piece}.json").write_text(f'"{piece} failed"' if piece in failed else f'"{piece}"')
        done.add(piece)
        yield OutputFile.of(job.files, f"{piece}.json", piece="" if piece in failed else piece)
    if failed:
        raise LibraryError(f"{', '.join(failed)} failed.", "Run the same command again.")
