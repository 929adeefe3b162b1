"""Converters from configs of other tools: one file per tool, and one explicit table."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.converters.axolotl import AXOLOTL
from swiftbox.converters.llamafactory import LLAMAFACTORY
from swiftbox.converters.msswift import MS_SWIFT
from swiftbox.converters.rows import ForeignTool

TOOLS: Mapping[str, ForeignTool] = {tool.name: tool for tool in (LLAMAFACTORY, AXOLOTL, MS_SWIFT)}
