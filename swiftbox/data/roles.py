"""The speakers of a conversation: the names that datasets give to our roles."""

from __future__ import annotations

from collections.abc import Mapping

ROLE_OF: Mapping[str, str] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "用户": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "助手": "assistant",
    "caller": "assistant",
    "conclusion": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "function_result": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "ipython": "tool",
}
"""The role of each speaker's name, in small letters.

OpenAI (`developer` is its newer name of `system`; templates know one or both), ShareGPT and
FastChat (bing, bard), LLaMA-Factory, ms-swift, OpenAssistant (prompter), Gemini (model), Cohere
(chatbot), Llama 3 (ipython), alpha-UMI (caller and conclusion, whose contents are texts).
"""

SPEAKER_KEYS = ("role", "from", "speaker")
"""Keys of a turn that name its speaker; the first that is filled counts."""

CALLERS = ("function_call", "tool_call")
"""Speakers whose content is a tool call in JSON."""

PLAIN = {speaker: role for speaker, role in ROLE_OF.items() if speaker not in CALLERS}
"""The role of each speaker whose content is text."""


def speaker_name(speaker: str) -> str:
    """Return a speaker's name as the tables write it: `Tool-Call` is `tool_call`."""
    return speaker.strip().lower().replace("-", "_").replace(" ", "_")
