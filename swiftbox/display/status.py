"""Titles of the status of runs, pipeline steps and servers."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.language import text

RUN_STATUS: Mapping[str, str] = {
    "waiting": "等待中",
    "starting": "正在启动",
    "running": "运行中",
    "done": "已完成",
    "partial": "部分完成",
    "skipped": "已跳过",
    "failed": "失败",
    "stopped": "已停止",
    "lost": "进程丢失",
}
"""The Chinese title of each status of a run or a pipeline step."""

SERVER_HEALTH: Mapping[str, str] = {"ok": "正常", "failed": "异常", "silent": "无响应"}
"""The Chinese title of each result of a server's health check."""


def status_title(status: str) -> str:
    """Return the status of a run or a step in the current language."""
    return text(status, RUN_STATUS.get(status, status))


def health_title(health: str) -> str:
    """Return the health of a server in the current language."""
    return text(health, SERVER_HEALTH.get(health, health))
