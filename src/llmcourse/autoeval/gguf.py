"""GGUF files through llama.cpp: log-likelihoods and greedy text, for lm-eval.

lm-eval's own `gguf` model asks a server; here no server is needed, and log-likelihoods are computed from the
logits of the file's own model, with its own tokenizer.  Where a prompt and its answer are longer than the
context, the same is cut as lm-eval cuts for transformers, and counted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2.exceptions import TemplateError
from llama_cpp import Llama
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs
from lm_eval.models.utils import postprocess_generated_text as without_thought
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers.utils.chat_template_utils import render_jinja_template

from llmcourse.autoeval.config import Runtime
from llmcourse.autoeval.counting import Counts
from llmcourse.autoeval.gguf_context import Context, is_end, piece, without_repacking

_NEW_TOKENS = 256  # where a task does not say how long an answer may be, as lm-eval has it for transformers
_LENGTH = 2048  # where the file does not say what it was made for, as lm-eval has it
_LOOKED_BACK = 64  # tokens in which a stop sequence is looked for, beside its own length

Request = tuple[tuple[str, str], list[int], list[int]]


class GgufModel(TemplateLM):  # type: ignore[misc]
    """A GGUF file as lm-eval's model: one sequence at a time, of which what the last one had is kept."""

    tokenizer_name = "gguf"

    def __init__(self, path: str, on_gpu: bool, runtime: Runtime) -> None:
        """Load the file; with `on_gpu` all layers go to the GPU.

        Raises:
            ValueError: llama.cpp cannot load it.
        """
        super().__init__()
        # Its own context is the smallest there is; ours below grows as it is needed.
        with without_repacking():
            self._llama = Llama(path, n_ctx=32, n_batch=32, n_gpu_layers=-1 if on_gpu else 0, verbose=False)
        self._metadata = self._llama.metadata
        architecture = self._metadata["general.architecture"]
        trained = int(self._metadata.get(f"{architecture}.context_length", _LENGTH))
        self.max_length = runtime.max_length or trained
        self.counts = Counts()
        self._context = Context(self._llama.model, self._llama.n_vocab(), self.max_length)
        self._runtime = runtime
        self._thought_ends = self._thinking(runtime.think_end_token)

    def close(self) -> None:
        """Give its memory back."""
        self._context.close()
        self._llama.close()

    @property
    def eot_token_id(self) -> int:
        return int(self._llama.token_eos())

    @property
    def prefix_token_id(self) -> int:
        first = int(self._llama.token_bos())
        return first if first >= 0 else self.eot_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Tokens as the file's own tokenizer makes them; the first one is there if the file wants one.

        A text that begins with it already, as a chat template writes it, gets no second one.
        """
        wanted = add_special_tokens is not False
        if add_special_tokens is None and has_bos_prefix(string, self._text([self.prefix_token_id], True)):
            wanted = False
        return list(self._llama.tokenize(string.encode(), add_bos=wanted, special=True))

    def _text(self, tokens: Sequence[int], special: bool) -> str:
        model = self._llama.model
        return b"".join(piece(model, token, special) for token in tokens).decode("utf-8", "replace")

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The chat in the file's own template, rendered by transformers as that of any model is.

        Where the template refuses a system message, it is left out, as lm-eval does it.
        """
        try:
            return self._rendered(chat_history, add_generation_prompt)
        except TemplateError:
            others = [message for message in chat_history if message["role"] != "system"]
            return self._rendered(others, add_generation_prompt)

    def _rendered(self, chat: list[dict[str, str]], add_generation_prompt: bool) -> str:
        arguments = dict(self._runtime.chat_template_args)
        if self._runtime.enable_thinking is not None:
            arguments["enable_thinking"] = self._runtime.enable_thinking
        ids = {"bos_token": self._llama.token_bos(), "eos_token": self._llama.token_eos()}
        named = {name: self._text([token], True) for name, token in ids.items() if token >= 0}
        rendered: Any = render_jinja_template(
            [chat],
            chat_template=self._metadata["tokenizer.chat_template"],
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **(named | arguments),
        )
        found = rendered[0]
        return str(found if isinstance(found, str) else found[0])

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether it is what the model would write."""
        answers: dict[int, tuple[float, bool]] = {}
        # Neighbours in this order share the most.
        for place in sorted(range(len(requests)), key=lambda place: requests[place][1] + requests[place][2]):
            text, context, continuation = requests[place]
            self.counts.cut([len(context) + len(continuation) - (self.max_length + 1)])
            answers[place] = self._score(context, continuation)
            self.cache_hook.add_partial("loglikelihood", text, answers[place])
        return [answers[place] for place in range(len(requests))]

    def _score(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        tokens = (context + continuation)[-(self.max_length + 1) :]
        wanted = np.array(continuation[-(len(tokens) - 1) :])
        logits = self._context.logits(tokens[:-1], len(wanted)).astype(np.float64)
        highest = logits.max(axis=1, keepdims=True)
        norm = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
        likely = logits[np.arange(len(wanted)), wanted] - norm
        return float(likely.sum()), bool((logits.argmax(axis=1) == wanted).all())

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
        """Texts that end before a stop sequence, without what was thought before them.

        Raises:
            ValueError: a task wants samples drawn, which llama.cpp draws otherwise than transformers, or an
                answer that is longer than the context.
        """
        return [self._answer(*request.args) for request in requests]

    def _answer(self, prompt: str, wishes: dict[str, Any]) -> str:
        wanted: dict[str, Any] = dict(normalize_gen_kwargs(wishes, _NEW_TOKENS))
        if wanted.get("do_sample"):
            raise ValueError("the task draws its answers at random, and a GGUF model is only asked greedily")
        length = int(wanted["max_gen_toks"])
        room = self.max_length - length
        if room <= 0:
            raise ValueError(
                f"an answer may have {length} tokens, and the context has {self.max_length} for both"
                " prompt and answer"
            )
        end = self._text([self.eot_token_id], True) if self.eot_token_id >= 0 else None
        stops = handle_stop_sequences(wanted["until"], end)
        tokens = self.tok_encode(prompt)
        self.counts.cut([len(tokens) - room])
        text = self._finished(self._written(tokens[-room:], length, stops), stops)
        self.cache_hook.add_partial("generate_until", (prompt, wishes), text)
        return text

    def _written(self, tokens: list[int], length: int, stops: list[str]) -> list[int]:
        """What the model writes, token by token the likeliest, until it ends or a stop sequence is there.

        A thought may hold stop sequences: they count in what follows it.
        """
        written: list[int] = []
        back = _LOOKED_BACK + max(map(len, stops), default=0)
        begin = 0 if self._thought_ends is None else None  # of the answer
        token = int(self._context.logits(tokens, 1)[0].argmax())
        while not is_end(self._llama.model, token):
            written.append(token)
            if begin is None:
                begin = len(written) if self._ends_thought(written[-back:]) else None
            elif self._has_stop(written, max(begin, len(written) - back), stops, begin):
                break
            if len(written) == length:
                break
            token = int(self._context.after(token).argmax())
        return written

    def _ends_thought(self, tail: list[int]) -> bool:
        ends = self._thought_ends
        return tail[-1] == ends if isinstance(ends, int) else str(ends) in self._text(tail, True)

    def _has_stop(self, written: list[int], start: int, stops: list[str], begin: int) -> bool:
        tail = self._text(written[start:], True)
        tail = tail.lstrip() if self._thought_ends is not None and start == begin else tail
        return any(stop and stop in tail for stop in stops)

    def _finished(self, written: list[int], stops: list[str]) -> str:
        """The answer as lm-eval cuts it out: what follows the thought, up to a stop sequence."""
        ends = self._thought_ends
        if isinstance(ends, int) and ends in written:
            answer = written[len(written) - written[::-1].index(ends) :]
            return str(without_thought(self._text(answer, False).lstrip(), stops, None))
        text = self._text(written, False)
        if ends is None:
            return str(without_thought(text, stops, None))
        if isinstance(ends, int) or ends not in text:
            self.counts.unfinished += 1
        return str(without_thought(text.lstrip(), stops, ends if isinstance(ends, str) else None))

    def _thinking(self, token: str | int | None) -> str | int | None:
        """The id of what ends a thought where that is a control token, which no text shows; else its text."""
        if token is None or isinstance(token, int) or token.isdigit():
            return None if token is None else int(token)
        ids = self._llama.tokenize(token.encode(), add_bos=False, special=True)
        is_hidden = len(ids) == 1 and not self._text(ids, False)
        return int(ids[0]) if is_hidden else token
