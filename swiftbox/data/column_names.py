"""The names of columns: ours, and the names in other spellings and languages that mean the same."""

from __future__ import annotations

from collections.abc import Mapping

CONVERSATION_COLUMNS = ("messages", "conversations")
QUESTIONS = ("query", "prompt", "question", "problem")
ANSWERS = ("response", "answer", "output", "completion")
PROMPT_COLUMNS = ("prompt", *CONVERSATION_COLUMNS, "instruction", *QUESTIONS, "input")
"""Columns that may hold the prompt; the first that is filled counts."""

REASONING_COLUMNS = ("reasoning_content", "reasoning", "thinking")
"""Columns with the thoughts before the answer, of which the first that is filled counts; in a turn
they are keys of its message (DeepSeek, vLLM, gpt-oss)."""

CONTEXTS = ("input", "context")
"""Columns with a text that belongs to the question."""

MEDIA = frozenset({"images", "videos", "audios", "image", "video", "audio"})

UNUSED = "unused"
"""The name for columns that are not to be read: `columns: {Notes: unused}`."""

SPELLINGS: Mapping[str, str] = {
    "system_prompt": "system",
    "system_message": "system",
    "系统": "system",
    "系统提示": "system",
    "系统提示词": "system",
    "问题": "question",
    "提问": "question",
    "问": "question",
    "用户问题": "question",
    "题目": "problem",
    "指令": "instruction",
    "输入": "input",
    "上下文": "context",
    "回答": "response",
    "答": "response",
    "答案": "answer",
    "回复": "response",
    "答复": "response",
    "输出": "output",
    "历史": "history",
    "历史对话": "history",
    "对话": "conversations",
    "消息": "messages",
    "文本": "text",
    "思考": "reasoning_content",
    "思考过程": "reasoning_content",
    "推理过程": "reasoning_content",
    "思维链": "reasoning_content",
    "工具": "tools",
    "标签": "label",
    "类别": "label",
    "分类": "label",
    "句子": "sentence",
}
"""Names of columns that mean one of ours and nothing else."""

PROMPT_PARTS = frozenset((*PROMPT_COLUMNS, "input", "system", "history", "tools"))
"""Columns that become part of a prompt: where rewards take all others, only these are renamed."""


def plain_spelling(column: str) -> str:
    """Return a column's name in small letters with underscores: `System-Prompt`."""
    return column.strip().casefold().replace(" ", "_").replace("-", "_")


def respelled(columns: frozenset[str], known: frozenset[str]) -> dict[str, str]:
    """Return our name of each column that is only spelled differently.

    A column keeps its name where ours exists too, or where two columns mean the same.
    """
    meant: dict[str, list[str]] = {}
    for column in columns - known:
        plain = plain_spelling(column)
        name = SPELLINGS.get(plain, plain)
        if name in known:
            meant.setdefault(name, []).append(column)
    return {
        spelled[0]: name
        for name, spelled in meant.items()
        if len(spelled) == 1 and name not in columns
    }
