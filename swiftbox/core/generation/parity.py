"""What a training leaves for its server to be held against: prompts in tokens, greedy answers.

Shapes: T tokens of a prompt, A tokens of an answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer, GenerationConfig

from swiftbox.core.data.encode import Chat, encode_chats
from swiftbox.data.turns import read_tools, read_turns
from swiftbox.errors import DataError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.runs import events

RECORD = "parity.json"
"""In the folder of a model or an adapter; goes where it goes."""

ANSWER_TOKENS = 16
"""Enough for a wrong template or adapter to show, few enough for a processor."""

ANSWERED = ("question", "system", "chinese")
"""The prompts that are answered as well: short ones."""

TIES = {"float32": 1e-4, "float16": 4e-3, "bfloat16": 3e-2}
"""Of the largest logit: by how little a token may win over the second for rounding to turn it.

About eight of the number type's own steps, which is what the depth of a model adds up to.
"""

WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}

SHAPES: Mapping[str, Mapping[str, Any]] = {
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
"""Conversations as OpenAI writes them, one of each shape that templates are known to differ on."""


@dataclass(frozen=True)
class Prompt:
    """A prompt as it is asked, and the tokens that the trainer makes of it."""

    name: str
    asked: Mapping[str, Any]
    """`messages` and `tools` for a chat, `prompt` for a model without a template."""
    ids: tuple[int, ...]  # (T,)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"name": self.name, "asked": dict(self.asked), "ids": list(self.ids)}


@dataclass(frozen=True)
class Answer:
    """A greedy answer to one of the prompts."""

    name: str
    ids: tuple[int, ...]  # (A,), without the token that ends it
    gaps: tuple[float, ...]
    """By how much the logit of each token, the ending one included, led the second's."""
    scale: float
    """The largest logit that won."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        gaps = [round(one, 6) for one in self.gaps]
        return {"name": self.name, "ids": list(self.ids), "gaps": gaps, "scale": self.scale}


@dataclass(frozen=True)
class Record:
    """All of it, and in which numbers the answers were computed."""

    prompts: tuple[Prompt, ...]
    answers: tuple[Answer, ...] = ()
    dtype: str = "float32"
    quantization: str = ""
    """How the base was quantized meanwhile; empty for one that was not."""

    def write(self, folder: Path) -> None:
        """Write it into the folder of a model."""
        found = {
            "dtype": self.dtype,
            "quantization": self.quantization,
            "prompts": [one.to_dict() for one in self.prompts],
            "answers": [one.to_dict() for one in self.answers],
        }
        write_json(folder / RECORD, found)


def read(folder: Path) -> Record | None:
    """Return the record in a folder; None where there is none, or not one of these."""
    found = read_json(folder / RECORD)
    try:
        prompts = [Prompt(one["name"], one["asked"], tuple(one["ids"])) for one in found["prompts"]]
        answers = [
            Answer(one["name"], tuple(one["ids"]), tuple(one["gaps"]), float(one["scale"]))
            for one in found["answers"]
        ]
        return Record(tuple(prompts), tuple(answers), found["dtype"], found["quantization"])
    except (KeyError, TypeError, ValueError):
        return None


def carry(source: Path, target: Path, *, dtype: str, answers: bool) -> None:
    """Take a record along to a model made of another, computed in numbers of that type."""
    found = read(source)
    if found is None:
        return
    coarser = max(dtype, found.dtype, key=lambda one: TIES.get(one, 0.0))
    Record(found.prompts, found.answers if answers else (), coarser, found.quantization).write(
        target
    )


def rendered(tokenizer: Any) -> tuple[Prompt, ...]:
    """Return the prompts as the trainer writes them; without those that the template refuses."""
    found = []
    for name, shape in SHAPES.items():
        if not tokenizer.chat_template:
            words = str(shape["messages"][-1]["content"])
            ids = tokenizer(words, add_special_tokens=False).input_ids
            found.append(Prompt(name, {"prompt": words}, tuple(ids)))
            continue
        chat = Chat(tuple(read_turns(list(shape["messages"]))), read_tools(shape), prompt=True)
        try:
            (row,) = encode_chats([chat], tokenizer)
        except (DataError, TemplateError):
            continue  # no system role, no tools: nothing to be the same
        found.append(Prompt(name, shape, tuple(row.input_ids.tolist())))
    return tuple(found)


def ends_of(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer, as the server takes them."""
    said = model.generation_config.eos_token_id
    found = {*(said if isinstance(said, list) else [said]), tokenizer.eos_token_id}
    return frozenset(one for one in found if one is not None)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def greedy(model: Any, prompt: Prompt, ends: frozenset[int]) -> Answer:
    """Answer with plain generate: one sequence, the likeliest token each time."""
    ids = torch.tensor([prompt.ids], device=model.device)  # (1, T)
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,  # unset, the model's own would take its place
        max_new_tokens=ANSWER_TOKENS,
        eos_token_id=sorted(ends) or None,
        pad_token_id=min(ends, default=0),
        use_cache=True,  # the trainer turned it off
        return_dict_in_generate=True,
        output_logits=True,
    )
    said = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
    )
    tokens = said.sequences[0, ids.shape[1] :].tolist()
    best = [torch.topk(one[0].float(), 2).values.tolist() for one in said.logits]  # A of 2
    while tokens and tokens[-1] in ends:
        tokens.pop()
    scale = max(abs(first) for first, _ in best)
    return Answer(prompt.name, tuple(tokens), tuple(one - two for one, two in best), scale)


def leave(model: Any, tokenizer: Any, folder: Path, emit: Callable[..., None], **said: Any) -> None:
    """Write the record of a training into the folder of its model.

    `model` is None where its weights are spread over processes: then there are no answers.
    A record that cannot be made is a warning: the training itself is done and saved.
    """
    try:
        prompts = rendered(tokenizer)
        answers: tuple[Answer, ...] = ()
        if model is not None:
            model.eval()
            ends = ends_of(model, tokenizer)
            answers = tuple(greedy(model, one, ends) for one in prompts if one.name in ANSWERED)
        Record(prompts, answers, **said).write(folder)
    except Exception as error:  # noqa: BLE001 - nothing here may undo a training
        message = text(
            f"no {RECORD} was left for servers to be held against: {error}",
            f"未能写出供部署核对用的 {RECORD}：{error}",
        )
        emit(events.WARNING, message=message)


def reference(folder: Path, base: Path, *, trust_remote_code: bool) -> tuple[Any, Record, bool]:
    """Return the tokenizer of a served folder, what to hold it against, and whether trained so.

    Without a training's record: what the trainer would make of the prompts today.
    """
    own = folder if (folder / "tokenizer_config.json").is_file() else base
    tokenizer = AutoTokenizer.from_pretrained(
        str(own), trust_remote_code=trust_remote_code, local_files_only=True
    )
    found = read(folder)
    return tokenizer, found or Record(rendered(tokenizer)), found is not None


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Return where two sequences part; None where they are equal."""
    for at, (first, second) in enumerate(zip(one, other, strict=False)):
        if first != second:
            return at
    return None if len(one) == len(other) else min(len(one), len(other))


def is_tie(answer: Answer, at: int, dtypes: Sequence[str]) -> bool:
    """Tell whether rounding in the coarsest of these number types may turn an answer there."""
    limit = max(TIES.get(one, 0.0) for one in dtypes) * max(1.0, answer.scale)
    return at < len(answer.gaps) and answer.gaps[at] <= limit
