"""Text of strangers in a page: names, questions and answers become text and nothing else."""

from __future__ import annotations

import html

from swiftbox.security.printable import printable

CONTENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
"""What a browser may do for the page: apply its inline style. No script, request or form."""


def escape(content: str) -> str:
    """Return a text for elements and quoted attributes; invisible characters are shown."""
    return html.escape(printable(content))
