"""Ask a deployment how it is."""

from __future__ import annotations

import urllib.error
import urllib.request

QUICK_S = 1.0


def health(url: str, timeout_s: float = QUICK_S) -> str:
    """Return ok, or in a word what is wrong: failed, silent."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/health", timeout=timeout_s) as said:
            return "ok" if said.status == 200 else "failed"
    except urllib.error.HTTPError:
        return "failed"
    except OSError:
        return "silent"
