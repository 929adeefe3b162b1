"""The model that a server computes with: a base, and adapters that can be added and removed."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import GenerationConfig

from swiftbox.core.generation.kv_cache import layers_of
from swiftbox.core.generation.parity import end_tokens
from swiftbox.core.weights.adapters import adapter_shapes, make_room, require_all_loaded
from swiftbox.core.weights.load import load_pretrained, read_tokenizer
from swiftbox.errors import ConfigError, RunError
from swiftbox.language import text
from swiftbox.runs.diagnosis import first_line
from swiftbox.templates.closing import end_ids
from swiftbox.templates.variables import served_variables, trained_variables

NEVER = -torch.inf
"""The logit of a token without probability."""

BASE = ""
"""The adapter name of requests to the base."""


@dataclass(frozen=True)
class LoadSettings:
    """How a base is loaded."""

    folder: Path
    dtype: str
    device: str
    trust_remote_code: bool = False


class Network:
    """A base with its adapters; `use` selects one for the forward passes that follow."""

    def __init__(self, settings: LoadSettings) -> None:
        self.settings = settings
        tokenizer = self._load_tokenizer(settings.folder)
        model = load_pretrained(
            settings.folder,
            dtype=getattr(torch, settings.dtype),
            device_map=settings.device,
            trust_remote_code=settings.trust_remote_code,
        )
        self.model: Any = model.eval()
        self.layers = layers_of(model)
        self.vocabulary = model.get_input_embeddings().weight.shape[0]
        self.generation: GenerationConfig = model.generation_config
        self.tokenizers: dict[str, Any] = {BASE: tokenizer}
        self.variables: dict[str, dict[str, Any]] = {BASE: trained_variables(settings.folder)}
        """The template variables that each model was trained with."""
        self._ends: dict[str, tuple[int, ...]] = {BASE: ()}
        self._peft_names: dict[str, str] = {}
        self._added = 0
        self._active = BASE

    @property
    def adapters(self) -> list[str]:
        """Return the names of the loaded adapters."""
        return list(self._peft_names)

    def use(self, adapter: str) -> Any:
        """Return the model with that adapter, or the base."""
        if adapter != self._active:
            if adapter == BASE:
                self.model.base_model.disable_adapter_layers()
            else:
                self.model.base_model.enable_adapter_layers()
                self.model.set_adapter(self._peft_names[adapter])
            self._active = adapter
        return self.model

    def add(self, name: str, folder: Path) -> None:
        """Load an adapter; raise ConfigError if it does not fit the base.

        If it has a tokenizer, that one with its chat template is used: it was trained with it.
        """
        tokenizer = self._adapter_tokenizer(folder)
        self._make_room(tokenizer, folder)
        peft_name = f"adapter{self._added}"  # a user's name may contain dots, a module's may not
        self._added += 1
        try:
            config = PeftConfig.from_pretrained(str(folder))
            if config.is_prompt_learning:
                raise _misfit(folder, str(config.peft_type))
            self._load_adapter(folder, peft_name)
        except (ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
            self._unload_adapter(peft_name)
            raise _misfit(folder, first_line(error)) from error
        except RunError as error:
            self._unload_adapter(peft_name)
            raise ConfigError(error.message, hint=error.hint) from error
        self._peft_names[name] = peft_name
        self.tokenizers[name] = tokenizer
        self.variables[name] = served_variables(folder, self.settings.folder, {})
        self._ends[name] = end_ids(folder)
        self._active = name
        self.use(BASE)

    def _make_room(self, tokenizer: Any, folder: Path) -> None:
        """Give the base rows for the new tokens of an adapter, which has their values.

        The base answers as before: its head gives them no probability.
        """
        model = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        rows, self.vocabulary = self.vocabulary, make_room(model, folder)
        if rows < self.vocabulary:
            model.get_output_embeddings().register_forward_hook(partial(_without_new_rows, rows))
        # Some published tokenizers exceed their embeddings, with tokens that nobody uses.
        if len(tokenizer) > max(self.vocabulary, len(self.tokenizers[BASE])):
            raise _misfit(folder, f"{len(tokenizer)} > {self.vocabulary} tokens")

    def _load_adapter(self, folder: Path, peft_name: str) -> None:
        dtype = self.model.dtype
        loading: dict[str, Any] = {"adapter_name": peft_name, "autocast_adapter_dtype": False}
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("always")
            if isinstance(self.model, PeftModel):
                self.model.load_adapter(str(folder), is_trainable=False, **loading)
            else:
                self.model = PeftModel.from_pretrained(self.model, str(folder), **loading)
        messages = [str(warning.message) for warning in log]
        shapes = adapter_shapes(folder)
        require_all_loaded(self.model, folder, shapes, messages, adapter=peft_name)
        _cast_adapter(self.model, peft_name, dtype)
        self.model.eval()

    def _unload_adapter(self, peft_name: str) -> None:
        if isinstance(self.model, PeftModel) and peft_name in self.model.peft_config:
            names = list(self.model.peft_config)
            if len(names) == 1:
                self.model = self.model.unload()
            else:  # never the active one: peft would choose another with a warning
                self.model.set_adapter(next(name for name in names if name != peft_name))
                self.model.delete_adapter(peft_name)

    def remove(self, name: str) -> None:
        """Unload an adapter; raise KeyError for a name that is not loaded."""
        peft_name = self._peft_names.pop(name)
        del self.tokenizers[name], self.variables[name], self._ends[name]
        self.use(BASE)
        self._unload_adapter(peft_name)

    def _adapter_tokenizer(self, folder: Path) -> Any:
        if not (folder / "tokenizer_config.json").is_file():
            return copy.copy(self.tokenizers[BASE])
        return self._load_tokenizer(folder)

    def _load_tokenizer(self, folder: Path) -> Any:
        return read_tokenizer(folder, trust_remote_code=self.settings.trust_remote_code)

    def ends(self, adapter: str) -> frozenset[int]:
        """Return the tokens that end an answer: the base's, and those that a training added."""
        return end_tokens(self.generation, self.tokenizers[adapter]) | {*self._ends[adapter]}


def _without_new_rows(rows: int, _head: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
    """Give no probability to rows that were added for an adapter's tokens.  # (..., V)

    peft computes the head of an adapter that has these rows without calling it.
    """
    return logits.index_fill(-1, torch.arange(rows, logits.shape[-1], device=logits.device), NEVER)


def _cast_adapter(model: Any, peft_name: str, dtype: torch.dtype) -> None:
    """Give an adapter the number type of the model, which a merge would round it to as well.

    In float32, each of its layers would convert its input and its output in every step.
    """
    for name, parameter in model.named_parameters():
        if peft_name in name.split(".") and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def _misfit(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        text(
            f"adapter: {folder} does not fit the base: {reason}",
            f"adapter：{folder} 与基座不匹配：{reason}",
        ),
        hint=text("use the base that it was trained on", "请使用其训练时的基座"),
    )
