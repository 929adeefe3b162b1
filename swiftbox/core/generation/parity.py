"""The record that a training leaves to check its server with: prompts as tokens, greedy answers.

Shapes: T tokens of a prompt, A tokens of an answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig

from swiftbox.data.example import RowError
from swiftbox.data.tool_calls import read_tools
from swiftbox.data.turns import read_turns
from swiftbox.errors import DataError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.templates.abilities import abilities_of
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import render_prompt
from swiftbox.templates.template import ConversationTemplate
from swiftbox.templates.variables import KEY, RECORD_FILE, trained_variables

ANSWER_TOKENS = 16
"""Enough to reveal a wrong template or adapter, few enough to generate on a CPU."""

ANSWERED = ("question", "system", "chinese")
"""The short prompts, which are answered too."""

TIES = {"float32": 1e-4, "float16": 4e-3, "bfloat16": 3e-2}
"""Share of the largest logit: a token whose lead is smaller may lose it to rounding.

About eight times the precision of the number type, which a model's depth adds up to.
"""

WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}

CONVERSATIONS: Mapping[str, Mapping[str, Any]] = {
    "question": {"messages": [{"role": "user", "content": "Which river runs through Paris?"}]},
    "system": {
        "messages": [
            {"role": "system", "content": "You answer in one word."},
            {"role": "user", "content": "What is the opposite of cold?"},
        ]
    },
    "chinese": {"messages": [{"role": "user", "content": "用一句话介绍长城，好吗？"}]},
    "turns": {
        "messages": [
            {"role": "user", "content": "Count to three."},
            {"role": "assistant", "content": "One, two, three."},
            {"role": "user", "content": "And back?"},
            {"role": "assistant", "content": "Three, two, one."},
            {"role": "user", "content": "Thanks. Once more."},
        ]
    },
    "whitespace": {
        "messages": [{"role": "user", "content": "  indented\n\n\ttext that ends so: \n"}]
    },
    "long": {
        "messages": [
            {"role": "user", "content": "Sum up: " + "the quick brown fox, 42 times; " * 24}
        ]
    },
    "tools": {
        "messages": [
            {"role": "user", "content": "Is it warm in Oslo?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": '{"celsius": 3}'},
        ],
        "tools": [WEATHER],
    },
}
"""Conversations in OpenAI's format, one of each kind that templates treat differently."""


@dataclass(frozen=True)
class ParityPrompt:
    """A prompt as a client sends it, and the tokens that the trainer makes of it."""

    name: str
    request: Mapping[str, Any]
    """`messages` and `tools` for a chat, `prompt` for a model without a template."""
    ids: tuple[int, ...]  # (T,)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"name": self.name, "asked": dict(self.request), "ids": list(self.ids)}


@dataclass(frozen=True)
class GreedyAnswer:
    """A greedy answer to one of the prompts."""

    name: str
    ids: tuple[int, ...]  # (A,), without the token that ends it
    margins: tuple[float, ...]
    """The lead of each token's logit over the second largest, the ending token included."""
    scale: float
    """The largest logit of a chosen token."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        margins = [round(margin, 6) for margin in self.margins]
        return {"name": self.name, "ids": list(self.ids), "gaps": margins, "scale": self.scale}


@dataclass(frozen=True)
class ParityRecord:
    """Prompts, answers, and the number type that the answers were computed in."""

    prompts: tuple[ParityPrompt, ...]
    answers: tuple[GreedyAnswer, ...] = ()
    dtype: str = "float32"
    quantization: str = ""
    """How the base was quantized in training; empty for an unquantized one."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """The template variables of the training, which the prompts are rendered with."""

    def write(self, folder: Path) -> None:
        """Write the record into the folder of a model."""
        content: dict[str, Any] = {
            "dtype": self.dtype,
            "quantization": self.quantization,
            "prompts": [prompt.to_dict() for prompt in self.prompts],
            "answers": [answer.to_dict() for answer in self.answers],
        }
        if self.variables:
            content[KEY] = dict(self.variables)
        write_json(folder / RECORD_FILE, content)


def read_record(folder: Path) -> ParityRecord | None:
    """Return the record in a folder; None without a valid one."""
    content = read_json(folder / RECORD_FILE)
    try:
        prompts = [
            ParityPrompt(entry["name"], entry["asked"], tuple(entry["ids"]))
            for entry in content["prompts"]
        ]
        answers = [
            GreedyAnswer(
                entry["name"], tuple(entry["ids"]), tuple(entry["gaps"]), float(entry["scale"])
            )
            for entry in content["answers"]
        ]
        return ParityRecord(
            tuple(prompts),
            tuple(answers),
            content["dtype"],
            content["quantization"],
            trained_variables(folder),
        )
    except (KeyError, TypeError, ValueError):
        return None


def copy_record(source: Path, target: Path, *, dtype: str, answers: bool) -> None:
    """Copy the record to a model made from another one, which computes in that number type."""
    record = read_record(source)
    if record is None:
        return
    coarser = max(dtype, record.dtype, key=lambda name: TIES.get(name, 0.0))
    copied_answers = record.answers if answers else ()
    replace(record, answers=copied_answers, dtype=coarser).write(target)


def render_prompts(
    tokenizer: Any, variables: Mapping[str, Any] | None = None
) -> tuple[ParityPrompt, ...]:
    """Return the prompts as the trainer encodes them, without those that the template rejects.

    `variables` are those of the template; a request names them too.
    """
    prompts = []
    named = {KEY: dict(variables)} if variables else {}
    for name, conversation in CONVERSATIONS.items():
        if not tokenizer.chat_template:
            content = str(conversation["messages"][-1]["content"])
            ids = tokenizer(content, add_special_tokens=False).input_ids
            prompts.append(ParityPrompt(name, {"prompt": content}, tuple(ids)))
            continue
        turns, tools = read_turns(list(conversation["messages"])), read_tools(conversation)
        try:
            template = ConversationTemplate.of_tokenizer(tokenizer, variables)
            if tools and not abilities_of(template.for_tools(tools)).tools:
                continue
            rendered = render_prompt(template, RenderOptions(), turns, tools)
        except (DataError, RowError):
            continue  # the template has no system role
        ids = tokenizer(rendered, add_special_tokens=False).input_ids
        prompts.append(ParityPrompt(name, {**conversation, **named}, tuple(ids)))
    return tuple(prompts)


def end_tokens(generation_config: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer: the generation config's and the tokenizer's."""
    configured = generation_config.eos_token_id
    tokens = {*(configured if isinstance(configured, list) else [configured])}
    return frozenset(token for token in (*tokens, tokenizer.eos_token_id) if token is not None)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def generate_greedily(model: Any, prompt: ParityPrompt, ends: frozenset[int]) -> GreedyAnswer:
    """Answer a prompt with transformers' generate: one sequence, the likeliest token each time."""
    ids = torch.tensor([prompt.ids], device=model.device)  # (1, T)
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,  # if unset, the model's default would apply
        max_new_tokens=ANSWER_TOKENS,
        eos_token_id=sorted(ends) or None,
        pad_token_id=min(ends, default=0),
        use_cache=True,  # the trainer turned it off
        return_dict_in_generate=True,
        output_logits=True,
    )
    output = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
    )
    tokens = output.sequences[0, ids.shape[1] :].tolist()
    best = [torch.topk(logits[0].float(), 2).values.tolist() for logits in output.logits]  # A of 2
    while tokens and tokens[-1] in ends:
        tokens.pop()
    scale = max(abs(first) for first, _ in best)
    margins = tuple(first - second for first, second in best)
    return GreedyAnswer(prompt.name, tuple(tokens), margins, scale)


def record_training(model: Any, tokenizer: Any, folder: Path, emit: Emit, **settings: Any) -> None:
    """Write the record of a training into the folder of its model.

    `model` is None if its weights are sharded over processes: the record then has no answers.
    `settings` are dtype, quantization and variables of the record. A failure is a warning only,
    since the training itself is done and saved.
    """
    try:
        prompts = render_prompts(tokenizer, settings.get("variables"))
        answers: tuple[GreedyAnswer, ...] = ()
        if model is not None:
            model.eval()
            ends = end_tokens(model.generation_config, tokenizer)
            answers = tuple(
                generate_greedily(model, prompt, ends)
                for prompt in prompts
                if prompt.name in ANSWERED
            )
        ParityRecord(prompts, answers, **settings).write(folder)
    except Exception as error:  # noqa: BLE001 - nothing here may undo a training
        message = text(
            f"{RECORD_FILE} could not be written; servers cannot be compared with this "
            f"training: {error}",
            f"未能写出供部署核对用的 {RECORD_FILE}：{error}",
        )
        emit(events.WARNING, message=message)


def load_reference(
    folder: Path,
    base_folder: Path,
    *,
    trust_remote_code: bool,
    variables: Mapping[str, Any] | None = None,
) -> tuple[Any, ParityRecord, bool]:
    """Return the tokenizer of a served folder, its record, and whether a training wrote that.

    Without a training's record, the prompts are encoded as the trainer would encode them now, with
    the `variables` of the template.
    """
    source = folder if (folder / "tokenizer_config.json").is_file() else base_folder
    tokenizer = AutoTokenizer.from_pretrained(
        str(source), trust_remote_code=trust_remote_code, local_files_only=True
    )
    record = read_record(folder)
    if record is not None:
        return tokenizer, record, True
    return tokenizer, ParityRecord(render_prompts(tokenizer, variables)), False


def first_difference(expected: Sequence[int], actual: Sequence[int]) -> int | None:
    """Return the index where two sequences part; None if they are equal."""
    for index, (first, second) in enumerate(zip(expected, actual, strict=False)):
        if first != second:
            return index
    if len(expected) == len(actual):
        return None
    return min(len(expected), len(actual))


def is_tie(answer: GreedyAnswer, index: int, dtypes: Sequence[str]) -> bool:
    """Return whether rounding in the coarsest of these number types explains another token."""
    limit = max(TIES.get(dtype, 0.0) for dtype in dtypes) * max(1.0, answer.scale)
    return index < len(answer.margins) and answer.margins[index] <= limit
