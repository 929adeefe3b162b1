"""Remarks on settings of a training that do nothing, or measure what they should not."""

from __future__ import annotations

from pathlib import Path

from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.data.findings import CheckedRows
from swiftbox.data.held_out_rows import KEY
from swiftbox.files import read_json
from swiftbox.formatting import counted, nearest
from swiftbox.language import text
from swiftbox.models.requirements import NOTE, WARNING, Remark
from swiftbox.tasks.checks import OnRemark
from swiftbox.templates.abilities import TOKEN, abilities_of
from swiftbox.templates.closing import KEY as ENDS
from swiftbox.templates.closing import closing_tokens, end_ids
from swiftbox.templates.template import ConversationTemplate
from swiftbox.templates.variables import KEY as VARIABLES


def remark_unread_variables(template: ConversationTemplate, on_remark: OnRemark) -> None:
    """Remark on variables that are set for a template and that it does not read."""
    read = template.names() if template.variables else frozenset()
    for name in template.variables:
        if name in read:
            continue
        message = text(
            f"{VARIABLES}: the chat template does not read {name}",
            f"{VARIABLES}：对话模板不读取 {name}",
        )
        hint = text("remove it: it changes nothing", "请去掉：它不起作用")
        if meant := nearest(name, read):
            hint = text(f"did you mean {meant}?", f"是否指 {meant}？")
        on_remark(Remark(NOTE, VARIABLES, message, hint))


def remark_learned_rows(
    checked: CheckedRows, validation: CheckedRows | None, on_remark: OnRemark
) -> None:
    """Remark on rows that are learned and held out as well; forget which rows there are."""
    learned, held_out = checked.take_hashes(), validation.take_hashes() if validation else set()
    if count := len(learned & held_out):
        rows = f"{count:,} of {counted(len(held_out), 'different row')}"
        message = text(
            f"{KEY}: {rows} {'is' if count == 1 else 'are'} in dataset too",
            f"{KEY}：{len(held_out)} 条不同的数据中有 {count} 条也在 dataset 中",
        )
        hint = text(
            "the loss on rows that are learned does not show when a model learns them by heart",
            "已学过的数据上的损失看不出过拟合",
        )
        on_remark(Remark(WARNING, KEY, message, hint))


def remark_unstopped_answers(
    template: ConversationTemplate, folder: Path, config: TrainConfig, on_remark: OnRemark
) -> None:
    """Remark on a template that ends answers with a text at which the model does not stop.

    A training adds an end that is a token. Says nothing where the tokens that end an answer are not
    known by name.
    """
    abilities = abilities_of(template)
    closing = abilities.closing.strip()
    eos = template.special_tokens.get("eos_token")
    if not closing or (eos and closing.startswith(eos)):
        return
    ends = _configured_ends(folder)
    if not ends or closing.startswith(tuple(ends)):
        return
    listed = ", ".join(sorted(ends | ({eos} if eos else set())))
    added = {*_names_of_added_tokens(folder).values()}
    added |= {*as_list(config.new_tokens), *as_list(config.new_special_tokens)}
    tokens = closing_tokens(abilities, added)
    on_remark(_added_end(tokens[0], listed) if tokens else _unstopped(closing, listed))


def _added_end(token: str, listed: str) -> Remark:
    message = text(
        f"the chat template ends answers with {token}, and this model stops at {listed}",
        f"对话模板以 {token} 结束回答，而此模型在 {listed} 处停止生成",
    )
    hint = text(
        f"the training adds it to {ENDS} of the result's generation_config.json",
        f"训练会把它加入结果 generation_config.json 的 {ENDS}",
    )
    return Remark(NOTE, "template", message, hint)


def _unstopped(closing: str, listed: str) -> Remark:
    message = text(
        f"the chat template ends answers with {closing}, and generation with this model stops at "
        f"{listed}: chat and servers continue after the answer",
        f"对话模板以 {closing} 结束回答，而此模型在 {listed} 处停止生成：回答之后不会停止",
    )
    hint = text(
        "use a template that ends with it, such as the model's own",
        "请使用以其结尾的模板，例如模型自带的模板",
    )
    if TOKEN.fullmatch(closing):
        hint = text(
            f"{closing} is not a token of the tokenizer; new_special_tokens: ['{closing}'] adds it",
            f"{closing} 不是分词器的词元；可用 new_special_tokens: ['{closing}'] 新增",
        )
    return Remark(WARNING, "template", message, hint)


def _configured_ends(folder: Path) -> set[str]:
    """Return the tokens that end an answer by the model's settings; empty if one is unknown."""
    names = _names_of_added_tokens(folder)
    ends = {names.get(str(number), "") for number in end_ids(folder)}
    return set() if "" in ends else ends


def _names_of_added_tokens(folder: Path) -> dict[str, str]:
    """Return the added tokens by id, from the smaller of the two files that may list them."""
    decoder = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder")
    if not isinstance(decoder, dict):
        added = as_list(read_json(folder / "tokenizer.json").get("added_tokens"))
        decoder = {str(entry.get("id")): entry for entry in added if isinstance(entry, dict)}
    return {
        number: str(entry["content"])
        for number, entry in decoder.items()
        if isinstance(entry, dict) and "content" in entry
    }
