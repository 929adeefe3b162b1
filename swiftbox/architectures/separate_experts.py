"""Experts that are quantized one by one: models whose class can have them as separate modules.

transformers' classes combine the experts of a layer into one tensor. gptqmodel quantizes them
separately, and its package `defuser` gives the classes of these types separate modules again.
"""

from __future__ import annotations

METHODS = ("gptq", "awq")
"""The values of `quant_method` whose experts are stored so."""

SEPARABLE = ("qwen3_moe",)
"""Values of `model_type` with which every tensor found its module when it was tried."""
