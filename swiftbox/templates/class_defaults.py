"""Special tokens that a tokenizer class of transformers has where the files do not say.

The classes are read as text: importing transformers takes a second, and few models need this.
"""

from __future__ import annotations

import ast
from functools import cache

from swiftbox.architectures.tables import library_folder

GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend", "PreTrainedTokenizer", "PythonBackend")
"""Classes without special tokens."""


@cache
def default_tokens(class_name: str) -> dict[str, str]:
    """Return the special tokens that a class sets by itself; none for a class that is unknown."""
    class_name = class_name.removesuffix("Fast")
    folder = library_folder()
    if class_name in GENERIC or f"{class_name}Fast" in GENERIC or folder is None:
        return {}
    header = f"class {class_name}(".encode()
    for path in sorted(folder.glob("models/*/tokenization_*.py")):
        source = path.read_bytes()
        if header in source:
            return _defaults(source, class_name)
    return {}


def _defaults(source: bytes, class_name: str) -> dict[str, str]:
    """Return the default values of the parameters of a class's constructor that are tokens."""
    tokens = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    names = method.args.args[-len(method.args.defaults) or len(method.args.args) :]
                    for name, default in zip(names, method.args.defaults, strict=False):
                        value = default.value if isinstance(default, ast.Constant) else None
                        if name.arg.endswith("_token") and isinstance(value, str):
                            tokens[name.arg] = value
    return tokens
