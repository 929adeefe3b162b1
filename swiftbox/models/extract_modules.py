"""Whether a model has the modules that an extraction names, and a place for its new rows."""

from __future__ import annotations

from swiftbox.config.extract import ExtractConfig
from swiftbox.config.groups import as_list
from swiftbox.errors import ConfigError
from swiftbox.formatting import did_you_mean, near
from swiftbox.language import text
from swiftbox.models.model_pairs import NamedWeights, is_table, resized_tables, vocabulary_rows

FUSED = "expert"
"""A part of the names of experts, which files may store one by one."""


def require_modules(config: ExtractConfig, tuned: NamedWeights) -> None:
    """Raise ConfigError for named modules without a tensor, and for targets without a matrix."""
    _require_targets(config, tuned)
    names = [f".{name}" for name in tuned.weights.shapes]
    for module in config.modules_to_save:
        is_head = module == "lm_head"  # a tied head is not in the files
        if not is_head and not any(f".{module}." in name for name in names):
            raise ConfigError(
                text(
                    f"modules_to_save: {tuned.folder} has no module {module}",
                    f"modules_to_save：{tuned.folder} 中没有模块 {module}",
                ),
                hint=text(
                    "name the last parts of modules, such as embed_tokens, lm_head, norm",
                    "请写模块名的末尾部分，例如 embed_tokens、lm_head、norm",
                ),
            )


def require_places_of_rows(
    config: ExtractConfig, base_model: NamedWeights, tuned: NamedWeights
) -> None:
    """Raise ConfigError for a vocabulary that the adapter would not hold."""
    rows = [vocabulary_rows(model.weights) or 0 for model in (base_model, tuned)]
    tables = [name.split(".")[-2] for name in resized_tables(base_model, tuned)]
    if rows[1] < rows[0]:
        raise ConfigError(
            text(
                f"tuned_model: its embeddings have {rows[1]:,} rows, fewer than the {rows[0]:,} of "
                "the base",
                f"tuned_model：其词嵌入有 {rows[1]:,} 行，少于基座的 {rows[0]:,} 行",
            ),
            hint=text("use the tuned model itself", "请直接使用微调后的模型"),
        )
    lost = [name for name in dict.fromkeys(tables) if name not in config.modules_to_save]
    if lost and config.other_changes != "save":
        listed = ", ".join(dict.fromkeys([*config.modules_to_save, *tables]))
        raise ConfigError(
            text(
                f"tuned_model: its {', '.join(lost)} has {rows[1]:,} rows, that of the base "
                f"{rows[0]:,}",
                f"tuned_model：其 {', '.join(lost)} 有 {rows[1]:,} 行，而基座为 {rows[0]:,} 行",
            ),
            hint=text(f"set modules_to_save: [{listed}]", f"设 modules_to_save: [{listed}]"),
        )


def _require_targets(config: ExtractConfig, tuned: NamedWeights) -> None:
    if config.target_modules == "all-linear":
        return
    shapes = tuned.weights.shapes
    for target in as_list(config.target_modules):
        named = [name for name in shapes if f".{target}." in f".{name}."]
        if not named and FUSED not in target:
            ends = sorted({name.split(".")[-2] for name in shapes if name.count(".")})
            raise ConfigError(
                text(
                    f"target_modules: {tuned.folder} has no layer {target}",
                    f"target_modules：{tuned.folder} 中没有层 {target}",
                ),
                hint=did_you_mean(*near(target, ends))
                or text("set target_modules: all-linear", "设 target_modules: all-linear"),
            )
        if named and all(len(shapes[name]) < 2 or is_table(name) for name in named):
            raise ConfigError(
                text(
                    f"target_modules: {target} is not a linear layer",
                    f"target_modules：{target} 不是线性层",
                ),
                hint=_saved_instead(config, target),
            )


def _saved_instead(config: ExtractConfig, target: str) -> str:
    """Return the hint that moves a target to the modules that are saved whole."""
    others = ", ".join(name for name in as_list(config.target_modules) if name != target)
    targets = f"[{others}]" if others else "all-linear"
    saved = ", ".join(dict.fromkeys([*config.modules_to_save, target]))
    return text(
        f"set target_modules: {targets} and modules_to_save: [{saved}], which saves it whole",
        f"设 target_modules: {targets} 和 modules_to_save: [{saved}]，即可完整保存",
    )
