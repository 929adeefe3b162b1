"""From what was asked to tokens and samplings: templates, defaults of the model, limits."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftbox.core.generation.network import Network
from swiftbox.core.generation.sampling import Sampling
from swiftbox.serving.problems import Problem
from swiftbox.serving.requests import Asking, ChatAsking, Message, TextAsking

GREEDY_BELOW = 1e-5
"""Dividing by a smaller temperature leaves the range of float32; the likeliest token is meant."""

USUAL_TEXT_TOKENS = 16
"""What OpenAI writes of a text when nothing else is said."""


@dataclass(frozen=True)
class PreparedPrompts:
    """Prompts in tokens, and the samplings of each one's answers."""

    prompts: Sequence[Sequence[int]]
    samplings: Sequence[Sequence[Sampling]]


@dataclass(frozen=True)
class Preparing:
    """Prepares requests for one network."""

    network: Network
    longest: int
    most_answers: int

    def prepare(self, asked: Asking, adapter: str) -> PreparedPrompts:
        """Return what to write; raise Problem for what is too long, too much or cannot be read."""
        prompts = self.prompts(asked, adapter)
        count = (asked.n or 1) * len(prompts)
        if count > self.most_answers:
            raise Problem(
                400, f"n: at most {self.most_answers} answers at once (got {count})", param="n"
            )
        samplings = [self._samplings(asked, adapter, len(one)) for one in prompts]
        return PreparedPrompts(prompts, samplings)

    def prompts(self, asked: Asking, adapter: str) -> list[list[int]]:
        """Return the prompts in tokens."""
        if isinstance(asked, ChatAsking):
            said = self.rendered(asked.messages, adapter, asked.offered, asked.chat_template_kwargs)
            return [self.tokens(said, adapter, special=False)]
        if isinstance(asked, TextAsking):
            return [
                self.tokens(one, adapter) if isinstance(one, str) else self._checked(one)
                for one in asked.prompts()
            ]
        raise TypeError(type(asked).__name__)

    def rendered(
        self,
        messages: Sequence[Message],
        adapter: str,
        tools: Sequence[dict[str, Any]] | None,
        extra: dict[str, Any] | None,
        *,
        prompted: bool = True,
    ) -> str:
        """Return a conversation as the chat template writes it."""
        from jinja2.exceptions import TemplateError

        tokenizer = self.network.tokenizers[adapter]
        if not tokenizer.chat_template:
            raise Problem(
                400, "the model has no chat template; use /v1/completions", param="messages"
            )
        own = set(inspect.signature(tokenizer.apply_chat_template).parameters) | {"messages"}
        if taken := sorted(own & set(extra or {})):
            raise Problem(
                400,
                f"chat_template_kwargs: {', '.join(taken)} cannot be given",
                param="chat_template_kwargs",
            )
        plain = [one.plain(at) for at, one in enumerate(messages)]
        try:
            return str(
                tokenizer.apply_chat_template(
                    plain,
                    tools=tools or None,
                    tokenize=False,
                    add_generation_prompt=prompted,
                    **(extra or {}),
                )
            )
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise Problem(
                400, f"the chat template refuses these messages: {error}", param="messages"
            ) from None

    def tokens(self, text: str, adapter: str, *, special: bool = True) -> list[int]:
        """Return the tokens of a text."""
        tokenizer = self.network.tokenizers[adapter]
        return self._checked(list(tokenizer(text, add_special_tokens=special).input_ids))

    def _checked(self, prompt: list[int]) -> list[int]:
        if not prompt:
            raise Problem(400, "prompt: should not be empty", param="prompt")
        if max(prompt) >= self.network.vocabulary:
            most = self.network.vocabulary - 1
            raise Problem(400, f"prompt: tokens go from 0 to {most}", param="prompt")
        if len(prompt) >= self.longest:
            raise Problem(
                400,
                f"the prompt has {len(prompt)} tokens, the longest with its answer is "
                f"{self.longest}",
                param="prompt",
                code="context_length_exceeded",
            )
        return prompt

    def _samplings(self, asked: Asking, adapter: str, length: int) -> list[Sampling]:
        own = self.network.generation
        bias = asked.logit_bias or {}
        if any(token >= self.network.vocabulary for token in bias):
            raise Problem(400, "logit_bias: names a token that is not there", param="logit_bias")
        ends = frozenset() if asked.ignore_eos else self.network.ends(adapter)
        stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
        heat = _first(asked.temperature, own.temperature, 1.0)
        one = Sampling(
            max_tokens=self._most(asked, length),
            temperature=0.0 if heat < GREEDY_BELOW else heat,
            top_p=_first(asked.top_p, own.top_p, 1.0),
            # transformers' own default of 50 is in generation configs only where it was meant
            top_k=max(0, _first(asked.top_k, own.top_k, 0)),
            min_p=_first(asked.min_p, own.min_p, 0.0),
            seed=asked.seed,
            stop=tuple(stops),
            stop_ids=ends | frozenset(asked.stop_token_ids or ()),
            logprobs=0
            if asked.alternatives is None and asked.return_token_ids
            else asked.alternatives,
            presence_penalty=asked.presence_penalty or 0.0,
            frequency_penalty=asked.frequency_penalty or 0.0,
            repetition_penalty=_first(asked.repetition_penalty, own.repetition_penalty, 1.0),
            logit_bias=bias,
        )
        return [one] * (asked.n or 1)

    def _most(self, asked: Asking, length: int) -> int:
        left = self.longest - length
        wanted = asked.max_tokens
        if isinstance(asked, ChatAsking):
            wanted = asked.max_completion_tokens or wanted or left
        wanted = wanted or min(USUAL_TEXT_TOKENS, left)
        if wanted > left:
            raise Problem(
                400,
                f"max_tokens: {wanted} with a prompt of {length} tokens is more than "
                f"{self.longest}",
                param="max_tokens",
                code="context_length_exceeded",
            )
        return wanted


def _told(asked: Asking) -> int | None:
    """Return how many alternatives are kept with each token; 0 keeps its number alone."""
    told = asked.alternatives
    return 0 if told is None and asked.return_token_ids else told


def _first(*values: Any) -> Any:
    return next(one for one in values if one is not None)
