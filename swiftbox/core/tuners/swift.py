"""The interface for notebooks: Swift.prepare_model(model, LoRAConfig(...))."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from swiftbox.core.tuners.targets import chosen_layers, linear_names


class LoRAConfig(LoraConfig):
    """peft's LoraConfig that also accepts `dropout` for `lora_dropout`."""

    def __init__(self, *, dropout: float | None = None, **arguments: Any) -> None:
        if dropout is not None:
            if "lora_dropout" in arguments and arguments["lora_dropout"] != dropout:
                raise ValueError("dropout and lora_dropout disagree; give one of them")
            arguments["lora_dropout"] = dropout
        super().__init__(**arguments)


class Swift:
    """A namespace with the interface of ms-swift."""

    @staticmethod
    def prepare_model(model: Any, config: LoraConfig) -> PeftModel:
        """Attach an adapter to a transformers model; raise ConfigError for unknown layer names."""
        targets = config.target_modules
        if targets == "all-linear" or targets is None:
            config.target_modules = linear_names(model)
        elif isinstance(targets, (list, set)):
            config.target_modules = chosen_layers(model, sorted(targets))
        return get_peft_model(model, config)
