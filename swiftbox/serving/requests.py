"""Requests of clients, validated: every parameter works or is refused with the reason."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swiftbox.serving.api_errors import ApiError
from swiftbox.serving.plain_values import parse_body, parse_json
from swiftbox.serving.request_errors import invalid_request

MAX_STOPS = 16
MAX_STOP_LENGTH = 1000
"""Characters; each is searched in the answer after every token."""

MAX_ALTERNATIVES = 20
MAX_TOKENS_NAMED = 1024
"""Entries of logit_bias and of stop_token_ids, which are looked at for every token."""

MAX_INTEGER = 2**31 - 1
MAX_SEED = 2**63 - 1

REFUSED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "audio": ("this server generates text only", ()),
    "modalities": ("this server generates text only", (["text"],)),
    "functions": ("use `tools`, which replaced it", ([],)),
    "function_call": ("use `tools`, which replaced it", ("none", "auto")),
    "prediction": ("predicted outputs are not supported", ()),
    "verbosity": ("put it into the prompt", ("medium",)),
    "web_search_options": ("this server has no network access", ()),
    "moderation": ("there is no moderation", ()),
    "store": ("nothing is stored", (False,)),
    "service_tier": ("there is only one tier", ("auto", "default")),
    "suffix": ("text cannot be inserted", ("",)),
    "echo": ("the prompt is neither repeated nor scored", (False,)),
    "best_of": ("request `n` answers and choose", (1,)),
    "use_beam_search": ("sequences are sampled", (False,)),
}
"""Unsupported parameters of OpenAI's API: the reason, and values without effect."""

SAMPLING = "answers are sampled by `temperature`, `top_p`, `top_k` and `min_p`"
THINKING = "use `reasoning_effort`, or what the template reads in `chat_template_kwargs`"

FOREIGN: dict[str, tuple[str, tuple[Any, ...]]] = {
    "num_predict": ("use `max_tokens`", ()),
    "max_new_tokens": ("use `max_tokens`", ()),
    "max_output_tokens": ("use `max_tokens`", ()),
    "min_tokens": ("an answer may end at once", (0,)),
    "repeat_penalty": ("use `repetition_penalty`", (1,)),
    "repeat_last_n": ("the repetition penalty counts all tokens", ()),
    "mirostat": (SAMPLING, (0,)),
    "mirostat_eta": (SAMPLING, ()),
    "mirostat_tau": (SAMPLING, ()),
    "tfs_z": (SAMPLING, (1,)),
    "typical_p": (SAMPLING, (1,)),
    "think": (THINKING, ()),
    "thinking": (THINKING, ()),
    "enable_thinking": (THINKING, ()),
    "reasoning": (THINKING, ()),
    "format": ("use `response_format`", ("",)),
    "guided_json": ("use `response_format`", ()),
    "structured_outputs": ("use `response_format`", ()),
    "system": ("put it into `messages`", ()),
    "input": ("use `messages`, or `prompt` with /v1/completions", ()),
}
"""Parameters of other servers' APIs, which clients set for them; as above."""

WITHOUT_EFFECT = frozenset(
    "user metadata safety_identifier prompt_cache_key prompt_cache_options prompt_cache_retention"
    # Settings of Ollama's machine, which clients send to every server; ours are in the deployment.
    " num_ctx num_batch num_gpu num_thread num_keep main_gpu low_vram numa use_mmap use_mlock"
    " keep_alive".split()
)
"""Parameters that never change an answer."""

Penalty = Annotated[float, Field(ge=-2, le=2)]
Token = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Word = Annotated[str, Field(min_length=1)]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False
    include_obfuscation: bool = False


class ApiRequest(BaseModel):
    """Fields of both kinds of requests; None stands for the model's generation config."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=MAX_INTEGER)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Count | None = None
    seed: Annotated[int, Field(ge=-MAX_SEED - 1, le=MAX_SEED)] | None = None
    stop: Stop | Annotated[list[Stop], Field(fail_fast=True, max_length=MAX_STOPS)] | None = None
    stop_token_ids: (
        Annotated[list[Token], Field(fail_fast=True, max_length=MAX_TOKENS_NAMED)] | None
    ) = None
    ignore_eos: bool = False
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] | None = None
    return_token_ids: bool | None = None
    logit_bias: Annotated[dict[Token, Bias], Field(max_length=MAX_TOKENS_NAMED)] | None = None

    @property
    def alternatives(self) -> int | None:
        """Return how many alternatives are returned per token; None: no log-probabilities."""
        raise NotImplementedError

    @property
    def characters(self) -> int:
        """Return the length of the prompts that are texts already."""
        return 0


class ChatMessage(BaseModel):
    """One message of a conversation, as the chat template receives it."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str | Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None

    @property
    def characters(self) -> int:
        """Return the length of its text."""
        if isinstance(self.content, str):
            return len(self.content)
        texts = [part.get("text") for part in self.content or []]
        return sum(len(part) for part in texts if isinstance(part, str))

    def plain(self, index: int) -> dict[str, Any]:
        """Return it with its content as one text; raise ApiError for other content."""
        message = self.model_dump(exclude_none=True)
        content = self.content
        if isinstance(content, list):
            other = [part.get("type") for part in content if part.get("type") != "text"]
            if other or not all(isinstance(part.get("text"), str) for part in content):
                raise ApiError(
                    400,
                    f"messages[{index}].content: only text is supported (got {other or content})",
                    param="messages",
                )
            content = "".join(part["text"] for part in content)
        if message.get("function_call"):
            raise ApiError(
                400,
                f"messages[{index}].function_call: not supported: use `tool_calls`",
                param="messages",
            )
        if calls := message.get("tool_calls"):
            if not isinstance(calls, list):
                raise _invalid_calls(index, "should be a list")
            message["tool_calls"] = [_with_object(call, index) for call in calls]
        return {**message, "content": content if content is not None else ""}


def _with_object(call: Any, index: int) -> dict[str, Any]:
    """Return a call with its arguments as an object, as in templates and in training."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _invalid_calls(index, "each needs a function with a name")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = parse_json(arguments)
        except ValueError:
            raise _invalid_calls(index, "arguments are not JSON") from None
    arguments = {} if arguments is None else arguments  # "null", of a tool without parameters
    if not isinstance(arguments, dict):
        raise _invalid_calls(index, "arguments should be an object")
    return {**call, "function": {**function, "arguments": arguments}}


def _invalid_calls(index: int, problem: str) -> ApiError:
    return ApiError(400, f"messages[{index}].tool_calls: {problem}", param="messages")


class ChatRequest(ApiRequest):
    """A request for the next message of a conversation."""

    messages: Annotated[list[ChatMessage], Field(fail_fast=True, min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_ALTERNATIVES)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Word | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @property
    def offered(self) -> list[dict[str, Any]] | None:
        """Return the tools that the model may call; None without any."""
        return None if self.tool_choice == "none" else self.tools or None

    @property
    def alternatives(self) -> int | None:
        """Return how many alternatives are returned per token; None: no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


class TextRequest(ApiRequest):
    """A request to continue a text."""

    prompt: (
        str
        | Annotated[list[str], Field(fail_fast=True)]
        | Annotated[list[Token], Field(fail_fast=True)]
        | Annotated[
            list[Annotated[list[Token], Field(fail_fast=True, min_length=1)]], Field(fail_fast=True)
        ]
    )
    logprobs: Annotated[int, Field(ge=0, le=MAX_ALTERNATIVES)] | None = None

    @property
    def alternatives(self) -> int | None:
        """Return how many alternatives are returned per token; None: no log-probabilities."""
        return self.logprobs

    @property
    def characters(self) -> int:
        """Return the length of all prompts."""
        return sum(len(prompt) for prompt in self.prompts() if isinstance(prompt, str))

    def prompts(self) -> list[str | list[int]]:
        """Return the prompts as a list; raise ApiError if there is none."""
        prompts: Any = self.prompt
        if isinstance(prompts, str) or (prompts and isinstance(prompts[0], int)):
            prompts = [prompts]
        if not prompts:
            raise ApiError(400, "prompt: should not be empty", param="prompt")
        return list(prompts)


class AdapterRequest(BaseModel):
    """A request to load or unload an adapter."""

    model_config = ConfigDict(extra="forbid")
    lora_name: Word
    lora_path: str | None = None


class TokenizeRequest(BaseModel):
    """A request for the tokens of a prompt or a conversation."""

    model_config = ConfigDict(extra="forbid")
    model: str
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Field(fail_fast=True)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True


AnyBody = TypeVar("AnyBody", bound=BaseModel)


def parse(kind: type[AnyBody], raw: bytes, content_type: str) -> AnyBody:
    """Parse the body of a request; raise ApiError with everything that is wrong with it."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(400, f"the body should be application/json (got {content_type or 'none'})")
    content = parse_body(raw)
    content = {key: value for key, value in content.items() if key not in WITHOUT_EFFECT}
    _drop_unsupported(kind, content)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise invalid_request(error) from None


def _drop_unsupported(kind: type[BaseModel], content: dict[str, Any]) -> None:
    """Drop parameters that request nothing; raise ApiError for what is not supported."""
    for key, (why, harmless) in (REFUSED | FOREIGN).items():
        if key in kind.model_fields:
            continue
        value = content.pop(key, None)
        is_all = key == "best_of" and value == content.get("n")  # the best of all is all of them
        if value is not None and value not in harmless and not is_all:
            raise ApiError(400, f"{key}: not supported: {why}", param=key, code="unsupported")
