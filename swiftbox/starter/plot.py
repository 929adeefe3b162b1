"""Draw loss curves, read as JSON from stdin: `python -m swiftbox.starter.plot FILE.png`."""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Draw one panel per run."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    curves = json.load(sys.stdin)
    figure, panels = pyplot.subplots(1, len(curves), figsize=(5 * len(curves), 3.2), squeeze=False)
    for panel, (name, values) in zip(panels[0], curves.items(), strict=True):
        panel.plot(range(1, len(values) + 1), values)
        panel.set_title(name)
        panel.set_xlabel("step")
        panel.set_ylabel("loss (nats per token)")
        panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(sys.argv[1], dpi=120)
    return 0


if __name__ == "__main__":
    sys.exit(main())
