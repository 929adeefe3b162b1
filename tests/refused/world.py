"""The folders and files that the cases name."""

from __future__ import annotations

import json
from pathlib import Path

from gguf_writing import TINY, write_gguf
from in_process import box
from model_folder import write_adapter, write_model
from tiny import train_tokenizer, write_chats, write_labels, write_pairs

BITSANDBYTES = {"quant_method": "bitsandbytes", "load_in_4bit": True}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}


def make_world(folder: Path, tiny: Path) -> None:
    """Write models, adapters and rows of every kind that the cases need."""
    _write_rows(folder)
    (folder / "tiny").symlink_to(tiny)
    write_model(folder / "m", max_position_embeddings=1024)
    write_model(folder / "others" / "m")
    write_model(folder / "bnb", quantization_config=BITSANDBYTES)
    write_model(folder / "awq", quantization_config=AWQ)
    write_model(folder / "pictures", vision_config={"depth": 1})
    write_model(folder / "experts", num_experts=4)
    plain = write_model(folder / "plain")
    (plain / "chat_template.jinja").unlink()
    for name in ("adapter", "others/adapter"):
        write_adapter(folder / name, base_model_name_or_path=str(folder / "m"))
    write_adapter(folder / "of-an-id", base_model_name_or_path="Qwen/Qwen3-0.6B")
    write_gguf(folder / "gguf" / "model.gguf", TINY)
    _write_gpt2(folder / "gpt2")
    _write_files(folder)


def _write_files(folder: Path) -> None:
    """Write the files that commands name, and a run that is complete."""
    files = {
        "merge.yaml": "task: merge\nadapter: adapter\nhub: local\n",
        "wrong.yaml": "task: merge\nadaptor: adapter\n",
        "copy.yaml": "task: download\nmodel: m\nhub: local\nlocal_dir: copy\noutput_dir: done\n",
        "again.yaml": "task: download\nmodel: m\nhub: local\nlocal_dir: another\n",
        "length.py": "def length(completions, **_):\n    return [0.0 for _ in completions]\n",
    }
    for name, content in files.items():
        (folder / name).write_text(content, "utf-8")
    box("run", "copy.yaml", "--plain", cwd=folder)


def _write_rows(folder: Path) -> None:
    write_chats(folder / "rows.jsonl", 8)
    write_pairs(folder / "pairs.jsonl", 8)
    write_labels(folder / "labels.jsonl", 8)
    for name, labels in (("classes", "abab"), ("one-class", "aaaa")):
        rows = (json.dumps({"text": "what it says", "label": label}) for label in labels)
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")


def _write_gpt2(folder: Path) -> None:
    """Write a model with 256 learned positions, whose layers are Conv1D."""
    import transformers

    sizes = {"vocab_size": 600, "n_embd": 64, "n_layer": 1, "n_head": 4, "n_positions": 256}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).save_pretrained(folder)
    train_tokenizer().save_pretrained(folder)
