"""Render rows that are classified: texts as they are, conversations by the chat template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from swiftbox.config.classification import ClassificationFields
from swiftbox.data.classes import LabelRules, Target
from swiftbox.data.example import Example, RowError, Turn
from swiftbox.errors import DataError
from swiftbox.language import text
from swiftbox.templates.account import LABEL, Account
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import render_example, render_prompt
from swiftbox.templates.template import ConversationTemplate

if TYPE_CHECKING:
    from swiftbox.config.train import TrainConfig


@dataclass(frozen=True)
class ClassifiedText:
    """What the model sees of a row, and what it is to predict."""

    text: str
    second: str | None
    """The second text of a pair."""
    is_rendered: bool
    """Whether the template wrote the text, with its special tokens."""
    target: Target

    @property
    def label(self) -> str:
        """Return the target as a text."""
        if isinstance(self.target, tuple):
            return ", ".join(self.target)
        return f"{self.target:g}"


@dataclass
class ClassifiedRenderer:
    """A template, if there is one, with the labels of a training; counts the labels."""

    rules: LabelRules
    options: RenderOptions
    template: ConversationTemplate | None = None
    uses_template: bool | None = None
    """Whether texts are rendered as well; None: conversations only."""
    account: Account = field(default_factory=Account)

    @staticmethod
    def of(
        config: TrainConfig, load_template: Callable[[], ConversationTemplate] | None
    ) -> ClassifiedRenderer:
        """Return the renderer of a training of a classifier; without a model only labels are read.

        Raises DataError if texts are to be rendered and there is no template.
        """
        if not isinstance(config, ClassificationFields):
            raise TypeError(f"{type(config).__name__} has no labels")
        uses, template = config.use_chat_template, None
        if load_template is not None and uses is not False:
            try:
                template = load_template()
            except DataError as error:
                if uses:
                    raise DataError(error.message, hint=_hint_with_texts(error.hint)) from None
        options = replace(RenderOptions.of(config), turns="last", train_on_prompt=False)
        return ClassifiedRenderer(LabelRules.of(config), options, template, uses)

    def render(self, example: Example, place: str) -> int:
        """Render a row from `file:line` and count its labels; raise RowError for a bad one."""
        self.classified(example, place)
        return 1

    def render_label(self, example: Example, place: str) -> None:
        """Read and count the label of a row alone; raise RowError for a bad one."""
        self._count(self.rules.read(example.target), place)

    def classified(self, example: Example, place: str = "") -> ClassifiedText:
        """Return what the model sees of a row; raise RowError if it cannot be trained on."""
        target = self.rules.read(example.target)
        classified = self._text(example, target, place)
        self._count(target, place)
        return classified

    def _count(self, target: Target, place: str) -> None:
        for name in target if isinstance(target, tuple) else ():
            self.account.count(LABEL + name, place=place)

    def _text(self, example: Example, target: Target, place: str) -> ClassifiedText:
        turns = example.messages
        if not turns:
            if self.uses_template and self.template is not None:
                rendered = self._rendered(replace(example, messages=_as_turn(example)), place)
                return ClassifiedText(rendered, None, True, target)
            return ClassifiedText(example.text or "", example.second, False, target)
        if self.uses_template is False:
            return ClassifiedText(_only_turn(turns), None, False, target)
        return ClassifiedText(self._rendered(example, place), None, True, target)

    def _rendered(self, example: Example, place: str) -> str:
        """Return a conversation as the template writes it, up to the answer that it asks for."""
        template, turns, account = self.template, example.messages, Account()
        if template is None:
            raise _no_template()
        if turns[-1].role == "assistant":
            rendered = render_example(template, self.options, turns, example.tools)
            conversation, account = rendered.renderings[-1].text, rendered.account
        else:
            conversation = render_prompt(template, self.options, turns, example.tools, account)
        self.account.add(account, place)
        return conversation


def _hint_with_texts(hint: str) -> str:
    return (
        text(
            "remove use_chat_template to read texts as they are; for conversations ",
            "去掉 use_chat_template，文字即保持原样；对话数据请",
        )
        + hint
    )


def _as_turn(example: Example) -> tuple[Turn, ...]:
    """Return a text as a user's turn."""
    if example.second is not None:
        raise RowError(
            "template",
            "is a pair of texts, which the chat template has no place for: remove "
            "use_chat_template",
            "是一对文字，对话模板没有相应位置：请去掉 use_chat_template",
        )
    return (Turn("user", example.text or ""),)


def _only_turn(turns: tuple[Turn, ...]) -> str:
    """Return the text of a conversation of one turn."""
    if len(turns) > 1:
        raise RowError(
            "template",
            f"has {len(turns)} turns; only the chat template joins them: use_chat_template: true",
            f"有 {len(turns)} 轮，需要对话模板才能连接：use_chat_template: true",
        )
    return turns[0].content


def _no_template() -> RowError:
    return RowError(
        "template",
        "is a conversation, and the model's tokenizer has no chat template: set template: chatml, "
        "or use_chat_template: false for conversations of one turn",
        "是对话，而该模型的分词器没有对话模板：请设 template: chatml；"
        "单轮对话也可设 use_chat_template: false",
    )
