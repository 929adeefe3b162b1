"""What a client may ask, checked: every parameter works or is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swiftbox.serving.problems import Problem

MOST_STOPS = 16
MOST_ALTERNATIVES = 20

Asked = TypeVar("Asked", bound="Asking")

REFUSED: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "audio": ("this server writes text only", ()),
    "modalities": ("this server writes text only", (["text"],)),
    "functions": ("give `tools`, which replaced it", ([],)),
    "function_call": ("give `tools`, which replaced it", ("none", "auto")),
    "prediction": ("predicted outputs are not there", ()),
    "reasoning_effort": ("give what the template knows in `chat_template_kwargs`", ()),
    "verbosity": ("say it in the prompt", ()),
    "web_search_options": ("this server reaches no network", ()),
    "moderation": ("nothing is moderated here", ()),
    "response_format": (
        "answers are not held to a grammar; say the format in the prompt",
        ({"type": "text"},),
    ),
    "tool_choice": (
        "the model decides; a call cannot be forced, only tools left out",
        ("auto", "none"),
    ),
    "store": ("nothing is stored", (False,)),
    "service_tier": ("there is one tier", ("auto", "default")),
    "suffix": ("text cannot be put in the middle", ("",)),
    "echo": ("the prompt is not repeated and not scored", (False,)),
    "best_of": ("ask for `n` and choose", (1,)),
    "use_beam_search": ("sequences are sampled", (False,)),
}
"""Parameters of OpenAI's that are not there: why, and the values that ask for nothing."""

WITHOUT_EFFECT = frozenset(
    "user metadata safety_identifier prompt_cache_key prompt_cache_options"
    " prompt_cache_retention parallel_tool_calls".split()
)
"""Parameters that change nothing about an answer anywhere."""

Penalty = Annotated[float, Field(ge=-2, le=2)]
Token = Annotated[int, Field(ge=0)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Word = Annotated[str, Field(min_length=1)]


class StreamOptions(BaseModel):
    """What a stream brings beside the text."""

    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False
    include_obfuscation: bool = False


class Asking(BaseModel):
    """What both kinds of request have in common; None: as the model's own settings say."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: Word | Annotated[list[Word], Field(max_length=MOST_STOPS)] | None = None
    stop_token_ids: list[Token] | None = None
    ignore_eos: bool = False
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    return_token_ids: bool | None = None
    logit_bias: dict[Token, Bias] | None = None

    @property
    def alternatives(self) -> int | None:
        """Return how many alternatives are told of each token; None: nothing is."""
        raise NotImplementedError


class Message(BaseModel):
    """One message of a conversation, as the chat template gets it."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str | list[dict[str, Any]] | None = None

    def plain(self, at: int) -> dict[str, Any]:
        """Return it with its content as one text; raise Problem for what is no text."""
        said = self.model_dump(exclude_none=True)
        content = self.content
        if isinstance(content, list):
            odd = [one.get("type") for one in content if one.get("type") != "text"]
            if odd or not all(isinstance(one.get("text"), str) for one in content):
                raise Problem(
                    400,
                    f"messages[{at}].content: only text can be read here (got {odd or content})",
                    param="messages",
                )
            content = "".join(one["text"] for one in content)
        if said.get("tool_calls"):
            said["tool_calls"] = [_with_object(one, at) for one in said["tool_calls"]]
        return {**said, "content": content if content is not None else ""}


def _with_object(call: Any, at: int) -> dict[str, Any]:
    """Return a call with its arguments as an object, as templates write them and training did."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Problem(
            400, f"messages[{at}].tool_calls: each needs a function with a name", param="messages"
        )
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            raise Problem(
                400, f"messages[{at}].tool_calls: arguments are not JSON", param="messages"
            ) from None
    return {**call, "function": {**function, "arguments": arguments}}


class ChatAsking(Asking):
    """A request for the next message of a conversation."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @property
    def offered(self) -> list[dict[str, Any]] | None:
        """Return the tools that the model may call; None without any."""
        return None if self.tool_choice == "none" else self.tools or None

    @property
    def alternatives(self) -> int | None:
        """Return how many alternatives are told of each token; None: nothing is."""
        return (self.top_logprobs or 0) if self.logprobs else None


class TextAsking(Asking):
    """A request to go on with a text."""

    prompt: str | list[str] | list[Token] | list[Annotated[list[Token], Field(min_length=1)]]
    logprobs: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None

    @property
    def alternatives(self) -> int | None:
        """Return how many alternatives are told of each token; None: nothing is."""
        return self.logprobs

    def prompts(self) -> list[str | list[int]]:
        """Return the prompts one by one; raise Problem when there is none."""
        found: Any = self.prompt
        if isinstance(found, str) or (found and isinstance(found[0], int)):
            found = [found]
        if not found:
            raise Problem(400, "prompt: should not be empty", param="prompt")
        return list(found)


class AdapterAsking(BaseModel):
    """A request to load or forget an adapter."""

    model_config = ConfigDict(extra="forbid")
    lora_name: Word
    lora_path: str | None = None


class TokensAsking(BaseModel):
    """A request for the tokens of a prompt or a conversation."""

    model_config = ConfigDict(extra="forbid")
    model: str
    prompt: str | None = None
    messages: list[Message] | None = None
    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True


AnyBody = TypeVar("AnyBody", bound=BaseModel)


def parsed(kind: type[AnyBody], raw: bytes, content_type: str) -> AnyBody:
    """Read the body of a request; raise Problem with all that is wrong with it."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(400, f"the body should be application/json (got {content_type or 'none'})")
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(said, dict):
        raise Problem(400, "the body should be a JSON object")
    said = {key: value for key, value in said.items() if key not in WITHOUT_EFFECT}
    for key, (why, harmless) in REFUSED.items():
        value = said.get(key)
        if key not in kind.model_fields and value is None:
            said.pop(key, None)
        elif value is not None and value not in harmless:
            raise Problem(400, f"{key}: not supported: {why}", param=key, code="unsupported")
        elif key not in kind.model_fields:
            said.pop(key, None)
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        raise _wrong(error) from None
    except RecursionError:
        raise Problem(400, "the body is nested too deeply") from None


def _wrong(error: ValidationError) -> Problem:
    found = error.errors(include_url=False, include_context=False)
    lines = []
    for one in found[:5]:
        where = ".".join(str(part) for part in one["loc"])
        what = "is not a known parameter" if one["type"] == "extra_forbidden" else one["msg"]
        lines.append(f"{where}: {what}")
    param = str(found[0]["loc"][0]) if found[0]["loc"] else None
    return Problem(400, "; ".join(lines), param=param)
