"""How long steps take on this machine, for the next plan."""

from llmcourse.core.machine import usable_cpus
from llmcourse.core.rates import record_rates
from llmcourse.quality.sizes import CONTEXT

_TELLING_PARAMETERS = 50_000_000  # the time of smaller models is that of starting processes


def record_quantized(type_name: str, seconds: float, lanes: int, parameters: int) -> None:
    """Remember seconds of one core per 10⁹ parameters; `lanes` types were made side by side."""
    if parameters > _TELLING_PARAMETERS:
        rate = seconds * usable_cpus() / lanes / parameters * 1e9
        record_rates("quantize-gguf", {type_name: round(rate, 1)})


def record_run(name: str, seconds: float, windows: int, parameters: int) -> None:
    """Remember seconds of one core for 1,000 tokens through 10⁹ parameters; `name` as in `RUN_SECONDS`."""
    if parameters > _TELLING_PARAMETERS and windows:
        rate = seconds * usable_cpus() / (windows * CONTEXT / 1000) / parameters * 1e9
        record_rates("quantize-gguf", {name: round(rate, 1)})
