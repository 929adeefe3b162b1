"""Create the starter model in a child process.

Usage: `python -m swiftbox.core.weights.starter_model CORPUS MODEL`.

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
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from swiftbox.templates.chatml import CHATML

END_OF_TEXT, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY = 4096
SEED = 0


def main() -> int:
    """Create the tokenizer and the model."""
    sizes = create_model(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(json.dumps(sizes) + "\n")
    return 0


def create_model(corpus: Path, folder: Path) -> dict[str, int]:
    """Train the tokenizer on a corpus, create the model, and write both; return their sizes."""
    tokenizer = train_tokenizer(read_texts(corpus))
    model = random_model(tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": count, "vocabulary": len(tokenizer)}


def read_texts(corpus: Path) -> Iterator[str]:
    """Yield every text of the corpus folder."""
    for path in sorted(corpus.glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                messages = row.get("messages", [])
                yield row.get("text") or "\n".join(message["content"] for message in messages)


def train_tokenizer(lines: Iterator[str]) -> Any:
    """Train a byte-level BPE tokenizer; its template is ChatML with generation marks."""
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
    # GPT-2's split: words with their space, digits, punctuation; each Chinese character alone.
    return Regex(
        r"'s|'t|'re|'ve|'m|'ll|'d|[\p{Han}]| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    )


def random_model(tokenizer: Any) -> Any:
    """Return a seeded random model that ends its turns with the tokenizer's end-of-turn token."""
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
