"""lm-eval's model of transformers: it also counts what it cuts from prompts, and lets thoughts end."""

from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from llmcourse.autoeval.counting import Counts


class TransformersModel(HFLM):  # type: ignore[misc]
    """The same figures as HFLM, where nothing is thought."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.counts = Counts()
        ends: str | int | None = self.think_end_token
        self.think_end_token: str | int | None = self._hidden(ends) if isinstance(ends, str) else ends

    def _hidden(self, token: str) -> str | int:
        """The id of what ends a thought where the tokenizer leaves it out of texts, else the token's text.

        lm-eval splits the text, in which a token that is marked as special does not stand.
        """
        ids = self.tokenizer.encode(token, add_special_tokens=False)
        is_hidden = len(ids) == 1 and not self.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return int(ids[0]) if is_hidden else token

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As HFLM; how much each prompt loses is counted."""
        if left_truncate_len:
            _, mask = super().tok_batch_encode(strings, padding_side, None, truncation)
            self.counts.cut(int(length) - left_truncate_len for length in mask.sum(dim=1))
        found: tuple[torch.Tensor, torch.Tensor] = super().tok_batch_encode(
            strings, padding_side, left_truncate_len, truncation
        )
        return found

    def _loglikelihood_tokens(self, requests: Any, *args: Any, **options: Any) -> Any:
        self.counts.cut(
            len(prompt) + len(continuation) - (self.max_length + 1) for _, prompt, continuation in requests
        )
        return super()._loglikelihood_tokens(requests, *args, **options)

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **options: Any) -> Any:
        """A thought may hold the stop sequences of a task: they are looked for in what follows it.

        So does lm-eval's model of vLLM; its model of transformers would stop in the middle of a thought.
        """
        if self.think_end_token is None:
            return super()._model_generate(context, max_length, stop, **options)
        end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        made = super()._model_generate(context, max_length, [text for text in stop if text == end], **options)
        self.counts.unfinished += sum(not self._thought_ended(row) for row in made[:, context.shape[1] :])
        return made

    def _thought_ended(self, written: torch.Tensor) -> bool:
        if isinstance(self.think_end_token, int):
            return self.think_end_token in written.tolist()
        return str(self.think_end_token) in self.tok_decode(written.tolist())
