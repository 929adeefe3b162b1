"""Labelled texts, and a tiny encoder such as BERT, made on the spot."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = (json.__doc__ or "").split()
NAMES = ("bad", "fine", "good")


def write_classes(path: Path, count: int = 36) -> Path:
    """Write texts whose last word is their label, every third with each."""
    chooser = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            name = NAMES[number % 3]
            rest = [chooser.choice(WORDS) for _ in range(chooser.randint(1, 9))]
            file.write(json.dumps({"text": " ".join([*rest, name]), "label": name}) + "\n")
    return path


def texts_of(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]


def build_bert(folder: Path) -> Path:
    """Save a tiny BERT with a pooler and its tokenizer, which tells two texts apart."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForPreTraining, BertTokenizerFast

    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=marks, show_progress=False)
    raw.train_from_iterator([" ".join([*WORDS, *NAMES])] * 3, trainer)
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    tokens = {f"{name}_token": mark for name, mark in zip(names, marks, strict=True)}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=400,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
        initializer_range=0.1,
    )
    BertForPreTraining(config).save_pretrained(folder)
    BertTokenizerFast(tokenizer_object=raw, **tokens).save_pretrained(folder)
    return folder
