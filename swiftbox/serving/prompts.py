"""From requests to tokens and sampling settings: templates, model defaults, limits."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftbox.core.generation.constraints import Grammar
from swiftbox.core.generation.network import Network
from swiftbox.core.generation.sampling import Sampling
from swiftbox.serving.api_errors import ApiError
from swiftbox.serving.rendering import RenderedConversation
from swiftbox.serving.requests import ApiRequest, ChatMessage, ChatRequest, TextRequest
from swiftbox.serving.required_answers import Ends, RequiredAnswer, compiled, required_answer
from swiftbox.serving.tokenizing import (
    require_few_bytes,
    require_few_tokens,
    require_known_tokens,
    tokenize,
)
from swiftbox.serving.tool_calls import FormTokens, form_tokens
from swiftbox.templates.call_formats.table import AnswerForm

GREEDY_BELOW = 1e-5
"""Dividing by a smaller temperature overflows float32; the likeliest token is meant."""

DEFAULT_TEXT_TOKENS = 16
"""OpenAI's default `max_tokens` of text completions."""


@dataclass(frozen=True)
class PreparedPrompts:
    """Prompts in tokens, and the sampling settings of the answers to each."""

    prompts: Sequence[Sequence[int]]
    samplings: Sequence[Sequence[Sampling]]
    form: AnswerForm = field(default_factory=AnswerForm)
    """How the answers are read; of a conversation only."""
    required: RequiredAnswer | None = None
    """What the answers have to be."""


@dataclass(frozen=True)
class ConversationToRender:
    """A conversation to render."""

    messages: Sequence[ChatMessage]
    tools: Sequence[dict[str, Any]] | None
    variables: dict[str, Any] | None
    """More variables of the template, from the request."""
    prompted: bool = True
    """Whether the text ends with the beginning of an answer."""
    effort: str | None = None
    """How much the model should reason, for templates that read it."""

    @functools.cached_property
    def characters(self) -> int:
        """Return the length of the contents of the messages."""
        return sum(message.characters for message in self.messages)


@dataclass(frozen=True)
class PromptBuilder:
    """Prepares requests for one network."""

    network: Network
    max_length: int
    max_answers: int
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the template that a request may change; before those of a training."""
    tools_in_prompt: bool = False
    """Whether tools are described in the system prompt where a template renders none."""

    def require_few_answers(self, request: ApiRequest) -> None:
        """Raise ApiError for a request of more answers than are generated at once."""
        count = request.n or 1
        if isinstance(request, TextRequest):
            count *= len(request.prompts())
        if count > self.max_answers:
            raise ApiError(
                400, f"n: at most {self.max_answers} answers at once (got {count})", param="n"
            )

    def prepare(
        self, request: ApiRequest, adapter: str, rendered: RenderedConversation | None
    ) -> PreparedPrompts:
        """Return prompts and settings; raise ApiError for requests that cannot be served.

        `rendered` is the conversation, None for a request without one.
        """
        prompts = self.prompts(request, adapter, rendered.text if rendered else None)
        form, tokens, required = rendered.form if rendered else AnswerForm(), FormTokens(), None
        if isinstance(request, ChatRequest):
            reads_calls = request.offered is not None
            tokenizer = self.network.tokenizers[adapter]
            tokens = form_tokens(tokenizer, form, reads_calls=reads_calls)
            required = required_answer(request)
        grammar = None if required is None else self._grammar(required, form, adapter, tokens)
        samplings = [
            [self._sampling(request, adapter, len(prompt), tokens, grammar)] * (request.n or 1)
            for prompt in prompts
        ]
        return PreparedPrompts(prompts, samplings, form, required)

    def _grammar(
        self, required: RequiredAnswer, form: AnswerForm, adapter: str, tokens: FormTokens
    ) -> Grammar:
        ends = Ends(self.network.ends(adapter) | tokens.stops, self.network.vocabulary)
        return compiled(required, form, self.network.tokenizers[adapter], ends)

    def prompts(self, request: ApiRequest, adapter: str, rendered: str | None) -> list[list[int]]:
        """Return the prompts in tokens."""
        if rendered is not None:
            return [self.tokens(rendered, adapter, special=False)]
        if isinstance(request, TextRequest):
            return [
                self.tokens(prompt, adapter) if isinstance(prompt, str) else self._checked(prompt)
                for prompt in request.prompts()
            ]
        raise TypeError(type(request).__name__)

    def template(self, adapter: str, tools: Any) -> str:
        """Return the chat template of a model; raise ApiError if it has none."""
        tokenizer = self.network.tokenizers[adapter]
        if not tokenizer.chat_template:
            raise ApiError(
                400, "the model has no chat template; use /v1/completions", param="messages"
            )
        try:
            return str(tokenizer.get_chat_template(tools=tools or None))
        except ValueError as error:  # several templates, and none is the default
            raise ApiError(400, f"the model has no default chat template: {error}") from None

    def rendering(self, talk: ConversationToRender, adapter: str, template: str) -> dict[str, Any]:
        """Return what a child renders; raise ApiError for content that is not supported."""
        tokenizer = self.network.tokenizers[adapter]
        tokenizer_class: Any = type(tokenizer)
        variables = talk.variables or {}
        if conflicts := sorted(_reserved(tokenizer_class) & set(variables)):
            raise ApiError(
                400,
                f"chat_template_kwargs: {', '.join(conflicts)} cannot be set",
                param="chat_template_kwargs",
            )
        return {
            "template": template,
            "messages": [message.plain(index) for index, message in enumerate(talk.messages)],
            "tools": list(talk.tools) if talk.tools else None,
            "prompted": talk.prompted,
            "effort": talk.effort,
            "tools_in_prompt": self.tools_in_prompt,
            "variables": {**self.template_variables(adapter), **variables},
        }

    def require_few_characters(self, talk: ConversationToRender, adapter: str) -> None:
        """Raise ApiError for a conversation that is too long whatever its template does."""
        require_few_bytes(self.network.tokenizers[adapter], talk.characters, self.max_length)

    def template_variables(self, adapter: str) -> dict[str, Any]:
        """Return the variables of a model's template without those of a request."""
        trained = self.network.variables[adapter]
        tokenizer = self.network.tokenizers[adapter]
        return {**tokenizer.special_tokens_map, **trained, **self.variables}

    def tokens(self, text: str, adapter: str, *, special: bool = True) -> list[int]:
        """Return the tokens of a text; raise ApiError if they are too many for the model."""
        tokenizer = self.network.tokenizers[adapter]
        return self._checked(tokenize(tokenizer, text, self.max_length, special=special))

    def _checked(self, prompt: list[int]) -> list[int]:
        require_known_tokens(prompt, self.network.vocabulary)
        require_few_tokens(len(prompt), self.max_length)
        return prompt

    def _sampling(
        self,
        request: ApiRequest,
        adapter: str,
        length: int,
        tokens: FormTokens,
        grammar: Grammar | None,
    ) -> Sampling:
        defaults = self.network.generation
        bias = request.logit_bias or {}
        if any(token >= self.network.vocabulary for token in bias):
            raise ApiError(400, "logit_bias: unknown token id", param="logit_bias")
        ends = frozenset() if request.ignore_eos else self.network.ends(adapter) | tokens.stops
        stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
        temperature = _first(request.temperature, self.default_temperature)
        return Sampling(
            max_tokens=self._max_tokens(request, length),
            temperature=0.0 if temperature < GREEDY_BELOW else temperature,
            top_p=_first(request.top_p, defaults.top_p, 1.0),
            # transformers' default of 50 is in generation configs only if it is intended
            top_k=max(0, _first(request.top_k, defaults.top_k, 0)),
            min_p=_first(request.min_p, defaults.min_p, 0.0),
            seed=request.seed,
            stop=tuple(stops),
            stop_ids=ends | frozenset(request.stop_token_ids or ()),
            visible=tokens.visible,
            logprobs=0
            if request.alternatives is None and request.return_token_ids
            else request.alternatives,
            presence_penalty=request.presence_penalty or 0.0,
            frequency_penalty=request.frequency_penalty or 0.0,
            repetition_penalty=_first(request.repetition_penalty, defaults.repetition_penalty, 1.0),
            logit_bias=bias,
            grammar=grammar,
        )

    @property
    def default_temperature(self) -> float:
        """Return the temperature of a request without one."""
        defaults = self.network.generation
        unset = 1.0 if defaults.do_sample else 0.0  # as transformers' generate
        return float(_first(defaults.temperature, unset))

    def _max_tokens(self, request: ApiRequest, length: int) -> int:
        room = self.max_length - length
        tokens = request.max_tokens
        if isinstance(request, ChatRequest):
            tokens = request.max_completion_tokens or tokens or room
        tokens = tokens or min(DEFAULT_TEXT_TOKENS, room)
        if tokens > room:
            raise ApiError(
                400,
                f"max_tokens: {tokens} with a prompt of {length} tokens is more than "
                f"{self.max_length}",
                param="max_tokens",
                code="context_length_exceeded",
            )
        return tokens


@functools.cache
def _reserved(tokenizer_class: Any) -> frozenset[str]:
    """Return the variables of a template that a request may not set."""
    parameters = inspect.signature(tokenizer_class.apply_chat_template).parameters
    return frozenset({*parameters, "conversations", "messages"})


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
