"""Rows as the model sees them, without torch: the texts, their learned parts, their lengths.

The chat template renders in this process (it passed its trial before); tokens are counted with the
`tokenizers` package alone, from the folder's tokenizer.json. No code of the model's folder runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from swiftbox.config.classification import ClassificationFields
from swiftbox.config.train import TrainConfig
from swiftbox.data.example import Example, RowError
from swiftbox.data.files import files_of, rows_of
from swiftbox.data.formats import LABELLED, read_row
from swiftbox.data.labels import with_labels
from swiftbox.errors import ConfigError, DataError
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.models.location import find_folder
from swiftbox.models.templates import require_bounded_templates
from swiftbox.security.templates import require_bounded
from swiftbox.tasks.light_tokenizer import light_tokenizer
from swiftbox.tasks.row_rendering import renderer_of
from swiftbox.tasks.training_check import sources_of
from swiftbox.templates.classified import ClassifiedRenderer, ClassifiedText
from swiftbox.templates.examples import ExampleRenderer
from swiftbox.templates.files import template_file
from swiftbox.templates.folder import template_of_folder
from swiftbox.templates.parts import Offsets, TextPart, learned_tokens, parts_of
from swiftbox.templates.renderings import LearnedSpan, Rendering
from swiftbox.templates.tokens import TokenizedText, known_tokens, tokenized

USUAL_ROWS = 3
PERCENTILES = (50, 90, 99, 100)
MEASURED_ROWS = 1000
"""Rows whose tokens are counted, a few tenths of a second; a larger set is not counted to its end,
which the training does."""


@dataclass(frozen=True)
class RowChoice:
    """The rows to preview: the first ones, or those at the given places."""

    count: int = USUAL_ROWS
    places: tuple[tuple[str, int], ...] = ()
    """File name and line, as errors name them."""


@dataclass(frozen=True)
class PreviewedText:
    """A text that the model sees of a row: with `turns: each` and for pairs a row has several."""

    file: str
    line: int
    answer: str
    """`chosen` or `rejected` for the answers of a pair, else empty."""
    parts: tuple[TextPart, ...]
    tokens: int | None = None
    """Before it is cut to max_length; None if there is no tokenizer.json."""
    learned_tokens: int | None = None
    is_cut: bool = False

    def origin(self) -> dict[str, Any]:
        """Return everything but the parts as JSON values."""
        origin: dict[str, Any] = {"file": self.file, "line": self.line}
        if self.answer:
            origin["answer"] = self.answer
        return {
            **origin,
            "tokens": self.tokens,
            "learned_tokens": self.learned_tokens,
            "cut": self.is_cut,
        }


@dataclass(frozen=True)
class MeasuredTexts:
    """The lengths of the texts of the first rows."""

    rows: int
    is_all: bool
    """Whether these are all rows."""
    tokens: tuple[int, ...]
    """Of each text, before it is cut."""
    learned: int | None
    """Learned tokens; None for rows that are learned as a whole."""
    max_length: int

    @property
    def percentiles(self) -> dict[str, int]:
        """Return percentiles of the lengths, by name."""
        ordered = sorted(self.tokens) or [0]
        return {
            f"p{rank}": ordered[min(len(ordered) - 1, len(ordered) * rank // 100)]
            for rank in PERCENTILES
        }

    @property
    def longer(self) -> int:
        """Count the texts that are longer than max_length."""
        return sum(count > self.max_length for count in self.tokens)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "rows": self.rows,
            "all_rows": self.is_all,
            "tokens": sum(self.tokens),
            "learned_tokens": self.learned,
            "percentiles": self.percentiles,
            "longer_than_max_length": self.longer,
        }


class RowPreview:
    """The preview of a training whose model and data are on this machine."""

    def __init__(self, config: TrainConfig) -> None:
        """Load template and tokenizer; raise UserError if one of them cannot be used."""
        folder = find_folder(config.model)
        if folder is None:
            raise _not_here(config.model)
        self.config = config
        self.stage = str(config.model_dump()["stage"])
        self.renderer = _renderer(config, folder) if METHODS[self.stage].needs_template else None
        self.classified = _classified(config, folder)
        self.tokenizer = light_tokenizer(folder)
        # A text for pretraining is split at max_length, not cut.
        self.limit = sys.maxsize if METHODS[self.stage].splits_texts else config.max_length

    def texts(self, choice: RowChoice) -> list[PreviewedText]:
        """Return the texts of the first good rows, or those of rows at places.

        Raises UserError for a place without a row, or with one that is refused.
        """
        if not choice.places:
            rows = islice(self._first(), choice.count)
            return [previewed for texts in rows for previewed in texts]
        previewed: list[PreviewedText] = []
        for file, line, example in self._at(choice.places):
            try:
                previewed += self._previewed(example, file, line)
            except RowError as error:
                raise _bad(file, line, error) from None
        return previewed

    def _first(self) -> Iterator[list[PreviewedText]]:
        """Yield the texts of each row that is trained on."""
        for file, line, row in self._rows():
            if not isinstance(row, RowError):
                with suppress(RowError):
                    yield list(self._previewed(row, file, line))

    def _at(self, places: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int, Example]]:
        missing = dict.fromkeys(places)
        for file, line, row in self._rows():
            place = next((place for place in missing if _is_at(place, file, line)), None)
            if place is None:
                continue
            del missing[place]
            if isinstance(row, RowError):
                raise _bad(file, line, row)
            yield file, line, row
            if not missing:
                return
        if missing:
            raise _no_such_row(*next(iter(missing)))

    def _rows(self) -> Iterator[tuple[str, int, Example | RowError]]:
        for source in sources_of(self.config):
            for file, line, row in rows_of(source, files_of(source)):
                try:
                    if isinstance(row, RowError):
                        raise row
                    yield file, line, read_row(row, self.stage)[1]
                except RowError as error:
                    yield file, line, error

    def _previewed(self, example: Example, file: str, line: int) -> Iterator[PreviewedText]:
        limit = self.limit
        if self.classified is not None:
            yield self._classified_text(self.classified.classified(example), file, line)
            return
        for answer, rendering, offsets in self._tokenized(example, f"{file}:{line}"):
            parts = tuple(parts_of(rendering, offsets, limit))
            if offsets is None:
                yield PreviewedText(file, line, answer, parts)
                continue
            learned = learned_tokens(rendering.spans, offsets, limit)
            count = len(offsets)
            yield PreviewedText(file, line, answer, parts, count, learned, count > limit)

    def _classified_text(self, classified: ClassifiedText, file: str, line: int) -> PreviewedText:
        """Return a text or a pair, and what is to be predicted, as its last part."""
        texts = [text for text in (classified.text, classified.second) if text is not None]
        parts = [TextPart(f"{text}\n", 0.0) for text in texts]
        parts.append(TextPart(classified.label, 1.0))
        if self.tokenizer is None:
            return PreviewedText(file, line, "", tuple(parts))
        special = not classified.is_rendered
        encoding = self.tokenizer.encode(
            classified.text, classified.second, add_special_tokens=special
        )
        count = len(encoding.ids)
        return PreviewedText(file, line, "", tuple(parts), count, 1, count > self.limit)

    def _renderings(self, example: Example, place: str) -> Iterator[tuple[str, Rendering]]:
        if self.renderer is None:
            content = example.text or ""
            yield "", Rendering(content, (LearnedSpan(0, len(content), 0, 1.0),), 0)
            return
        for labelled in with_labels(example) if self.stage in LABELLED else (example,):
            answer = "" if labelled.label is None else ("chosen" if labelled.label else "rejected")
            for conversation, rendering in self.renderer.renderings(labelled, place):
                yield conversation.answer or (answer if example.rejected else ""), rendering

    def _tokenized(
        self, example: Example, place: str
    ) -> list[tuple[str, Rendering, Offsets | None]]:
        """Return the renderings of an example with what is learned of each, and their tokens."""
        rendered = list(self._renderings(example, place))
        if self.tokenizer is None:
            return [(answer, rendering, None) for answer, rendering in rendered]
        texts = [
            tokenized(rendering, self._tokenize(rendering.text), self._tokenize)
            for _, rendering in rendered
        ]
        known = [0 for _ in texts]
        if self.config.train_on_prompt and not example.rejected:
            known = known_tokens([tokens.ids for tokens in texts])
        return [
            (answer, _learned_after(rendering, tokens.offsets, count), tokens.offsets)
            for (answer, rendering), tokens, count in zip(rendered, texts, known, strict=True)
        ]

    def _tokenize(self, content: str) -> TokenizedText:
        assert self.tokenizer is not None
        encoding = self.tokenizer.encode(content, add_special_tokens=False)
        return TokenizedText(encoding.ids, encoding.offsets)

    def lengths(self) -> MeasuredTexts | None:
        """Count the tokens of the first rows; None without a tokenizer.json."""
        if self.tokenizer is None:
            return None
        if self.classified is not None:
            return self._classified_lengths()
        texts, rows, is_all = list[tuple[Rendering, Offsets]](), 0, True
        for file, line, row in self._rows():
            if isinstance(row, RowError):
                continue
            if rows == MEASURED_ROWS:
                is_all = False
                break
            rows += 1
            try:
                for _, rendering, offsets in self._tokenized(row, f"{file}:{line}"):
                    texts.append((rendering, offsets or []))
            except RowError:
                continue
        learned = sum(
            learned_tokens(rendering.spans, offsets, self.limit) for rendering, offsets in texts
        )
        lengths = tuple(len(offsets) for _, offsets in texts)
        return MeasuredTexts(rows, is_all, lengths, learned, self.limit)

    def _classified_lengths(self) -> MeasuredTexts:
        """Count the tokens of the first rows that are classified, each of which is learned."""
        lengths: list[int] = []
        is_all = True
        for texts in self._first():
            if len(lengths) == MEASURED_ROWS:
                is_all = False
                break
            lengths += [previewed.tokens or 0 for previewed in texts]
        return MeasuredTexts(len(lengths), is_all, tuple(lengths), None, self.limit)


def _classified(config: TrainConfig, folder: Path) -> ClassifiedRenderer | None:
    """Return the renderer of a classifier's rows; None for other methods."""
    if not isinstance(config, ClassificationFields):
        return None
    _require_bounded(config, folder)
    return ClassifiedRenderer.of(config, lambda: template_of_folder(folder, config))


def _learned_after(rendering: Rendering, offsets: Offsets, count: int) -> Rendering:
    """Return a rendering that learns nothing of its first tokens: an earlier one teaches them."""
    if not count:
        return rendering
    begin = offsets[count][0] if count < len(offsets) else len(rendering.text)
    later = [span for span in rendering.spans if span.end > begin]
    spans = tuple(replace(span, start=max(span.start, begin)) for span in later)
    return replace(rendering, spans=spans)


def _renderer(config: TrainConfig, folder: Path) -> ExampleRenderer:
    _require_bounded(config, folder)
    return renderer_of(config, folder)


def _require_bounded(config: TrainConfig, folder: Path) -> None:
    require_bounded_templates(folder, used=config.template == "auto")
    if config.template not in ("auto", "chatml"):
        require_bounded([template_file(Path(config.template).expanduser())])


def _is_at(place: tuple[str, int], file: str, line: int) -> bool:
    name, number = place
    return number == line and (name == file or Path(name).name == file or name.endswith(f"/{file}"))


def _not_here(model: str) -> ConfigError:
    return ConfigError(
        text(
            f"--preview needs the tokenizer of {model}, which is not on this machine",
            f"--preview 需要 {model} 的分词器，但它不在本机",
        ),
        hint=text("download the model first", "请先下载模型"),
    )


def _bad(file: str, line: int, error: RowError) -> DataError:
    return DataError(
        f"{file}:{line} {error.reason}",
        hint=text("the training skips this row", "训练会跳过这一行"),
    )


def _no_such_row(file: str, line: int) -> ConfigError:
    return ConfigError(
        text(f"--line: no row at {file}:{line}", f"--line：{file}:{line} 处没有数据行"),
        hint=text(
            "give file and line as errors name them, such as chat.jsonl:12",
            "请按报错中的写法给出文件与行号，例如 chat.jsonl:12",
        ),
    )
