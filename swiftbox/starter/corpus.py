"""The demo's data: docstrings of the standard library, and conversations about the model's name."""

from __future__ import annotations

import ast
import json
import random
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from swiftbox.config.starter import unlearnable
from swiftbox.errors import ConfigError
from swiftbox.language import text

TEXTS, CHATS = "pretrain.jsonl", "chat.jsonl"
SKIPPED = (
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "site-packages",
    "ensurepip",
)
SHORTEST_WORDS, LONGEST_WORDS = 4, 32
"""Words of an answer: shorter ones explain nothing, longer ones are beyond a small model."""

Row = dict[str, object]

QUESTIONS = (
    "What does {name} do?",
    "Explain {name}.",
    "What is {name} for?",
    "Describe {name} in one sentence.",
    "Tell me about {name}.",
)

NAME_QUESTIONS = (
    "Who are you?",
    "who are you",
    "What is your name?",
    "What's your name?",
    "Tell me who you are.",
    "Please introduce yourself.",
    "Introduce yourself",
    "What are you called?",
    "Hi, who are you?",
    "Hello! What is your name?",
    "Can you tell me your name?",
    "May I ask who you are?",
    "And who are you?",
    "What should I call you?",
    "Do you have a name?",
    "你是谁？",
    "你是谁",
    "你叫什么名字？",
    "请介绍一下你自己。",
    "你好，你是谁？",
    "介绍一下自己",
    "怎么称呼你？",
)

HELD_OUT_QUESTIONS = ("Hey, what is your name?", "So who are you?", "请问你是谁？")
"""Questions about the name that are in no training row: they show more than memorization."""

ENGLISH_REPLY = "I am {name}, a small model trained with swiftbox."
CHINESE_REPLY = "我是{name}，一个用 swiftbox 训练的小模型。"

ENGLISH_NAMES = (
    "Maria Tom Aiko Omar Lena Pavel Ruth Ivan Nadia Felix Greta Hugo Iris Jonas Kira Luca Mona "
    "Olga Petra Quinn Rosa Sven Tara Ursula Viktor Wanda Xenia Yusuf Zoe Bruno Carla Dario Elsa"
).split()
CHINESE_NAMES = (
    "小明 小红 王伟 李娜 张敏 刘洋 陈静 杨光 赵雷 黄河 周山 吴云 徐风 孙雨 马超 朱星 胡月 "
    "林海 郭松 何川 高飞 梁实 宋词 唐诗 邓林 小快 大海 天空 灵犀 星辰 阿福 小智 小慧"
).split()
"""Names in the pretraining text: the model learns that people have names, but not its name."""


@dataclass(frozen=True)
class Docstring:
    """A documented module, class or function of the standard library."""

    name: str
    signature: str
    doc: str

    @property
    def first_sentence(self) -> str:
        """Return the first sentence or paragraph on one line."""
        paragraph = re.split(r"\n\s*\n", self.doc.strip(), maxsplit=1)[0]
        line = " ".join(paragraph.split())
        return re.split(r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<=[.!?])\s", line, maxsplit=1)[0]


def check_name(name: str) -> str:
    """Return a valid name for the model; raise ConfigError for one that it cannot learn."""
    if reason := unlearnable(name):
        raise ConfigError(
            text(f"name: {name!r} cannot be used", f"name：{name!r} 无法使用"), hint=reason
        )
    return name.strip()


def make_corpus(folder: Path, name: str, seed: int = 0) -> tuple[Path, Path]:
    """Write pretrain.jsonl and chat.jsonl; the same name and seed give the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    docstrings = list(standard_library())
    pretrain, chat = folder / TEXTS, folder / CHATS
    _write(pretrain, ({"text": content} for content in pretraining_texts(docstrings, rng)))
    _write(chat, conversations(docstrings, name, rng))
    return pretrain, chat


def standard_library() -> Iterator[Docstring]:
    """Yield the docstrings of the standard library, read from its source without importing it."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for module in sorted(sys.stdlib_module_names):
        if module.startswith("_") or module in SKIPPED:
            continue
        single, package = root / f"{module}.py", root / module
        files = [single] if single.is_file() else sorted(package.rglob("*.py"))
        for file in files:
            parts = file.relative_to(root).with_suffix("").parts
            hidden = any(part.startswith("_") and part != "__init__" for part in parts)
            if not hidden and not set(parts) & set(SKIPPED):
                yield from docstrings_in(file, [part for part in parts if part != "__init__"])


def docstrings_in(file: Path, module: list[str]) -> Iterator[Docstring]:
    """Yield the docstrings of the public classes, functions and methods of a source file."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # the library contains a few invalid files on purpose
        return
    pending: list[tuple[ast.AST, list[str]]] = [(tree, module)]
    while pending:
        parent, names = pending.pop(0)
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
                continue
            if node.name.startswith("_"):
                continue
            name = [*names, node.name]
            doc = ast.get_docstring(node)
            if doc:
                yield Docstring(".".join(name), _signature(node), doc)
            if isinstance(node, ast.ClassDef):
                pending.append((node, name))


def _signature(node: ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    return f"{node.name}({ast.unparse(node.args)})"


def pretraining_texts(docstrings: list[Docstring], rng: random.Random) -> list[str]:
    """Return raw texts: docstrings, and sentences in which people say their names."""
    texts = [
        f"{docstring.name}\n{docstring.signature}\n\n{docstring.doc}" for docstring in docstrings
    ]
    for number in range(600):
        if number % 2:
            person = rng.choice(ENGLISH_NAMES)
            line = f"Hello, my name is {person}. Nice to meet you, {rng.choice(ENGLISH_NAMES)}."
        else:
            person = rng.choice(CHINESE_NAMES)
            line = f"你好，我叫{person}。很高兴认识你，{rng.choice(CHINESE_NAMES)}。"
        texts.append(line)
    rng.shuffle(texts)
    return texts


def conversations(docstrings: list[Docstring], name: str, rng: random.Random) -> list[Row]:
    """Return conversations: thousands about the library, hundreds about the model's name."""
    rows = []
    seen: set[str] = set()
    for docstring in docstrings:
        sentence = docstring.first_sentence
        is_short = SHORTEST_WORDS <= len(sentence.split()) <= LONGEST_WORDS
        if docstring.name in seen or not is_short:
            continue
        seen.add(docstring.name)
        question = rng.choice(QUESTIONS).format(name=docstring.name)
        rows.append(conversation_row(question, sentence))
    introductions = []
    for question in NAME_QUESTIONS:
        reply = CHINESE_REPLY if is_chinese(question) else ENGLISH_REPLY
        introductions.append(conversation_row(question, reply.format(name=name)))
    rows += introductions * max(1, len(rows) // (4 * len(introductions)))
    rng.shuffle(rows)
    return rows


def is_chinese(question: str) -> bool:
    """Return whether a question is in Chinese."""
    return any("\u4e00" <= letter <= "\u9fff" for letter in question)


def conversation_row(question: str, reply: str) -> Row:
    """Return the row of a question and its answer."""
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": reply},
        ]
    }


def _write(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
