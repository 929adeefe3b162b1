"""The metrics of the server in Prometheus' text format."""

from __future__ import annotations

from swiftbox.core.generation.scheduler import Scheduler

PREFIX = "swiftbox"


def exposition(scheduler: Scheduler, answered: dict[int, int]) -> str:
    """Return all metrics as text; `answered` counts responses by HTTP status."""
    counters, lines = scheduler.counters, []

    def add(name: str, kind: str, description: str, value: float) -> None:
        lines.append(f"# HELP {PREFIX}_{name} {description}")
        lines.append(f"# TYPE {PREFIX}_{name} {kind}")
        lines.append(f"{PREFIX}_{name} {value:g}" if value < 1e6 else f"{PREFIX}_{name} {value:f}")

    for name, description, value in _gauges(scheduler):
        add(name, "gauge", description, value)
    for name, description, value in (
        ("requests", "Accepted requests.", counters.requests),
        ("requests_finished", "Completed requests.", counters.finished),
        ("requests_cancelled", "Requests whose client disconnected.", counters.cancelled),
        ("requests_failed", "Sequences that failed.", counters.failed),
        ("requests_refused", "Requests refused because the queue was full.", counters.refused),
        (
            "sequences_sent_back",
            "Sequences preempted and recomputed.",
            counters.sent_back,
        ),
        ("out_of_memory", "Steps for which memory ran out.", counters.out_of_memory),
        ("prompt_tokens", "Prompt tokens.", counters.prompt_tokens),
        ("generated_tokens", "Generated tokens.", counters.generated_tokens),
        ("steps", "Forward passes.", counters.steps),
    ):
        add(f"{name}_total", "counter", description, value)
    description = "Seconds from a request to its first token."
    lines.append(f"# HELP {PREFIX}_first_token_seconds {description}")
    lines.append(f"# TYPE {PREFIX}_first_token_seconds summary")
    lines.append(f"{PREFIX}_first_token_seconds_sum {counters.first_token_s:f}")
    lines.append(f"{PREFIX}_first_token_seconds_count {counters.first_tokens}")
    lines.append(f"# HELP {PREFIX}_responses_total Responses by HTTP status.")
    lines.append(f"# TYPE {PREFIX}_responses_total counter")
    for status, count in sorted(answered.items()):
        lines.append(f'{PREFIX}_responses_total{{status="{status}"}} {count}')
    return "\n".join(lines) + "\n"


def _gauges(scheduler: Scheduler) -> list[tuple[str, str, int]]:
    cells = scheduler.cell_limit
    cells_help = "Tokens that the caches may hold; fewer for a while once memory ran out."
    return [
        ("requests_running", "Sequences in a slot.", scheduler.running),
        ("requests_waiting", "Requests waiting for a slot.", scheduler.waiting),
        ("slots", "Sequences that can be generated at once.", scheduler.limits.rows),
        ("cache_tokens", cells_help, cells.cells),
        ("cache_tokens_configured", "Tokens that the caches may hold at most.", cells.configured),
    ]
