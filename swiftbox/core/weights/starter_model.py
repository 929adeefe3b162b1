"""A child that makes the starter: `python -m swiftbox.core.weights.starter_model CORPUS MODEL`.

Trains a byte-level BPE tokenizer with ChatML on the corpus, and saves it with a random
Qwen3-architecture model of a few million parameters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from swiftbox.core.data.prepare import CHATML

END_OF_TEXT, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY = 4096
SEED = 0


def main() -> int:
    """Make the tokenizer and the model."""
    made = make(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(json.dumps(made) + "\n")
    return 0


def make(corpus: Path, folder: Path) -> dict[str, int]:
    """Make both of a corpus, and write them into a folder; return how large they are."""
    tokenizer = make_tokenizer(texts(corpus))
    model = make_model(tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    count = sum(one.numel() for one in model.parameters())
    return {"parameters": count, "vocabulary": len(tokenizer)}


def texts(corpus: Path) -> Iterator[str]:
    """Yield every text of the corpus folder."""
    for path in sorted(corpus.glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                yield row.get("text") or "\n".join(one["content"] for one in row["messages"])


def make_tokenizer(lines: Iterator[str]) -> Any:
    """Train the tokenizer; its chat template is ChatML with generation marks."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_pattern(), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, TURN, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(lines, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=END_OF_TURN, pad_token=END_OF_TEXT
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def _pattern() -> Any:
    from tokenizers import Regex

    # GPT-2's split (words with their space, numbers, punctuation), one Chinese character apart.
    return Regex(
        r"'s|'t|'re|'ve|'m|'ll|'d|[\p{Han}]| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    )


def make_model(tokenizer: Any) -> Any:
    """Return a seeded random model that ends its turns with the tokenizer's end of turn."""
    torch.manual_seed(SEED)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=48,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.05,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


if __name__ == "__main__":
    sys.exit(main())
