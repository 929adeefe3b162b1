"""Model folders with one defect each, as files to write over a sound folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from model_folder import SIZES, TOKENIZER, qwen3_tensors, write_safetensors

from bad_inputs.case import BadInput, MakeFile

Content = str | bytes | MakeFile

HUGE = 2**80


def config(**changes: object) -> str:
    """Return a config.json; a change to `...` removes the key."""
    content = {"model_type": "qwen3", **SIZES, "head_dim": 16, **changes}
    return json.dumps({key: value for key, value in content.items() if value is not ...})


def weights(change: Callable[[dict[str, Any]], object] = dict, dtype: str = "BF16") -> MakeFile:
    """Return what writes weights whose tensors `change` has changed."""

    def write(path: Path) -> None:
        tensors: dict[str, Any] = qwen3_tensors()
        change(tensors)
        write_safetensors(path, tensors, dtype)

    return write


def header(content: object, data: int = 64) -> bytes:
    """Return a file of weights with any header, and some data."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


def tensor(**changes: object) -> dict[str, dict[str, object]]:
    """Return a header of one tensor of 64 bytes."""
    return {"a": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64], **changes}}


def removed(path: Path) -> None:
    """Remove a file."""
    path.unlink(missing_ok=True)


def fifo(path: Path) -> None:
    """Make a FIFO, which nobody writes to."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link_to(target: str) -> MakeFile:
    """Return what makes a link."""

    def link(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return link


def sparse(size: int) -> MakeFile:
    """Return what makes a file of a size that takes no room."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def folder(path: Path) -> None:
    """Make a folder where a file belongs."""
    path.unlink(missing_ok=True)
    path.mkdir()


NOT_JSON: Mapping[str, Content] = {
    "null": "null",
    "list": "[]",
    "text": '"qwen3"',
    "number": "1",
    "empty": "",
    "spaces": "  \n",
    "byte-order-mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"model_type": "qwen3"}'.encode("utf-16"),
    "truncated": config()[:40],
    "binary": bytes(range(256)),
    "deep": "[" * 100_000,
    "deep-object": '{"a":' * 100_000,
    "gigabyte": sparse(2**30),
    "fifo": fifo,
    "dead-link": link_to("nowhere"),
    "link-to-zeros": link_to("/dev/zero"),
    "folder": folder,
    "two-objects": "{}{}",
    "huge-number": f'{{"model_type": "qwen3", "hidden_size": {"9" * 5000}}}',
}
"""What is not a JSON object, and what cannot be read."""

CONFIG: Mapping[str, Content] = {
    **NOT_JSON,
    "link-to-itself": link_to("config.json"),
    "empty-object": "{}",
    "no-model-type": config(model_type=...),
    "null-model-type": config(model_type=None),
    "number-model-type": config(model_type=3),
    "list-model-type": config(model_type=["qwen3"]),
    "unknown-model-type": config(model_type="qwen33"),
    "path-model-type": config(model_type="../../etc"),
    "text-hidden": config(hidden_size="64"),
    "float-hidden": config(hidden_size=64.0),
    "true-hidden": config(hidden_size=True),
    "null-hidden": config(hidden_size=None),
    "zero-hidden": config(hidden_size=0),
    "negative-hidden": config(hidden_size=-64),
    "huge-hidden": config(hidden_size=HUGE),
    "other-hidden": config(hidden_size=128),
    "zero-heads": config(num_attention_heads=0),
    "negative-heads": config(num_attention_heads=-4),
    "text-heads": config(num_attention_heads="4"),
    "heads-do-not-divide": config(num_attention_heads=3, num_key_value_heads=3, head_dim=...),
    "other-heads": config(num_attention_heads=8),
    "zero-key-heads": config(num_key_value_heads=0),
    "key-heads-do-not-divide": config(num_key_value_heads=3),
    "other-head-width": config(head_dim=7),
    "zero-layers": config(num_hidden_layers=0),
    "more-layers": config(num_hidden_layers=3),
    "huge-layers": config(num_hidden_layers=HUGE),
    "dict-layers": config(num_hidden_layers={"a": 1}),
    "zero-vocabulary": config(vocab_size=0),
    "other-vocabulary": config(vocab_size=999),
    "huge-vocabulary": config(vocab_size=HUGE),
    "text-vocabulary": config(vocab_size="1000"),
    "negative-intermediate": config(intermediate_size=-1),
    "text-intermediate": config(intermediate_size="128"),
    "text-norm": config(rms_norm_eps="small"),
    "text-cache": config(use_cache="yes"),
    "list-activation": config(hidden_act=["silu"]),
    "text-ties": config(tie_word_embeddings="true"),
    "rope-list": config(rope_scaling=[1]),
    "rope-text": config(rope_scaling="linear"),
    "rope-unknown": config(rope_scaling={"rope_type": "magic", "factor": 2.0}),
    "rope-number": config(rope_scaling={"rope_type": 3}),
    "rope-no-factor": config(rope_scaling={"rope_type": "linear"}),
    "rope-zero": config(rope_scaling={"rope_type": "linear", "factor": 0}),
    "rope-negative": config(rope_scaling={"rope_type": "dynamic", "factor": -2.0}),
    "rope-text-factor": config(rope_scaling={"rope_type": "yarn", "factor": "2"}),
    "rope-nan": config(rope_scaling={"rope_type": "linear", "factor": float("nan")}),
    "rope-parameters": config(rope_parameters={"rope_type": "llama3", "factor": 8.0}),
    "theta-zero": config(rope_theta=0),
    "theta-text": config(rope_theta="1e6"),
    "unknown-dtype": config(dtype="float7"),
    "number-dtype": config(torch_dtype=16),
    "quantization-list": config(quantization_config=["gptq"]),
    "quantization-text": config(quantization_config="gptq"),
    "architectures-text": config(architectures="Qwen3ForCausalLM"),
    "code-list": config(auto_map=["a"]),
    "other-weights": config(transformers_weights="../other.safetensors"),
    "nested-text": config(text_config="none"),
}
"""config.json, by what is wrong with it."""

TOKENIZERS: Mapping[str, Mapping[str, Content]] = {
    **{f"tokenizer-{name}": {"tokenizer.json": content} for name, content in NOT_JSON.items()},
    "tokenizer-no-model": {"tokenizer.json": "{}"},
    "tokenizer-model-list": {"tokenizer.json": '{"model": []}'},
    "tokenizer-no-vocabulary": {"tokenizer.json": '{"model": {"type": "BPE"}}'},
    "tokenizer-empty": {"tokenizer.json": '{"model": {"type": "BPE", "vocab": {}, "merges": []}}'},
    "tokenizer-text-ids": {"tokenizer.json": '{"model": {"type": "BPE", "vocab": {"a": "0"}}}'},
    "tokenizer-negative": {"tokenizer.json": '{"model": {"type": "BPE", "vocab": {"a": -1}}}'},
    "tokenizer-unknown": {"tokenizer.json": '{"model": {"type": "Magic", "vocab": {"a": 0}}}'},
    "tokenizer-too-large": {"tokenizer.json": '{"model": {"type": "BPE", "vocab": {"a": 1000}}}'},
    "tokenizer-added": {"tokenizer.json": json.dumps({**TOKENIZER, "added_tokens": ["<s>"]})},
    "tokenizer-missing": {"tokenizer.json": removed},
    **{
        f"settings-{name}": {"tokenizer_config.json": content} for name, content in NOT_JSON.items()
    },
    "settings-token-number": {"tokenizer_config.json": '{"eos_token": 3}'},
    "settings-extra-tokens-number": {"tokenizer_config.json": '{"extra_special_tokens": 3}'},
    "settings-class-list": {"tokenizer_config.json": '{"tokenizer_class": ["A"]}'},
    "settings-template-number": {"tokenizer_config.json": '{"chat_template": 3}'},
    "settings-template-list": {"tokenizer_config.json": '{"chat_template": ["{{ a }}"]}'},
    "template-binary": {"chat_template.jinja": b"\xff\xfe{{ messages }}"},
    "template-fifo": {"chat_template.jinja": fifo},
    "template-gigabyte": {"chat_template.jinja": sparse(2**30)},
    "template-folder": {"chat_template.jinja": folder},
    "template-missing": {"chat_template.jinja": removed},
    "generation-null": {"generation_config.json": "null"},
    "generation-truncated": {"generation_config.json": "{"},
    "generation-text": {"generation_config.json": '{"temperature": "hot"}'},
    "generation-negative": {"generation_config.json": '{"temperature": -1}'},
    "generation-eos": {"generation_config.json": '{"eos_token_id": "</s>"}'},
    "generation-fifo": {"generation_config.json": fifo},
}
"""Tokenizer, template and generation settings, by what is wrong with them."""

INDEX = "model.safetensors.index.json"


def index(**files: object) -> str:
    """Return an index of weights."""
    return json.dumps({"weight_map": files})


WEIGHTS: Mapping[str, Mapping[str, Content]] = {
    "no-weights": {"model.safetensors": removed},
    "empty-weights": {"model.safetensors": b""},
    "seven-bytes": {"model.safetensors": b"\0" * 7},
    "zero-header": {"model.safetensors": bytes(8)},
    "huge-header": {"model.safetensors": (2**62).to_bytes(8, "little") + b"{}"},
    "long-header": {"model.safetensors": (2**24).to_bytes(8, "little") + b"{}"},
    "header-not-json": {"model.safetensors": header(b"{" * 10)},
    "header-list": {"model.safetensors": header([])},
    "header-null": {"model.safetensors": header(None)},
    "header-deep": {"model.safetensors": header(b'{"a":' * 50_000)},
    "header-binary": {"model.safetensors": header(b"\xff" * 64)},
    "header-metadata": {"model.safetensors": header({"__metadata__": {"a": 1}, **tensor()})},
    "header-twice": {
        "model.safetensors": header(
            b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
            b'"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
            4,
        )
    },
    "tensor-null": {"model.safetensors": header({"a": None})},
    "tensor-without-shape": {"model.safetensors": header({"a": {"dtype": "BF16"}})},
    "unknown-dtype": {"model.safetensors": header(tensor(dtype="NaN"))},
    "list-dtype": {"model.safetensors": header(tensor(dtype=["BF16"]))},
    "negative-shape": {"model.safetensors": header(tensor(shape=[-4, -8]))},
    "text-shape": {"model.safetensors": header(tensor(shape="4x8"))},
    "huge-shape": {"model.safetensors": header(tensor(shape=[HUGE] * 4))},
    "many-dimensions": {"model.safetensors": header(tensor(shape=[10**9] * 20_000))},
    "other-shape": {"model.safetensors": header(tensor(shape=[4, 9]))},
    "reversed-offsets": {"model.safetensors": header(tensor(data_offsets=[64, 0]))},
    "beyond-the-file": {"model.safetensors": header(tensor(data_offsets=[64, 128]), 64)},
    "negative-offsets": {"model.safetensors": header(tensor(data_offsets=[-64, 0]))},
    "overlapping": {
        "model.safetensors": header({**tensor(), "b": tensor(data_offsets=[32, 96])["a"]}, 96)
    },
    "gap": {"model.safetensors": header({**tensor(), "b": tensor(data_offsets=[96, 160])["a"]})},
    "truncated": {"model.safetensors": header(tensor(), 63)},
    "too-long": {"model.safetensors": header(tensor(), 65)},
    "weights-fifo": {"model.safetensors": fifo},
    "weights-folder": {"model.safetensors": folder},
    "weights-dead-link": {"model.safetensors": link_to("nowhere")},
    "weights-zeros": {"model.safetensors": link_to("/dev/zero")},
    "pickle-only": {"model.safetensors": removed, "pytorch_model.bin": b"cos\nsystem\n"},
    "gguf": {
        "model.safetensors": removed,
        "config.json": removed,
        "model.gguf": b"GGUF\x03\0\0\0",
    },
    "other-name": {"model.safetensors": removed, "weights.safetensors": weights()},
    "no-layers": {"model.safetensors": weights(lambda tensors: _keep(tensors, "embed"))},
    "one-layer": {"model.safetensors": weights(lambda tensors: _drop(tensors, "layers.1."))},
    "no-first-layer": {"model.safetensors": weights(lambda tensors: _drop(tensors, "layers.0."))},
    "narrow-embedding": {
        "model.safetensors": weights(
            lambda tensors: tensors.update({"model.embed_tokens.weight": (1000, 32)})
        )
    },
    "short-embedding": {
        "model.safetensors": weights(
            lambda tensors: tensors.update({"model.embed_tokens.weight": (999, 64)})
        )
    },
    **{f"index-{name}": {INDEX: content} for name, content in NOT_JSON.items()},
    "index-empty": {INDEX: "{}"},
    "index-list": {INDEX: '{"weight_map": []}'},
    "index-number": {INDEX: index(a=3)},
    "index-absent": {INDEX: index(a="model-00001-of-00002.safetensors")},
    "index-outside": {INDEX: index(a="../model.safetensors")},
    "index-absolute": {INDEX: index(a="/etc/passwd")},
    "index-nul": {INDEX: index(a="a\0b")},
    "index-long": {INDEX: index(a="a" * 5000)},
    "index-parent": {INDEX: index(a="..")},
    "index-absent-tensor": {INDEX: index(missing="model.safetensors")},
    "repeated-tensor": {
        "model.safetensors": removed,
        "one.safetensors": weights(),
        "two.safetensors": weights(),
        INDEX: index(a="one.safetensors", b="two.safetensors"),
    },
    "two-versions": {"two.safetensors": weights(), INDEX: index(a="two.safetensors")},
    "adapter-inside": {"adapter_config.json": '{"peft_type": "LORA"}'},
}
"""Weights, by what is wrong with them."""


def _drop(tensors: dict[str, Any], part: str) -> None:
    for name in [name for name in tensors if part in name]:
        del tensors[name]


def _keep(tensors: dict[str, Any], part: str) -> None:
    for name in [name for name in tensors if part not in name]:
        del tensors[name]


BROKEN: Mapping[str, Mapping[str, Content]] = {
    **{f"config-{name}": {"config.json": content} for name, content in CONFIG.items()},
    **TOKENIZERS,
    **WEIGHTS,
}
"""Every defect: the files of the model's folder to write, by the name of the defect."""

TASKS: Mapping[str, str] = {
    "merge": "task: merge\nhub: local\nmodel: m\nadapter: tuned\n",
    "extract": "task: extract\nhub: local\nmodel: m\ntuned_model: m\n",
    "quantize": "task: quantize\nhub: local\nmodel: m\nmethod: bnb\n",
    "deploy": "task: deploy\nhub: local\nmodel: m\nport: 0\n",
    "chat": "task: chat\nhub: local\nmodel: m\nprompt: hello\n",
    "evaluate": "task: evaluate\nhub: local\nmodel: m\nbenchmarks: mmlu\n",
}
"""A sound YAML of each task that loads a model."""

EVERYWHERE = (
    "config-null",
    "config-fifo",
    "config-no-model-type",
    "config-zero-heads",
    "tokenizer-truncated",
    "unknown-dtype",
    "index-outside",
    "pickle-only",
    "one-layer",
)
"""Defects that every task is tried with."""


def cases() -> Iterator[BadInput]:
    """Yield a training on each broken model, and every other task on some of them."""
    for name, files in BROKEN.items():
        yield BadInput(name, files=_in_model(files))
    for task, content in TASKS.items():
        for name in EVERYWHERE:
            files = {**_in_model(BROKEN[name]), "a.yaml": content}
            yield BadInput(f"{task}-{name}", files=files)


def _in_model(files: Mapping[str, Content]) -> dict[str, Content]:
    return {f"m/{name}": content for name, content in files.items()}
