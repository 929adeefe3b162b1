"""Reads answers by vLLM's own parsers: a script for vLLM's Python, with cases as JSON on stdin.

A case has tools, reasoning (names of parsers), tokens, definitions, prompt, answer and variables.
Each is read as a whole and token by token; the last line of the output has all results as JSON.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Any


def main() -> None:
    folder, cases = json.load(sys.stdin)
    print(json.dumps([read(tokenizer_of(folder, *case["tokens"]), case) for case in cases]))


@cache
def tokenizer_of(folder: str, *tokens: str) -> Any:
    """Return a folder's tokenizer with further tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(tokens))
    return tokenizer


def read(tokenizer: Any, case: dict[str, Any]) -> list[Any]:
    """Return reasoning, content and calls of an answer: complete, and of its pieces."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser.parser_manager import ParserManager

    request = ChatCompletionRequest(
        model="m", messages=[{"role": "user", "content": "Hi"}], tools=case["definitions"]
    )
    parser_class = ParserManager.get_parser(
        tool_parser_name=case["tools"] or None,
        reasoning_parser_name=case["reasoning"] or None,
        enable_auto_tools=True,
        tokenizer=tokenizer,
    )
    prompt = tokenizer.encode(case["prompt"], add_special_tokens=False)
    answer = tokenizer.encode(case["answer"], add_special_tokens=False)

    def new_parser() -> Any:
        parser = parser_class(
            tokenizer, request.tools, chat_template_kwargs=dict(case["variables"])
        )
        parser.set_prompt_token_ids(prompt)
        return parser

    reasoning, content, calls = new_parser().parse(
        case["answer"], request, enable_auto_tools=True, model_output_token_ids=answer
    )
    complete = [reasoning or "", content or "", [[c.name, c.arguments] for c in calls or []]]
    parser, deltas = new_parser(), []
    for number, token in enumerate(answer, 1):
        text, is_last = tokenizer.decode([token]), number == len(answer)
        deltas.append(parser.parse_delta(text, [token], request, prompt, finished=is_last))
    return [complete, joined([delta for delta in deltas if delta is not None])]


def joined(deltas: list[Any]) -> list[Any]:
    """Return reasoning, content and calls of the pieces of an answer."""
    calls: dict[int, list[str]] = {}
    for piece in (piece for delta in deltas for piece in delta.tool_calls or []):
        name, arguments = piece.function.name or "", piece.function.arguments or ""
        earlier = calls.setdefault(piece.index, ["", ""])
        calls[piece.index] = [earlier[0] + name, earlier[1] + arguments]
    return [
        "".join(delta.reasoning or "" for delta in deltas),
        "".join(delta.content or "" for delta in deltas),
        [calls[index] for index in sorted(calls)],
    ]


if __name__ == "__main__":
    main()
