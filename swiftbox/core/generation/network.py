"""The model that answers: a base, and adapters on it that can come and go."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import AutoTokenizer, GenerationConfig

from swiftbox.core.generation.window import layers_of
from swiftbox.core.weights.load import load_pretrained
from swiftbox.errors import ConfigError
from swiftbox.language import text

BASE = ""
"""The adapter's name of those who want none."""


@dataclass(frozen=True)
class Loading:
    """How a base is loaded."""

    folder: Path
    dtype: str
    device: str
    trust_remote_code: bool = False


class Network:
    """One base with its adapters; `use` picks one for the forward passes that follow."""

    def __init__(self, loading: Loading) -> None:
        self.loading = loading
        tokenizer = self._load_tokenizer(loading.folder)
        model = load_pretrained(
            loading.folder,
            dtype=getattr(torch, loading.dtype),
            device_map=loading.device,
            trust_remote_code=loading.trust_remote_code,
        )
        self.model: Any = model.eval()
        self.layers = layers_of(model)
        self.vocabulary = model.get_input_embeddings().weight.shape[0]
        self.generation: GenerationConfig = model.generation_config
        self.tokenizers: dict[str, Any] = {BASE: tokenizer}
        self._inside: dict[str, str] = {}
        self._made = 0
        self._using = BASE

    @property
    def adapters(self) -> list[str]:
        """Return the names of the adapters that are loaded."""
        return list(self._inside)

    def use(self, adapter: str) -> Any:
        """Return the model with that adapter, or with none."""
        if adapter != self._using:
            if adapter == BASE:
                self.model.base_model.disable_adapter_layers()
            else:
                self.model.base_model.enable_adapter_layers()
                self.model.set_adapter(self._inside[adapter])
            self._using = adapter
        return self.model

    def add(self, name: str, folder: Path) -> None:
        """Load an adapter under a name; raise ConfigError for one that does not fit.

        Its own tokenizer and chat template are used where it has them: it was trained with those.
        """
        tokenizer = self._tokenizer(folder)
        if len(tokenizer) > self.vocabulary:
            raise _misfit(folder, f"{len(tokenizer)} > {self.vocabulary} tokens")
        inside = f"adapter{self._made}"  # a name of the user's may have dots, a module's may not
        self._made += 1
        try:
            said = PeftConfig.from_pretrained(str(folder))
            if said.is_prompt_learning:
                raise _misfit(folder, str(said.peft_type))
            self._load(folder, inside)
        except (ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
            self._forget(inside)
            raise _misfit(folder, str(error).splitlines()[0]) from error
        self._inside[name] = inside
        self.tokenizers[name] = tokenizer
        self._using = name
        self.use(BASE)

    def _load(self, folder: Path, inside: str) -> None:
        if isinstance(self.model, PeftModel):
            self.model.load_adapter(str(folder), adapter_name=inside, is_trainable=False)
        else:
            self.model = PeftModel.from_pretrained(self.model, str(folder), adapter_name=inside)
        self.model.eval()

    def _forget(self, inside: str) -> None:
        if isinstance(self.model, PeftModel) and inside in self.model.peft_config:
            if len(self.model.peft_config) == 1:
                self.model = self.model.unload()
            else:  # never the active one: peft would choose another with a warning
                self.model.set_adapter(next(o for o in self.model.peft_config if o != inside))
                self.model.delete_adapter(inside)

    def remove(self, name: str) -> None:
        """Forget an adapter; raise KeyError for a name that is not loaded."""
        inside = self._inside.pop(name)
        del self.tokenizers[name]
        self.use(BASE)
        self._forget(inside)

    def _tokenizer(self, folder: Path) -> Any:
        if not (folder / "tokenizer_config.json").is_file():
            return copy.copy(self.tokenizers[BASE])
        return self._load_tokenizer(folder)

    def _load_tokenizer(self, folder: Path) -> Any:
        return AutoTokenizer.from_pretrained(
            str(folder),
            trust_remote_code=self.loading.trust_remote_code,
            local_files_only=True,
        )

    def ends(self, adapter: str) -> frozenset[int]:
        """Return the tokens that end an answer: the generation config's and the tokenizer's."""
        said = self.generation.eos_token_id
        found = set(said if isinstance(said, list) else [said])
        found.add(self.tokenizers[adapter].eos_token_id)
        return frozenset(one for one in found if one is not None)


def _misfit(folder: Path, why: str) -> ConfigError:
    return ConfigError(
        text(f"adapter: {folder} does not fit: {why}", f"adapter：{folder} 不匹配：{why}"),
        hint=text("was it trained on this base?", "它是在此基座上训练的吗？"),
    )
