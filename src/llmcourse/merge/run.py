"""Run a merge through mergekit's own planner and task graph, in a child process.

What is ours: models come as local folders, the donor of config and tokenizer is the first model named
(mergekit draws it by lot), tensors are written as they are merged, each finished file is a commit
point, and a tokenizer that cannot be copied is an error.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmcourse.merge.imports import import_mergekit

import_mergekit()  # before anything else of mergekit: it leaves the heavy half out

import torch
from mergekit.architecture import get_architecture_info
from mergekit.common import ModelReference
from mergekit.graph import Executor
from mergekit.io.tasks import FinalizeModel, LoaderCache, SaveTensor
from mergekit.merge import (
    _copy_tagalong_files,
    _copy_tokenizer,
    _get_donor_model,
    _model_out_config,
    _set_chat_template,
    _update_config_vocab,
)
from mergekit.multigpu_executor import MultiGPUExecutor
from mergekit.options import MergeOptions
from mergekit.tokenizer import TokenizerInfo

from llmcourse.core.artifact import OutputFile
from llmcourse.core.headers import safetensors_header
from llmcourse.core.isolated import Job
from llmcourse.core.model import LocalFiles
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.merge.accounting import INDEX_NAME, account
from llmcourse.merge.config import Config, result_stage, walk_stages
from llmcourse.merge.failures import mergekit_errors
from llmcourse.merge.finishing import settle_config
from llmcourse.merge.finiteness import not_finite, not_finite_in
from llmcourse.merge.kernels import keep_freed_memory, use_fast_kernels
from llmcourse.merge.not_finite import KEY, sentences
from llmcourse.merge.planner import Planner
from llmcourse.merge.published_layout import PublishedLayout
from llmcourse.merge.recipe import Moe, Recipe
from llmcourse.merge.resolve import Resolver
from llmcourse.merge.seed import random_state, restore_random_state, seed_all
from llmcourse.merge.shards import Shard, ShardWriter, plan_shards
from llmcourse.merge.tensor_sizes import planned_tensor, sources
from llmcourse.merge.writer_task import OurWriter


def answer(job: Job, progress: Progress) -> dict[str, Any]:
    """What mergekit's planner would do with every tensor.

    Raises:
        LibraryError: it refuses these models; its log says more.
    """
    logging.basicConfig(level=logging.INFO)
    with mergekit_errors(), progress.step("see what becomes of every tensor"):
        return account(job, MergeOptions(**job.settings["options"] | {"quiet": True}))


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Merge every stage; yields the files of the result as they become whole.

    Raises:
        LibraryError: mergekit failed; its log says more.
    """
    logging.basicConfig(level=logging.INFO)
    use_fast_kernels()
    keep_freed_memory()
    config = Config.model_validate(job.config)
    fixed = {"quiet": True, "lora_merge_cache": config.options.lora_merge_cache}
    options = MergeOptions(**job.settings["options"] | fixed)
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    last = result_stage(config)
    with mergekit_errors():
        resolver = Resolver(job, options)
        for stage in walk_stages(config):
            if stage is last:
                yield from _make(stage, resolver, job.files, job.done, progress)
            elif not resolver.stage_folder(stage).exists():
                _make_intermediate(stage, resolver, progress)


def _make(
    stage: Recipe | Moe, resolver: Resolver, folder: Path, done: tuple[OutputFile, ...], progress: Progress
) -> Iterator[OutputFile]:
    if isinstance(stage, Moe):
        from llmcourse.merge.run_moe import make_mixture

        resolver.merge_loras(stage, progress)
        with progress.step("build the mixture of experts"):
            make_mixture(resolver.document(stage), folder, resolver.options)
            settle_config(folder)
        made = list(_others(folder, set()))
        tell(made, progress)
        yield from made
    else:
        if resolver.options.random_seed is not None:
            seed_all(resolver.options.random_seed)
        resolver.merge_loras(stage, progress)  # mergekit's next step, which draws random numbers
        yield from Merge(resolver, stage, folder, progress).files(done)


def _make_intermediate(stage: Recipe | Moe, resolver: Resolver, progress: Progress) -> None:
    """A stage that later ones read: it gets its name only when it is whole."""
    final = resolver.stage_folder(stage)
    growing = final.with_suffix(".growing")
    if growing.exists():
        shutil.rmtree(growing)
    growing.mkdir(parents=True)
    for _ in _make(stage, resolver, growing, (), progress):
        pass
    growing.rename(final)


def _others(folder: Path, known: set[str]) -> Iterator[OutputFile]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in known:
            found = not_finite_in(path) if path.suffix == ".safetensors" else {}
            yield OutputFile.of(folder, path.name, about={KEY: found} if found else {})


def tell(files: Iterable[OutputFile], progress: Progress) -> None:
    """Name the tensors that are not finite; the card says it too."""
    for sentence in sentences(files):
        progress.note(f"! {sentence}")


def givers(task: SaveTensor) -> Iterator[ModelReference]:
    """The models whose own tensor, of those that `task` merges, is not finite either."""
    for source in sources(task):
        loader = LoaderCache().get(source.model)
        if any(not_finite(name, loader.get_tensor(name)) for name in source.names):
            yield source.model


class Merge:
    """One mergekit-yaml document on its way to a folder."""

    def __init__(
        self,
        resolver: Resolver,
        stage: Recipe,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.config = resolver.recipe(stage)
        self.folder = folder
        self.options = resolver.options
        self.name_of = resolver.public_name
        self.progress = progress
        self.title = f"merge {stage.name}" if stage.name else "merge"
        self.tokenizer: Any = None

    def files(self, done: tuple[OutputFile, ...]) -> Iterator[OutputFile]:
        """Source: mergekit 0.1.5, merge.py (run_merge), whose steps these are."""
        self.architecture = get_architecture_info(self.config, self.options)
        cache = LoaderCache()
        cache.loaders.clear()
        cache.setup(options=self.options)
        self.out_config = _model_out_config(
            self.config, self.architecture, trust_remote_code=self.options.trust_remote_code
        )
        for model in self.config.referenced_models():
            cache.get(model)
        planner = Planner(
            self.config, self.architecture, options=self.options, out_model_config=self.out_config
        )
        tasks = planner.plan_to_disk(out_path=str(self.folder))
        weights = {file.path for file in done}
        if self.options.safe_serialization:
            for file in self._stream(tasks, done):
                weights.add(file.path)
                yield file
        else:
            self._remember_tokenizer(self._executor(tasks).run(quiet=True))
        self._write_small_files()
        yield from _others(self.folder, weights)

    def _executor(self, tasks: list[Any]) -> Any:
        if self.options.multi_gpu:
            return MultiGPUExecutor(
                targets=tasks, storage_device=None if self.options.low_cpu_memory else "cpu"
            )
        storage = self.options.device if self.options.low_cpu_memory else "cpu"
        return Executor(targets=tasks, math_device=self.options.device, storage_device=storage)

    def _stream(self, tasks: list[Any], done: tuple[OutputFile, ...]) -> Iterator[OutputFile]:
        """Execute the graph with our writer, skipping files that an earlier run finished."""
        saves = [task for task in tasks if isinstance(task, SaveTensor)]
        others = [task for task in tasks if not isinstance(task, SaveTensor | FinalizeModel)]
        order = self._execution_order([*saves, *others])
        split = PublishedLayout(self.out_config.model_type).written
        planned = [planned_tensor(task, self.config.dtype, split) for task in order]
        shards = plan_shards(planned, self.options.out_shard_size)
        finished = {file.path: file for file in done}
        kept = [shard for shard in shards if shard.name in finished]
        todo = {tensor.name for shard in shards if shard not in kept for tensor in shard.tensors}
        writer = ShardWriter(self.folder, shards, split)
        try:
            targets = [
                task.model_copy(update={"writer_task": OurWriter.holding(writer)})
                for task in order
                if task.tensor_name in todo
            ]
            if kept:
                restore_random_state(finished[kept[-1].name].state["random_state"])
            made = list(done)
            for file in self._execute([*targets, *others], writer, len(order), len(order) - len(targets)):
                made.append(file)
                yield file
            tell(made, self.progress)
            self._write_index(shards, writer, kept)
        finally:
            writer.stop()

    def _execution_order(self, tasks: list[Any]) -> list[SaveTensor]:
        """Save tasks in the order in which the graph runs them; random numbers are drawn in it."""
        schedule = Executor(targets=tasks).schedule.tasks
        return [task for handle in schedule if isinstance(task := handle.task(), SaveTensor)]

    def _execute(
        self, targets: list[Any], writer: ShardWriter, total: int, already: int
    ) -> Iterator[OutputFile]:
        saves = {task.tensor_name: task for task in targets if isinstance(task, SaveTensor)}
        with self.progress.step(self.title, total, "tensors") as step:
            step.advance(already)
            for task, value in self._executor(targets).run(quiet=True):
                if isinstance(value, TokenizerInfo):
                    self.tokenizer = value.tokenizer
                if not isinstance(task, SaveTensor):
                    continue
                step.advance()
                finished = writer.tensor_done(task.tensor_name)
                if finished:
                    about = self._traced(finished.about, saves)
                    yield replace(finished, state={"random_state": random_state()}, about=about)

    def _traced(self, about: dict[str, Any], saves: Mapping[str, SaveTensor]) -> dict[str, Any]:
        """What is not finite in a file, with the models that it came from."""
        found = {
            part: (what, [self.name_of(model) for model in givers(saves[name])])
            for part, (what, name) in about.get(KEY, {}).items()
        }
        return {KEY: found} if found else {}

    def _remember_tokenizer(self, results: Iterator[tuple[Any, Any]]) -> None:
        for _, value in results:
            if isinstance(value, TokenizerInfo):
                self.tokenizer = value.tokenizer

    def _write_index(self, shards: list[Shard], writer: ShardWriter, kept: list[Shard]) -> None:
        if len(shards) == 1:
            return
        weight_map, size = dict(writer.weight_map), writer.total_bytes
        files = LocalFiles(self.folder)
        for shard in kept:
            header = safetensors_header(files, shard.name)
            weight_map |= dict.fromkeys(header, shard.name)
            size += max(entry["data_offsets"][1] for entry in header.values())
        write_json(self.folder / INDEX_NAME, {"metadata": {"total_size": size}, "weight_map": weight_map})

    def _write_small_files(self) -> None:
        if self.tokenizer is not None:
            padding = self.config.tokenizer.pad_to_multiple_of if self.config.tokenizer else None
            _update_config_vocab(
                self.out_config, self.architecture, self.tokenizer, pad_to_multiple_of=padding
            )
        self.out_config.save_pretrained(self.folder)
        settle_config(self.folder)
        if self.tokenizer is not None:
            _set_chat_template(self.tokenizer, self.config)
            self.tokenizer.save_pretrained(self.folder)
        elif self.options.copy_tokenizer:
            _copy_tokenizer(self.config, str(self.folder), options=self.options)
        _, donor = _get_donor_model(self.config, options=self.options)
        generation = Path(donor) / "generation_config.json"
        if generation.exists():
            shutil.copyfile(generation, self.folder / generation.name)
        _copy_tagalong_files(
            self.config, str(self.folder), files=self.architecture.tagalong_files or [], options=self.options
        )
