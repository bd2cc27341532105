"""GGUF files through llama.cpp: log-likelihoods and greedy text, for lm-eval.

lm-eval's own `gguf` model asks a server; here no server is needed, and log-likelihoods are computed from the
logits of the file's own model, with its own tokenizer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_cpp import Llama
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from numpy.typing import NDArray

_BATCH = 512  # tokens computed at once
_NEW_TOKENS = 256  # where a task does not say how long an answer may be, as lm-eval has it for transformers
_LONGEST = 4096  # tokens of context, also where the model was made for more: its logits are kept in memory

Request = tuple[tuple[str, str], list[int], list[int]]


class GgufModel(TemplateLM):  # type: ignore[misc]
    """A GGUF file as lm-eval's model: one sequence at a time, of which what the last one had is kept."""

    tokenizer_name = "gguf"

    def __init__(self, path: str, on_gpu: bool) -> None:
        """Load the file; with `on_gpu` all layers go to the GPU.

        Raises:
            ValueError: llama.cpp cannot load it.
        """
        super().__init__()
        probe = Llama(path, vocab_only=True, verbose=False)
        trained = int(
            probe.metadata.get(f"{probe.metadata['general.architecture']}.context_length", _LONGEST)
        )
        probe.close()
        self.max_length = min(trained, _LONGEST)
        self._llama = Llama(
            path,
            n_ctx=self.max_length,
            n_batch=_BATCH,
            n_gpu_layers=-1 if on_gpu else 0,
            logits_all=True,
            verbose=False,
        )

    @property
    def eot_token_id(self) -> int:
        return int(self._llama.token_eos())

    @property
    def prefix_token_id(self) -> int:
        first = int(self._llama.token_bos())
        return first if first >= 0 else self.eot_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Tokens as the file's own tokenizer makes them; the first one is there if the file wants one."""
        wanted = add_special_tokens is not False
        return list(self._llama.tokenize(string.encode(), add_bos=wanted, special=True))

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether it is what the model would write."""
        answers: dict[int, tuple[float, bool]] = {}
        # Neighbours in this order share the most.
        for place in sorted(range(len(requests)), key=lambda place: requests[place][1] + requests[place][2]):
            text, context, continuation = requests[place]
            answers[place] = self._score(context, continuation)
            self.cache_hook.add_partial("loglikelihood", text, answers[place])
        return [answers[place] for place in range(len(requests))]

    def _score(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        tokens = (context + continuation)[-(self.max_length + 1) :]
        logits = self._logits(tokens[:-1], len(continuation))
        wanted = np.array(continuation[-len(logits) :])
        highest = logits.max(axis=1, keepdims=True)
        norm = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
        likely = logits[np.arange(len(wanted)), wanted] - norm
        return float(likely.sum()), bool((logits.argmax(axis=1) == wanted).all())

    def _logits(self, tokens: Sequence[int], last: int) -> NDArray[np.float64]:
        """Of the last positions, of shape (last, vocabulary); what the last call has computed is kept."""
        before = self._llama.input_ids[: self._llama.n_tokens]
        shared = 0
        for old, new in zip(before, tokens, strict=False):
            if old != new or shared >= len(tokens) - last:
                break
            shared += 1
        self._llama.n_tokens = shared  # eval() drops what follows from its cache
        self._llama.eval(list(tokens[shared:]))
        logits: NDArray[np.float64] = self._llama.scores[len(tokens) - last : len(tokens)].astype(np.float64)
        return logits

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in windows where they are longer than the context."""
        found = []
        for (text,) in (request.args for request in requests):
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(text),  # with its first token, as lm-eval has it for transformers
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            parts = [self._score(*make_disjoint_window(window)) for window in windows]
            found.append(sum(likely for likely, _ in parts))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), found[-1])
        return found

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Texts that end before a stop sequence.

        Raises:
            ValueError: a task wants samples drawn, which llama.cpp draws otherwise than transformers.
        """
        return [self._written(*request.args) for request in requests]

    def _written(self, context: str, wishes: dict[str, Any]) -> str:
        if wishes.get("do_sample") or (wishes.get("temperature") or 0) > 0:
            raise ValueError("the task draws its answers at random, and a GGUF model is only asked greedily")
        until = wishes.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        length = int(wishes.get("max_gen_toks") or _NEW_TOKENS)
        tokens = self.tok_encode(context)[-(self.max_length - length) :]
        answer: Any = self._llama.create_completion(tokens, max_tokens=length, stop=stops, temperature=0.0)
        text = str(answer["choices"][0]["text"])
        self.cache_hook.add_partial("generate_until", (context, wishes), text)
        return text
