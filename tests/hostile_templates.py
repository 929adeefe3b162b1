"""Chat templates made to harm: endless, exploding, wrong; and what is said about each."""

from __future__ import annotations

ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"

WHEN_LONG = (
    "{% if messages[-1].content | length > 30000 %}" + ENDLESS + "{% endif %}"
    "{% for message in messages %}{{ message.content }}{% endfor %}"
)
"""Endless only for messages that are longer than those of the trial."""

WHEN_ASKED = WHEN_LONG.replace(
    "messages[-1].content | length > 30000", "'HANG' in messages[-1].content"
)
EXPLODES_WHEN_ASKED = WHEN_ASKED.replace(ENDLESS, "{{ 'a' * 10 ** 10 }}")

DOUBLING = (
    "{% set n = namespace(x='aaaaaaaa') %}"
    "{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
)

HOSTILE = {
    "endless loops": (ENDLESS, "does not end"),
    "endless range": ("{% for i in range(999999999) %}x{% endfor %}", "every conversation"),
    "endless when compiled": ("{{ 2 ** (2 ** 80) }}", "valid template|memory|does not end"),
    "product": ("{{ 'a' * 10 ** 9 }}", "memory|characters"),
    "product of a length": ("{{ 'a' * 10 ** (9 + messages | length) }}", "memory|characters"),
    "doubling": (DOUBLING, "memory"),
    "joined ranges": (
        "{% for i in range(99999) %}{{ range(99999) | join }}{% endfor %}",
        "characters",
    ),
    "width": ("{{ '%0999999999d' % 1 }}", "memory|characters"),
    "center": ("{{ 'a' | center(10 ** 10) }}", "memory"),
    "power": ("{{ (messages | length + 8) ** (9 ** 9) }}", "memory|does not end"),
    "long messages": (WHEN_LONG.replace("30000", "500"), "does not end"),
    "many messages": (
        WHEN_LONG.replace("messages[-1].content | length > 30000", "messages | length > 100"),
        "does not end",
    ),
    "with tools": (
        WHEN_LONG.replace("messages[-1].content | length > 30000", "tools"),
        "does not end",
    ),
    "recursion": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "every conversation"),
    "syntax": ("{% for %}", "valid template"),
    "unknown filter": ("{{ 'a' | evil }}", "valid template"),
    "nested brackets": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "valid template"),
    "nested blocks": ("{% if 1 %}" * 3000 + "{% endif %}" * 3000, "valid template"),
}
"""Templates, and a pattern of the reason for which each is refused."""
