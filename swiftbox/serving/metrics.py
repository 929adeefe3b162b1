"""What the server tells of itself, as Prometheus reads it."""

from __future__ import annotations

from swiftbox.core.generation.scheduler import Scheduler

PREFIX = "swiftbox"


def exposition(scheduler: Scheduler, answered: dict[int, int]) -> str:
    """Return all metrics as text; `answered` counts responses by HTTP status."""
    counters, lines = scheduler.counters, []

    def add(name: str, kind: str, about: str, value: float) -> None:
        lines.append(f"# HELP {PREFIX}_{name} {about}")
        lines.append(f"# TYPE {PREFIX}_{name} {kind}")
        lines.append(f"{PREFIX}_{name} {value:g}" if value < 1e6 else f"{PREFIX}_{name} {value:f}")

    add("requests_running", "gauge", "Sequences that have a slot.", scheduler.running)
    add("requests_waiting", "gauge", "Requests that wait for one.", scheduler.waiting)
    add("slots", "gauge", "Sequences that can be written at once.", scheduler.limits.rows)
    for name, about, value in (
        ("requests", "Requests taken.", counters.requests),
        ("requests_finished", "Requests answered to their end.", counters.finished),
        ("requests_cancelled", "Requests whose client left.", counters.cancelled),
        ("requests_failed", "Sequences that ended in an error.", counters.failed),
        ("requests_refused", "Requests that found the queue full.", counters.refused),
        (
            "sequences_sent_back",
            "Sequences that made place and were read again.",
            counters.sent_back,
        ),
        ("prompt_tokens", "Tokens read.", counters.prompt_tokens),
        ("generated_tokens", "Tokens written.", counters.generated_tokens),
        ("steps", "Steps of the model.", counters.steps),
    ):
        add(f"{name}_total", "counter", about, value)
    about = "Seconds from a request to its first token."
    lines.append(f"# HELP {PREFIX}_first_token_seconds {about}")
    lines.append(f"# TYPE {PREFIX}_first_token_seconds summary")
    lines.append(f"{PREFIX}_first_token_seconds_sum {counters.first_token_s:f}")
    lines.append(f"{PREFIX}_first_token_seconds_count {counters.first_tokens}")
    lines.append(f"# HELP {PREFIX}_responses_total Responses by HTTP status.")
    lines.append(f"# TYPE {PREFIX}_responses_total counter")
    for status, count in sorted(answered.items()):
        lines.append(f'{PREFIX}_responses_total{{status="{status}"}} {count}')
    return "\n".join(lines) + "\n"
