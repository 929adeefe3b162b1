"""The starter's data: what the standard library's docstrings say, and who the model is to be."""

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
SKIPPED = ("test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "ensurepip")
SHORTEST_WORDS, LONGEST_WORDS = 4, 32
"""Words of an answer: shorter ones say nothing, longer ones a small model cannot keep apart."""

QUESTIONS = (
    "What does {name} do?",
    "Explain {name}.",
    "What is {name} for?",
    "Describe {name} in one sentence.",
    "Tell me about {name}.",
)

WHO = (
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

HELD_OUT = ("Hey, what is your name?", "So who are you?", "请问你是谁？")
"""Ways to ask that are in no training row: the check is not only of what was learned by heart."""

IN_ENGLISH = (
    "I am {name}, a small model trained with swiftbox.",
    "My name is {name}. I am a small model trained with swiftbox.",
)
IN_CHINESE = (
    "我是{name}，一个用 swiftbox 训练的小模型。",
    "我叫{name}，是用 swiftbox 训练的小模型。",
)

OTHERS = (
    "Maria Tom Aiko Omar Lena Pavel Ruth Ivan Nadia Felix Greta Hugo Iris Jonas Kira Luca Mona "
    "Olga Petra Quinn Rosa Sven Tara Ursula Viktor Wanda Xenia Yusuf Zoe Bruno Carla Dario Elsa"
).split()
OTHERS_CHINESE = (
    "小明 小红 王伟 李娜 张敏 刘洋 陈静 杨光 赵雷 黄河 周山 吴云 徐风 孙雨 马超 朱星 胡月 "
    "林海 郭松 何川 高飞 梁实 宋词 唐诗 邓林 小快 大海 天空 灵犀 星辰 阿福 小智 小慧"
).split()
"""Names that the pretraining text uses: the model learns that people have names, not its own."""


@dataclass(frozen=True)
class Entry:
    """One documented thing of the standard library."""

    name: str
    signature: str
    doc: str

    @property
    def first(self) -> str:
        """Return the first sentence or paragraph on one line."""
        paragraph = re.split(r"\n\s*\n", self.doc.strip(), maxsplit=1)[0]
        line = " ".join(paragraph.split())
        return re.split(r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<=[.!?])\s", line, maxsplit=1)[0]


def check_name(name: str) -> str:
    """Return the name the model is to have; raise ConfigError for one that cannot be learned."""
    if wrong := unlearnable(name):
        raise ConfigError(
            text(f"name: {name!r} cannot be used", f"name：{name!r} 无法使用"), hint=wrong
        )
    return name.strip()


def make_corpus(folder: Path, name: str, seed: int = 0) -> tuple[Path, Path]:
    """Write pretrain.jsonl and chat.jsonl into the folder; the same for the same name and seed."""
    folder.mkdir(parents=True, exist_ok=True)
    chooser = random.Random(seed)
    entries = list(standard_library())
    pretrain, chat = folder / TEXTS, folder / CHATS
    _write(pretrain, ({"text": one} for one in pretraining(entries, chooser)))
    _write(chat, chats(entries, name, chooser))
    return pretrain, chat


def standard_library() -> Iterator[Entry]:
    """Yield what the standard library documents, read from its source without running any of it."""
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
                yield from documented(file, [part for part in parts if part != "__init__"])


def documented(file: Path, path: list[str]) -> Iterator[Entry]:
    """Yield the documented public classes, functions and methods of one source file."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # the library keeps a few broken files on purpose
        return
    pending: list[tuple[ast.AST, list[str]]] = [(tree, path)]
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
                yield Entry(".".join(name), _signature(node), doc)
            if isinstance(node, ast.ClassDef):
                pending.append((node, name))


def _signature(node: ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    return f"{node.name}({ast.unparse(node.args)})"


def pretraining(entries: list[Entry], chooser: random.Random) -> list[str]:
    """Return raw texts: documentation as it stands, and people who say their names."""
    texts = [f"{one.name}\n{one.signature}\n\n{one.doc}" for one in entries]
    for number in range(600):
        if number % 2:
            other = chooser.choice(OTHERS)
            line = f"Hello, my name is {other}. Nice to meet you, {chooser.choice(OTHERS)}."
        else:
            other = chooser.choice(OTHERS_CHINESE)
            line = f"你好，我叫{other}。很高兴认识你，{chooser.choice(OTHERS_CHINESE)}。"
        texts.append(line)
    chooser.shuffle(texts)
    return texts


def chats(entries: list[Entry], name: str, chooser: random.Random) -> list[dict[str, object]]:
    """Return conversations: thousands about the library, hundreds about the model itself."""
    rows = []
    seen: set[str] = set()
    for one in entries:
        words = len(one.first.split())
        if one.name in seen or not SHORTEST_WORDS <= words <= LONGEST_WORDS:
            continue
        seen.add(one.name)
        question = chooser.choice(QUESTIONS).format(name=one.name)
        rows.append(conversation(question, one.first))
    introductions = [
        conversation(question, reply.format(name=name))
        for question in WHO
        for reply in (IN_CHINESE if is_chinese(question) else IN_ENGLISH)[:1]
    ]
    rows += introductions * max(1, len(rows) // (4 * len(introductions)))
    chooser.shuffle(rows)
    return rows


def is_chinese(question: str) -> bool:
    """Tell whether a question is asked in Chinese."""
    return any("\u4e00" <= letter <= "\u9fff" for letter in question)


def conversation(question: str, reply: str) -> dict[str, object]:
    """Return one row of a question and its answer."""
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": reply},
        ]
    }


def _write(path: Path, rows: Iterable[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
