"""The dimensions of a transformer, from config.json or the catalogue, and derived counts.

Letters: H hidden size, I width of the MLP, L layers, V vocabulary, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swiftbox.fit.attention_traits import traits_of_type
from swiftbox.models.config_keys import NAMES, dimension, language_part

PLAIN_MLP = ("gpt2", "gpt_bigcode", "phi", "falcon", "gpt_neox", "opt", "bloom", "starcoder2")
"""Model types whose MLP has two matrices; others have a gate as well."""


MULTI_QUERY = ("gpt_bigcode",)
"""Model types whose config says with `multi_query` that all heads share one key and value."""


@dataclass(frozen=True)
class ModelShape:
    """Dimensions of a decoder; `params` includes the towers of other modalities."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    params: float
    gated: bool = True
    experts: int = 0
    active_experts: int = 0
    dense_layers: int = 0
    dense_width: int = 0
    shared_width: int = 0
    active: float | None = None
    """Parameters that one token uses, if known and fewer than all."""
    context: int | None = None
    softcap: bool = False
    """Whether attention scores are capped, as in Gemma 2."""
    chunked: bool = False
    """Whether tokens attend within chunks, as in Llama 4."""

    @property
    def query_width(self) -> int:
        """Return the total width of the query heads."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Return the width of a token's keys, and of its values, per layer."""
        return self.kv_heads * self.head_dim

    @property
    def table(self) -> float:
        """Return the parameters of the embeddings, V x H."""
        return float(self.vocab * self.hidden)

    @property
    def outside(self) -> float:
        """Return the parameters of embeddings and head, which quantizers leave unchanged."""
        return self.table * (1 if self.tied else 2)

    @property
    def inside(self) -> float:
        """Return the parameters other than embeddings and head."""
        return max(self.params - self.outside, 0.0)

    @property
    def in_experts(self) -> float:
        """Return the parameters of all experts, which are inside; none of shared ones."""
        if self.experts:
            matrices = 3 if self.gated else 2
            count = (self.layers - self.dense_layers) * self.experts
            return min(float(count * matrices * self.hidden * self.intermediate), self.inside)
        # Without dimensions, what a token does not use.
        return min(max(self.params - (self.active or self.params), 0.0), self.inside)

    @property
    def passed(self) -> float:
        """Return the parameters that a token is multiplied with: active experts, no embeddings."""
        active = self.active if self.active is not None else self.params
        return max(active - (0 if self.tied else self.table), active * 0.1)

    @property
    def inside_passed(self) -> float:
        """Return the parameters of the layers that a token is multiplied with."""
        return max(self.passed - self.table, self.passed * 0.1)

    @property
    def layer_width(self) -> int:
        """Return the width of the MLP that a token uses in a layer."""
        if not self.experts:
            return self.intermediate
        return self.intermediate * max(1, self.active_experts) + self.shared_width


def shape_of_config(config: Mapping[str, Any], params: float | None = None) -> ModelShape | None:
    """Return the shape that a config.json describes; None if it has other keys."""
    config_part = language_part(config)
    dimensions = {name: dimension(config_part, name) for name in NAMES}
    hidden, layers, heads = dimensions["hidden"], dimensions["layers"], dimensions["heads"]
    vocab = dimensions["vocab"] or dimension(config, "vocab")
    if not (hidden and layers and heads and vocab):
        return None
    model_type = str(config_part.get("model_type", ""))
    if model_type in MULTI_QUERY and config_part.get("multi_query"):
        dimensions["kv_heads"] = 1
    traits = traits_of_type(model_type)
    experts = dimensions["experts"] or 0
    width = dimensions["intermediate"] or (
        4 * hidden if model_type in PLAIN_MLP else round(8 / 3 * hidden)
    )
    return shape_from_dimensions(
        {
            **{key: value for key, value in dimensions.items() if value},
            "vocab": vocab,
            "intermediate": (dimensions["expert_width"] or width) if experts else width,
            "dense_width": width,
            "tied": bool(
                config_part.get("tie_word_embeddings", config.get("tie_word_embeddings", True))
            ),
            "gated": model_type not in PLAIN_MLP,
            "softcap": bool(config_part.get("attn_logit_softcapping", traits["softcap"])),
            "chunked": bool(config_part.get("attention_chunk_size", traits["chunked"])),
        },
        params=params,
    )


def shape_from_dimensions(
    values: Mapping[str, Any], *, params: float | None = None, active: float | None = None
) -> ModelShape:
    """Build a shape from named dimensions; derive the missing ones."""
    hidden, heads = int(values["hidden"]), int(values["heads"])
    fields: dict[str, Any] = {
        "hidden": hidden,
        "layers": int(values["layers"]),
        "heads": heads,
        "kv_heads": int(values.get("kv_heads") or heads),
        "head_dim": int(values.get("head_dim") or hidden // heads),
        "intermediate": int(values.get("intermediate") or round(8 / 3 * hidden)),
        "vocab": int(values["vocab"]),
        "tied": bool(values.get("tied", values.get("tie_embeddings", False))),
        "gated": bool(values.get("gated", True)),
        "experts": int(values.get("experts") or 0),
        "active_experts": int(values.get("active_experts") or 0),
        "dense_layers": int(values.get("dense_layers") or 0),
        "dense_width": int(values.get("dense_width") or 0),
        "shared_width": int(values.get("shared_width") or 0),
        "context": values.get("context"),
        "softcap": bool(values.get("softcap", False)),
        "chunked": bool(values.get("chunked", False)),
    }
    uncounted = ModelShape(**fields, params=0.0)
    counted, passed = count_parameters(uncounted)
    if uncounted.experts and active is None:
        active = passed
    return ModelShape(**fields, params=params or counted, active=active)


def count_parameters(shape: ModelShape) -> tuple[float, float]:
    """Count the parameters of a decoder: all of them, and those that a token uses."""
    matrices = 3 if shape.gated else 2
    attention = shape.hidden * 2 * (shape.query_width + shape.key_width)
    norms = 2 * shape.hidden
    dense_width = shape.dense_width or shape.intermediate
    if not shape.experts:
        layer = attention + norms + matrices * shape.hidden * dense_width
        total = shape.outside + shape.layers * layer + shape.hidden
        return total, total
    expert = matrices * shape.hidden * shape.intermediate
    shared = matrices * shape.hidden * shape.shared_width + shape.hidden * shape.experts
    sparse = shape.layers - shape.dense_layers
    common = (
        shape.outside
        + shape.layers * (attention + norms)
        + shape.dense_layers * matrices * shape.hidden * dense_width
        + sparse * shared
        + shape.hidden
    )
    total = common + sparse * shape.experts * expert
    return total, common + sparse * max(1, shape.active_experts) * expert


def guess_shape(params: float, *, vocab: int = 128_000) -> ModelShape:
    """Return the typical shape of a decoder, if only its size is known."""
    layers = max(12, min(96, round(32 * (params / 7e9) ** 0.3)))
    hidden = max(128, round((max(params - 1e8, params * 0.7) / (12 * layers)) ** 0.5 / 128) * 128)
    heads = max(2, hidden // 128)
    return shape_from_dimensions(
        {
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "kv_heads": max(1, heads // 4),
            "intermediate": round(3.2 * hidden),
            "vocab": vocab,
            "tied": params < 3e9,
        },
        params=params,
    )
