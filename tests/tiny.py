"""Tiny random models and chat files, made on the spot: real classes, small sizes."""

from __future__ import annotations

import json
import random
import textwrap
from pathlib import Path

ARCHITECTURES = ("qwen2", "qwen3", "llama")

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML without generation marks, as most published models have it."""

SIZES = {
    "vocab_size": 600,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.2,
}


def build(name: str, folder: Path, seed: int = 0) -> Path:
    """Save a model and its tokenizer; return the folder."""
    import torch
    import transformers

    classes = {
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    }
    config_class, model_class = classes[name]
    extra = {"head_dim": 16} if name == "qwen3" else {}
    torch.manual_seed(seed)
    tokenizer = train_tokenizer()
    config = config_class(
        **SIZES, **extra, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_multimodal(folder: Path, seed: int = 0, **keys: object) -> Path:
    """Save a Qwen3.5-shaped model: a hybrid decoder with a tower for pictures, and its tokenizer.

    Keys are those of the decoder's config.
    """
    import torch
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    torch.manual_seed(seed)
    tokenizer = train_tokenizer()
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    linear |= {"linear_key_head_dim": 16, "linear_value_head_dim": 16}
    kinds = {"layer_types": ["linear_attention", "full_attention"]}
    decoder = {**SIZES, "head_dim": 16, **kinds, **linear, **ends, **keys}
    tower = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2}
    tower |= {"out_hidden_size": 64, "patch_size": 8, "num_position_embeddings": 16}
    config = Qwen3_5Config(text_config=decoder, vision_config=tower, **ends)
    Qwen3_5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train_tokenizer():
    """Train a byte-level BPE tokenizer on the text of a standard module's documentation."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=SIZES["vocab_size"],
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(
        [textwrap.__doc__ or "", json.__doc__ or "", random.__doc__ or ""], trainer
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def write_chats(path: Path, count: int, seed: int = 0) -> Path:
    """Write conversations of uneven length from the words of the json module's documentation."""
    chooser = random.Random(seed)
    vocabulary = (json.__doc__ or "").split()
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            start = chooser.randrange(len(vocabulary) - 60)
            question = " ".join(vocabulary[start : start + chooser.randint(2, 8)])
            answer = " ".join(vocabulary[start : start + chooser.randint(1, 40)])
            row = {
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ]
            }
            file.write(json.dumps(row) + "\n")
    return path


def write_config(path: Path, model: Path, dataset: Path, **keys: object) -> Path:
    """Write a small, fast training YAML."""
    import yaml

    values = {
        "task": "train",
        "stage": "sft",
        "model": str(model),
        "hub": "local",
        "dataset": str(dataset),
        "tuner_type": "lora",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1.0e-3,
        "max_length": 128,
        "max_steps": 4,
        "dtype": "float32",
        "report_to": "none",
        **keys,
    }
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def write_texts(path: Path, count: int, seed: int = 0) -> Path:
    """Write documents of raw text, one to a paragraph."""
    chooser = random.Random(seed)
    vocabulary = (json.__doc__ or "").split()
    texts = (" ".join(chooser.choice(vocabulary) for _ in range(40)) for _ in range(count))
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


def write_pairs(path: Path, count: int, seed: int = 0) -> Path:
    """Write preferences: the better answer says yes, the worse says no."""
    chooser = random.Random(seed)
    vocabulary = (json.__doc__ or "").split()

    def some(least: int, most: int) -> str:
        return " ".join(chooser.choice(vocabulary) for _ in range(chooser.randint(least, most)))

    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            row = {
                "prompt": some(3, 20),
                "chosen": f"yes {some(1, 9)}",
                "rejected": f"no {some(1, 9)}",
            }
            file.write(json.dumps(row) + "\n")
    return path


def write_labels(path: Path, count: int, seed: int = 0) -> Path:
    """Write judged answers: those that say yes are good."""
    pairs = write_pairs(path.with_suffix(".pairs"), count, seed).read_text("utf-8").splitlines()
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(map(json.loads, pairs)):
            good = number % 2 == 0
            answer = row["chosen"] if good else row["rejected"]
            file.write(
                json.dumps({"prompt": row["prompt"], "completion": answer, "label": good}) + "\n"
            )
    return path
