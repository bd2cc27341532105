"""Whether the types and texts that are asked for can be had: names, imatrix, enough text."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llmcourse.core import extras
from llmcourse.core.calibration import calibration_checks
from llmcourse.core.checks import library_checks
from llmcourse.core.errors import ConfigError, LlmcourseError
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, Facts, FileFacts, fail, failure, ok, warn
from llmcourse.quality.sizes import CONTEXT
from llmcourse.quantize_gguf.advice import Made, beaten_by, fallback_words
from llmcourse.quantize_gguf.config import Config
from llmcourse.quantize_gguf.installed_types import file_types
from llmcourse.quantize_gguf.types import ADAPTER_TYPES, TENSOR_TYPES, type_facts


def name_checks(config: Config) -> Iterator[Check]:
    """Every type exists in the installed llama.cpp."""
    if extras.installed("llama_cpp"):
        yield from _name_checks("types", config.types, file_types())
        yield from _name_checks("tensor_types", config.tensor_types.values(), TENSOR_TYPES)


def type_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """What llama.cpp answered, and whether every type has the imatrix that it needs."""
    model = facts.models[config.model]
    if isinstance(model, ModelFacts) and model.is_adapter:
        for name in set(config.types) - set(ADAPTER_TYPES) if "types" in config.model_fields_set else ():
            yield fail(
                "types",
                f"An adapter cannot be {name}.",
                f"Use one of {', '.join(ADAPTER_TYPES)}.",
                ConfigError.exit_code,
            )
        return
    if isinstance(facts.answers, LlmcourseError):
        yield failure(facts.answers, config.model)
    elif facts.answers:
        yield from _answer_checks(config, facts.answers)
    wanting = [] if config.imatrix else [name for name in config.types if _wants_imatrix(name, facts)]
    if wanting:
        yield fail(
            "imatrix",
            f"{' and '.join(wanting)} cannot be made without an imatrix.",
            "Add imatrix: {text: calibration.txt}, or leave the type out.",
        )


def _name_checks(key: str, names: Iterable[str], known: Sequence[str]) -> Iterator[Check]:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            fix = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(known))}."
            what = f"{name} is no type of the installed llama.cpp."
            yield fail(key, what, fix, ConfigError.exit_code)


def _wants_imatrix(name: str, facts: Facts) -> bool:
    answers: Mapping[str, Any] = {} if isinstance(facts.answers, LlmcourseError) else facts.answers
    known = answers.get("types", {}).get(name)
    return bool(known["wants_imatrix"]) if known else type_facts(name).wants_imatrix


def _answer_checks(config: Config, answers: Mapping[str, Any]) -> Iterator[Check]:
    found = answers["pre_tokenizer"]
    if config.pre_tokenizer and found["how"] == "none":
        what = f"This model's tokenizer has none, so {config.pre_tokenizer} is not used."
        yield warn("pre-tokenizer", what)
    yield from _pre_tokenizer_checks(found)
    yield ok("converter", f"knows {answers['architecture']}")
    if problem := answers.get("card_problem"):
        yield warn(
            "README.md",
            f"The model's card is passed over, because {problem}: what it says of author, origin and tags is "
            "not in the files.",
            "Mend README.md, or go on without it.",
        )
    if answers.get("projector") and not config.mmproj:
        yield warn(
            "mmproj",
            f"The {answers['projector']} part of the model is not in these files, which are of text alone.",
            "Set mmproj=true to make the file of it, too.",
        )
    if answers.get("missing_nextn"):
        yield warn(
            "layers",
            "config.json promises layers that predict further tokens (MTP), and the weights have none: the "
            "files are made without them, so without speculative decoding by the model itself.",
        )
    yield from _made_checks(answers)
    yield from _matrix_checks(config, answers)


def _made_checks(answers: Mapping[str, Any]) -> Iterator[Check]:
    """What llama.cpp makes otherwise than a type's name says, and types that others beat by that."""
    types, tensors = answers["types"], answers.get("n_tensors")
    changed = {name: found["fallbacks"] for name, found in types.items() if found.get("fallbacks")}
    for name, fallbacks in changed.items():
        yield warn(
            "types",
            f"{name}: llama.cpp takes a larger type for {fallback_words(fallbacks, tensors)}, whose rows do "
            f"not fit; {types[name]['bits_per_weight']:.2f} bits per weight in all.",
        )
    known = [Made(name, found["size"]) for name, found in types.items()]
    for one in known:
        if better := beaten_by(one, known):
            size = "as large as" if better.size == one.size else "larger than"
            yield warn("types", f"{one.type} will be {size} {better.type}, which is better.", "Leave it out.")
    kept: Mapping[str, int] = next((found["kept"] for found in types.values() if found.get("kept")), {})
    for kind, count in kept.items():
        of_all = f" of {tensors}" if tensors else ""
        yield warn(
            "types",
            f"{count}{of_all} tensors are {kind}, as the model was published, and stay so in every type: "
            "the types differ in the rest alone.",
        )


def _pre_tokenizer_checks(found: Mapping[str, Any]) -> Iterator[Check]:
    """Whether llama.cpp splits text as the model's own tokenizer does; what differs is quoted."""
    difference = f": {found['differs']} gets other tokens" if found.get("differs") else ""
    if found["how"] == "matched":
        others = f" (of {len(found['candidates'])} that split all test texts alike)"
        reason = "llama.cpp does not know this tokenizer"
        if found.get("instead_of"):
            reason = f"llama.cpp takes this tokenizer for {found['instead_of']}, which it is not{difference}"
        yield warn(
            "pre-tokenizer",
            f"{reason}; {found['name']} gives the same token ids"
            f"{others if len(found['candidates']) > 1 else ''}.",
        )
    elif found["how"] == "known" and found.get("matches") is False:
        yield warn(
            "pre-tokenizer",
            f"llama.cpp splits some text otherwise than the model's own tokenizer{difference} under "
            f"{found['name']}, its name for this tokenizer, and no other name of it fits all texts.",
        )
    elif found["how"] == "given" and not found.get("matches", True):
        yield warn(
            "pre-tokenizer",
            f"{found['name']} splits text otherwise than the model's own tokenizer{difference}.",
            "Leave pre_tokenizer out to find one that fits.",
        )


def _matrix_checks(config: Config, answers: Mapping[str, Any]) -> Iterator[Check]:
    """Whether a ready imatrix is of this model; tensors that it lacks are quantized without weights."""
    if config.imatrix is None or config.imatrix.file is None:
        return
    lacking = max((found["without_weights"] for found in answers["types"].values()), default=0)
    if lacking > answers["n_tensors"] // 3:
        yield fail(
            "imatrix",
            f"{config.imatrix.file} lacks {lacking} of the model's tensors: it is of another model.",
            "Give the imatrix of this model, or let it be measured on a text.",
        )
    elif lacking:
        yield warn("imatrix", f"{config.imatrix.file} lacks {lacking} tensors, which get no weights.")


def text_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """The texts are there, long enough for this model's tokenizer, and not the same."""
    for name, found in facts.files.items():
        if isinstance(found, LlmcourseError):
            yield failure(found, name)
    answers: Mapping[str, Any] = {} if isinstance(facts.answers, LlmcourseError) else facts.answers
    for key, wish in (("imatrix", config.imatrix), ("quality", config.quality)):
        tokens = answers.get("tokens", {}).get((wish and wish.text) or "")
        if wish is not None and wish.text is not None and tokens is not None:
            yield _length_check(key, wish.text, wish.chunks, tokens)
    yield from _data_checks(config, facts)
    if config.imatrix and config.quality and config.imatrix.text:
        calibration, judge = facts.files.get(config.imatrix.text), facts.files.get(config.quality.text)
        if isinstance(judge, FileFacts) and calibration == judge:
            yield warn("quality", "The imatrix is made from the text it is judged on.", "Use another text.")
    if config.imatrix and config.imatrix.file and not config.imatrix.file.endswith((".gguf", ".dat")):
        yield fail(
            "imatrix",
            f"{config.imatrix.file} is no imatrix file.",
            "Give one that ends in .gguf or .dat, or a text with imatrix: {text: …}.",
            ConfigError.exit_code,
        )


def _data_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """Data that are read row by row: whether they can be had, and the library that reads them is here."""
    data = config.imatrix.documents() if config.imatrix else None
    if data is None:
        return
    yield from library_checks(["datasets" if data.dataset else "pyarrow"], "gguf")
    if data.dataset:
        yield from calibration_checks(data, facts)


def _length_check(key: str, text: str, chunks: int, tokens: int) -> Check:
    """llama.cpp's tools want two windows at least; with fewer than were asked for they are content."""
    windows = tokens // CONTEXT
    if windows < 2:
        return fail(
            key,
            f"{text} has {tokens:,} tokens of this model, and {2 * CONTEXT:,} are needed at least.",
            "Give a longer text.",
        )
    if windows < chunks:
        return warn(
            key, f"{text} has {windows} windows of {CONTEXT} tokens, fewer than the {chunks} asked for."
        )
    return ok(key, f"{text}, {chunks} windows of {CONTEXT} tokens")
