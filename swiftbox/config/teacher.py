"""What a teacher must share with its student, and the settings that exclude one; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from swiftbox.config.train import TrainConfig
from swiftbox.errors import ConfigError
from swiftbox.formatting import counted
from swiftbox.language import text

KEY = "teacher_model"

SPLIT_WEIGHTS = ("fsdp", "zero3")
"""Strategies under which a process holds a part of each weight."""


def teacher_of(config: TrainConfig) -> tuple[str, str | None]:
    """Return the teacher's name and revision, for a method that has one."""
    values = config.model_dump()
    return str(values[KEY]), values["teacher_revision"]


@dataclass(frozen=True)
class TokenDifference:
    """A token that does not have its id in another tokenizer, and how many such tokens there are.

    `other_id` is None if the other tokenizer does not have the token.
    """

    token: str
    token_id: int
    other_id: int | None
    tokens: int


def token_difference(
    student: Mapping[str, int], teacher: Mapping[str, int]
) -> TokenDifference | None:
    """Return the first of the student's tokens that the teacher does not have under its id.

    The teacher may have further tokens.
    """
    other = [
        (token_id, token) for token, token_id in student.items() if teacher.get(token) != token_id
    ]
    if not other:
        return None
    token_id, token = min(other)
    return TokenDifference(token, token_id, teacher.get(token), len(other))


def another_vocabulary(difference: TokenDifference) -> ConfigError:
    """Return the error for a teacher that does not have the student's tokens."""
    token, number = difference.token, difference.token_id
    other = difference.other_id
    there = text("is not one of its tokens", "不在其中")
    if other is not None:
        there = text(f"is number {other}", f"的编号为 {other}")
    return ConfigError(
        text(
            f"{KEY}: it does not have the student's vocabulary: {token!r}, number {number} of the "
            f"student, {there} ({counted(difference.tokens, 'token')} in all)",
            f"{KEY}：词表与学生模型不同：学生模型的 {number} 号词元 {token!r} 在教师模型中{there}"
            f"（共 {difference.tokens} 个词元不同）",
        ),
        hint=text(
            "choose a teacher and a student of one family; the answers of any teacher can be "
            "learned as data with stage: sft",
            "请选同一系列的教师与学生；任何教师的回答都可作为数据用 stage: sft 学习",
        ),
    )


@contextmanager
def errors_of_teacher() -> Iterator[None]:
    """Put the teacher's setting in front of errors about a model."""
    try:
        yield
    except ConfigError as error:
        lines = [
            line.removeprefix("model: ").removeprefix("model：")
            for line in error.message.split("\n")
        ]
        named = "\n".join(text(f"{KEY}: {line}", f"{KEY}：{line}") for line in lines)
        raise ConfigError(named, hint=error.hint) from None


def teacher_conflicts(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Yield the settings that a distillation excludes, and the fix."""
    if not config.has_teacher:
        return
    if config.distributed in SPLIT_WEIGHTS:
        yield _unverified(
            "distributed",
            config.distributed,
            text("set distributed: ddp or zero2", "设 distributed: ddp 或 zero2"),
        )
    if not config.samples_answers:
        return
    off = text("set lmbda: 0 and seq_kd: false", "设 lmbda: 0 且 seq_kd: false")
    if config.torch_compile:
        yield _unverified(
            "torch_compile", "true", text("set torch_compile: false", "设 torch_compile: false")
        )
    if config.packing:
        yield (
            text(
                "packing: true is for rows of known length; generated answers have none",
                "packing：true 用于长度已知的行；生成的回答长度未知",
            ),
            text(f"set packing: false; or {off}", f"设 packing: false；或{off}"),
        )
    if config.train_on_prompt:
        yield (
            text(
                "train_on_prompt: true leaves no prompt that could be answered",
                "train_on_prompt：true 时没有可供作答的提示",
            ),
            text(f"set train_on_prompt: false; or {off}", f"设 train_on_prompt: false；或{off}"),
        )


def _unverified(key: str, value: str, fix: str) -> tuple[str, str]:
    return (
        text(
            f"{key}: {value} with a teacher has not been verified",
            f"{key}：{value} 与教师模型的组合未经验证",
        ),
        fix,
    )
