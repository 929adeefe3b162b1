"""What a mix names: its adapters or models and their base, checked as a run checks them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftbox.config.mix import MixConfig
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models.adapters import Adapter, AdapterBase, base_of
from swiftbox.models.location import find_folder, locate, locate_adapter
from swiftbox.models.merge_checks import (
    BaseWeights,
    read_base_weights,
    require_matching_layers,
)
from swiftbox.models.mix_checks import other_templates, require_mixable_models, require_sums
from swiftbox.models.mix_resources import require_adapter_mix_resources, require_mix_resources
from swiftbox.models.model_pairs import NamedWeights, read_named
from swiftbox.models.requirements import NOTE, Remark
from swiftbox.models.text_models import require_writes_text
from swiftbox.models.vocabulary_rows import require_rows_of_tokens
from swiftbox.tasks.checks import OnRemark
from swiftbox.tasks.tuned_models import recorded_base, without_base


def local_adapters(config: MixConfig) -> list[Adapter | None]:
    """Return the adapters; None for one on a hub, or made by an earlier step of a pipeline."""
    return [locate_adapter(name, hub=config.hub) for name in config.adapter or ()]


def common_base(config: MixConfig) -> AdapterBase | None:
    """Return the base that all parts on this machine recorded; None if none is known.

    Raises ConfigError for parts of different bases.
    """
    bases: dict[str, AdapterBase] = {}
    if config.adapter is not None:
        for adapter in local_adapters(config):
            if adapter is not None:
                bases[str(adapter.folder)] = base_of(adapter)
    else:
        for name in config.names:
            if (base_model := recorded_base(name, config.hub)) is not None:
                bases[name] = base_model
    places = {name: _place(base_model) for name, base_model in bases.items()}
    if len(set(places.values())) > 1:
        raise _different_bases(config, bases)
    return next(iter(bases.values()), None)


def _place(base_model: AdapterBase) -> str:
    folder = Path(base_model.name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else base_model.name.lower()


def _different_bases(config: MixConfig, bases: dict[str, AdapterBase]) -> ConfigError:
    key = "adapter" if config.adapter is not None else "tuned_model"
    listed = "; ".join(f"{name}: {base_model.name}" for name, base_model in bases.items())
    return ConfigError(
        text(
            f"{key}: the parts were trained from different bases: {listed}",
            f"{key}：各部分的训练基座不同：{listed}",
        ),
        hint=text(
            "mix parts of one base; if these are copies of it, give one as model=...",
            "请混合同一基座的部分；若只是同一模型的副本，请以 model=... 给出其一",
        ),
    )


@dataclass(frozen=True)
class Place:
    """Where a mix is written, and what hears its remarks."""

    folder: Path
    on_remark: OnRemark


def require_mixable_adapters(
    config: MixConfig, adapters: Sequence[Adapter], base_folder: Path | None, place: Place
) -> BaseWeights | None:
    """Return the headers of the base; raise UserError for adapters that cannot be mixed."""
    for adapter in adapters:
        require_writes_text(adapter.folder, "adapter")
    require_sums(adapters)
    for remark in _quantized_bases(adapters):
        place.on_remark(remark)
    with_tokenizer = {str(part.folder): part.folder for part in adapters if part.has_tokenizer}
    for remark in other_templates(with_tokenizer, "adapter"):
        place.on_remark(remark)
    if base_folder is None:
        return None
    weights = read_base_weights(base_folder)
    require_matching_layers(weights, adapters, config.model or "")
    for adapter in adapters:
        require_rows_of_tokens(base_folder, weights.shapes, [adapter])
    require_adapter_mix_resources(weights, adapters, place.folder, config)
    return weights


def _quantized_bases(adapters: Sequence[Adapter]) -> Iterator[Remark]:
    """Yield a remark on adapters that were trained on a quantized base."""
    for adapter in adapters:
        quantization = adapter.training.quantization if adapter.training else None
        if quantization is not None:
            yield Remark(
                NOTE,
                "adapter",
                text(
                    f"{adapter.folder} was trained on {quantization} weights; the mix is compared "
                    "on the full base",
                    f"{adapter.folder} 在 {quantization} 权重上训练；混合结果在完整基座上核对",
                ),
            )


def require_mixable(
    config: MixConfig, folders: Sequence[Path], base_folder: Path | None, place: Place
) -> tuple[tuple[NamedWeights, ...], NamedWeights | None]:
    """Return the headers of models and base; raise UserError for models that cannot be mixed."""
    names = zip(config.tuned_model or (), folders, strict=True)
    models = tuple(read_named("tuned_model", name, folder) for name, folder in names)
    base_model = read_named("model", config.model or "", base_folder) if base_folder else None
    for remark in require_mixable_models(models, base_model):
        place.on_remark(remark)
    require_mix_resources([model.weights for model in models], place.folder, config)
    return models, base_model


def require_base(config: MixConfig) -> None:
    """Raise ConfigError if changes from a base are mixed, and the base is not known."""
    is_known = config.model is not None or not config.needs_base
    if not is_known and all(find_folder(name) is not None for name in config.names):
        error = without_base(config.names[0])
        if config.adapter is None and config.method == "linear":
            raise ConfigError(
                error.message,
                hint=text(
                    "give their base: model=..., or weights that add up to 1, which need none",
                    "请给出其基座：model=...，或使用和为 1 的权重（无需基座）",
                ),
            )
        raise error


def absolute_base(config: MixConfig) -> dict[str, str | None]:
    """Return the settings of the base: its folder, absolute, or its id, hub and revision."""
    if not config.needs_base and config.model is None:
        return {}
    changes: dict[str, str | None] = {}
    model, hub = config.model, str(config.hub)
    if model is None and (recorded := common_base(config)) is not None:
        model, hub = recorded.name, recorded.hub or hub
        changes |= {"hub": hub, "revision": config.revision or recorded.revision}
    if model is not None:
        changes["model"] = str(locate(model, key="model", hub=hub) or model)
    return changes
