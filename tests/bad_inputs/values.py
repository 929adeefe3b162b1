"""Values that no setting takes, or that YAML reads as another than a person does."""

from __future__ import annotations

from collections.abc import Iterator

from bad_inputs.case import BadInput, with_line
from swiftbox.config.fields import Card, cards
from swiftbox.config.task import TaskConfig
from swiftbox.tasks import TASKS

LINES: dict[str, tuple[str, str]] = {
    "true-as-rank": ("lora_rank: true", "whole number (got true)"),
    "yes-as-rank": ("lora_rank: yes", "whole number"),
    "on-as-rate": ("learning_rate: on", "got on, which YAML reads as true"),
    "off-as-steps": ("save_steps: off", "got off, which YAML reads as false"),
    "octal": ("lora_rank: 010", "010, which YAML reads as 8"),
    "octal-in-quotes": ("lora_rank: '010'", "(got 010)"),
    "new-octal": ("lora_rank: 0o10", "(got 0o10)"),
    "hexadecimal": ("lora_rank: 0x10", "0x10, which YAML reads as 16"),
    "binary": ("lora_rank: 0b11", "0b11, which YAML reads as 3"),
    "sexagesimal": ("max_steps: 1:30", "1:30, which YAML reads as 90"),
    "sexagesimal-fraction": ("warmup_steps: 1:30.5", "1:30.5, which YAML reads as 90.5"),
    "thousands": ("max_steps: 1_000", "1_000, which YAML reads as 1000"),
    "thousands-comma": ("max_steps: 1,000", "whole number"),
    "fraction-as-rank": ("lora_rank: 8.5", "whole number (got 8.5)"),
    "exponent-as-rank": ("lora_rank: 1e1", "whole number"),
    "infinite": ("lora_alpha: .inf", ".inf"),
    "minus-infinite": ("lora_alpha: -.inf", "-.inf"),
    "not-a-number": ("learning_rate: .nan", ".nan"),
    "infinity-as-a-word": ("learning_rate: inf", "inf"),
    "nan-as-a-word": ("max_grad_norm: nan", "nan"),
    "overflow": ("lora_alpha: 1e400", ""),
    "overflow-with-a-dot": ("lora_alpha: 1.0e+400", ""),
    "full-width-digits": ("lora_rank: ８", "whole number (got ８)"),
    "arabic-digits": ("lora_rank: ٨", "whole number"),
    "unit": ("max_length: 2k", "whole number (got 2k)"),
    "percent": ("val_size: 10%", "a number (got 10%)"),
    "fraction-text": ("val_size: 1/10", "a number"),
    "date": ("lora_rank: 2024-01-01", "whole number"),
    "time": ("lora_rank: 2024-01-01 10:00:00", "whole number"),
    "null": ("lora_rank: null", "it is empty"),
    "tilde": ("learning_rate: ~", "it is empty"),
    "nothing": ("lora_rank:", "it is empty"),
    "empty-text": ("lora_rank: ''", "whole number"),
    "list": ("lora_rank: [8]", "whole number"),
    "mapping": ("lora_rank: {a: 8}", "whole number"),
    "number-as-boolean": ("use_dora: 1", "true or false (got 1)"),
    "zero-as-boolean": ("packing: 0", "true or false (got 0)"),
    "word-as-boolean": ("use_dora: maybe", "true or false (got maybe)"),
    "letter-as-boolean": ("use_dora: t", "true or false"),
    "number-in-quotes-as-boolean": ("use_dora: '1'", "true or false (got 1)"),
    "list-as-boolean": ("packing: [true]", "true or false"),
    "null-as-boolean": ("packing: null", "true or false"),
    "boolean-in-numbers": ("layers_to_transform: [0, true]", "item 2"),
    "octal-in-numbers": ("layers_to_transform: [010]", "which YAML reads as 8"),
    "boolean-in-a-mapping": ("rank_pattern: {q_proj: yes}", "q_proj"),
    "sexagesimal-in-a-mapping": ("rank_pattern: {q_proj: 1:30}", "which YAML reads as 90"),
    "zero-rank-in-a-mapping": ("rank_pattern: {q_proj: 0}", "at least 1"),
    "negative-layer": ("layers_to_transform: [-1]", "at least 0"),
    "nan-in-a-mapping": ("alpha_pattern: {q_proj: .nan}", ".nan"),
    "boolean-in-texts": ("target_modules: [on, q_proj]", "item 1"),
    "number-in-texts": ("target_modules: [1, q_proj]", "item 1"),
    "rows-and-a-half": ("val_size: 1.5", "share below 1, or a whole number"),
    "all-rows-held-out": ("val_size: 4", "nothing to train on"),
    "more-rows-held-out-than-there-are": ("val_size: 400", "nothing to train on"),
    "negative-share": ("val_size: -0.1", "at least 0"),
    "steps-and-a-half": ("warmup_steps: 2.5", "share below 1, or a whole number"),
    "ratio-of-two": ("warmup_ratio: 2", "should be below 1 (got 2)"),
    "ratio-of-one": ("warmup_ratio: 1.0", "should be below 1"),
    "split-ratio": ("split_dataset_ratio: 10", "should be below 1"),
    "ratio-of-a-word": ("warmup_ratio: some", "a number"),
    "alias-of-true": ("lora_r: true", "whole number"),
    "alias-octal": ("lora_r: 010", "which YAML reads as 8"),
    "alias-disagrees": ("lora_rank: 8\nlora_r: 16", "sets lora_rank"),
    "empty-model-type": ("model_type: ''", "should not be empty"),
    "blank-template": ("template: '  '", "should not be empty"),
    "empty-adapter": ("adapter: ''", "should not be empty"),
    "blank-adapter": ("adapter: '   '", "should not be empty"),
    "empty-in-list": ("target_modules: ['']", "should not be empty"),
    "empty-list": ("target_modules: []", "should not be empty"),
    "unknown-user": ("adapter: ~nobody-of-this-name/a", "not the home of a user"),
    "long-file-name": (f"adapter: {'x' * 300}", "longer than a file name"),
    "long-path": (f"adapter: {'/x' * 3000}", "longer than a path"),
    "list-as-text": ("adapter: [a, b]", "text"),
    "mapping-as-choice": ("tuner_type: {lora: 8}", "one of"),
    "list-as-stage": ("stage: [sft, dpo]", "one of"),
    "null-as-stage": ("stage: null", "one of"),
    "list-as-task": ("task: [train]", "one of"),
    "mapping-as-task": ("task: {}", "one of"),
    "null-as-task": ("task: null", "one of"),
    "number-as-task": ("task: 7", "one of"),
    "list-as-loss": ("stage: dpo\nloss_type: [[sigmoid]]", "loss_type"),
    "mapping-as-loss": ("stage: dpo\nloss_type: {a: b}", "loss_type"),
    "list-as-device": ("distributed: [ddp]", "one of"),
    "true-as-version": ("version: true", "version"),
    "version-two": ("version: 2", "version"),
    "version-text": ("version: one", "version"),
    "seed-too-large": ("seed: 4294967296", "seed"),
    "seed-huge": ("seed: 99999999999999999999999999", "seed"),
    "rate-of-ten": ("learning_rate: 10", "less than 10"),
    "wrong-quant-bits": ("tuner_type: qlora\nquant_bits: 5", "4 or 8"),
    "unknown-reporter": ("report_to: mlflow", "report_to"),
    "key-of-a-secret": ("api_key: abc", "not a known key"),
    "broken-expression": ("target_modules: '['", "not a regular expression"),
    "broken-expressions": ("exclude_modules: ['(']", "not a regular expression"),
    "broken-expression-of-ranks": ("rank_pattern: {'*': 8}", "not a regular expression"),
}
"""Name, lines of the YAML, and a part of the answer."""

DATASETS: dict[str, tuple[str, str]] = {
    "number": ("7", "dataset"),
    "true": ("true", "dataset"),
    "null": ("null", "it is empty"),
    "empty": ("''", "should not be empty"),
    "empty-list": ("[]", "should not be empty"),
    "empty-item": ("['']", "should not be empty"),
    "list-in-list": ("[[rows.jsonl]]", "dataset"),
    "item-without-path": ("[{weight: 2}]", "path"),
    "item-with-unknown-key": ("[{path: rows.jsonl, wieght: 2}]", "wieght"),
    "true-weight": ("[{path: rows.jsonl, weight: true}]", "weight"),
    "octal-samples": ("[{path: rows.jsonl, num_samples: 010}]", "which YAML reads as 8"),
    "zero-samples": ("[{path: rows.jsonl, num_samples: 0}]", "num_samples"),
    "negative-weight": ("[{path: rows.jsonl, weight: -1}]", "weight"),
    "infinite-weight": ("[{path: rows.jsonl, weight: .inf}]", "weight"),
    "huge-weight": ("[{path: rows.jsonl, weight: 1e9}]", "weight"),
    "number-as-subset": ("[{path: rows.jsonl, subset: [a]}]", "subset"),
    "columns-of-numbers": ("[{path: rows.jsonl, columns: {a: 1}}]", "columns"),
    "zero-byte": ('"a\\0.jsonl"', "control character"),
    "newline": ('"a\\nb.jsonl"', "line break"),
}
"""Values of `dataset`."""

NOTED: dict[str, tuple[str, str]] = {
    "key-of-another-task": ("steps: 3", "steps is not used"),
    "key-of-another-tuner": ("vera_rank: 8", "vera_rank is not used"),
    "slow-expression": (f"tuner_type: full\nfreeze_parameters: ['{'.*' * 12}!']", "command: "),
    "name-of-another-tool": ("lora_r: 4", "lora_r is read as lora_rank: 4"),
}
"""Lines that are used or left out with a note."""

SEED = 13
WRONG_NUMBERS = ("true", "010", "-1000000001", "1e30", "abc", ".nan")


def cases() -> Iterator[BadInput]:
    """Yield the cases of the group."""
    for name, (line, expected) in LINES.items():
        yield BadInput(name, files=with_line(line), expected=expected)
    for name, (line, expected) in NOTED.items():
        yield BadInput(name, files=with_line(line), expected=expected, code=0)
    for name, (value, expected) in DATASETS.items():
        yield BadInput(f"dataset-{name}", files=with_line("", dataset=value), expected=expected)
    for task, config_class, card in number_settings():
        wrong = WRONG_NUMBERS[sum(map(ord, f"{task}{card.name}{SEED}")) % len(WRONG_NUMBERS)]
        yield number_case(task, config_class, card, wrong)


def number_settings() -> Iterator[tuple[str, type[TaskConfig], Card]]:
    """Yield every setting that takes a number, once for each task that has it."""
    seen: set[tuple[str, str]] = set()
    for name, task in TASKS.items():
        for config_class in task.config_classes.values():
            for card in cards(config_class):
                if card.kind in ("integer", "number") and (name, card.name) not in seen:
                    seen.add((name, card.name))
                    yield name, config_class, card


def number_case(task: str, config_class: type[TaskConfig], card: Card, wrong: str) -> BadInput:
    """Return the case of a wrong number for a setting, with what makes the setting matter."""
    discriminator = TASKS[task].discriminator
    settings = {"task": task, discriminator: config_class.model_fields[discriminator].default}
    settings |= {key: choices[0] for key, choices in card.only.items()}
    lines = [f"{key}: {value}" for key, value in settings.items()]
    content = "\n".join([*dict.fromkeys(lines), f"{card.name}: {wrong}"]) + "\n"
    return BadInput(
        f"{task}-{card.name}-{wrong}", files={"a.yaml": content}, expected=f"{card.name}: "
    )
