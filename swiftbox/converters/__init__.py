"""Converters from configs of other tools: one file per tool, and one explicit table."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.converters.axolotl import AXOLOTL
from swiftbox.converters.llamafactory import LLAMAFACTORY
from swiftbox.converters.llamafactory_v1 import LLAMAFACTORY_V1
from swiftbox.converters.megatron_swift import MEGATRON_SWIFT
from swiftbox.converters.msswift import MS_SWIFT
from swiftbox.converters.rows import ForeignTool

TOOLS: Mapping[str, ForeignTool] = {
    tool.name: tool for tool in (LLAMAFACTORY, LLAMAFACTORY_V1, AXOLOTL, MS_SWIFT, MEGATRON_SWIFT)
}
