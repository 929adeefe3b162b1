"""A child that shows rows as the model sees them.

Usage: `python -m swiftbox.display.preview_child FILE.yaml`.

Prints one JSON object, the `data` event of the run: counts, length percentiles, three samples.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from swiftbox.errors import UserError
from swiftbox.methods import METHODS
from swiftbox.tasks.load import load, of_training
from swiftbox.tasks.training_check import sources_of


def main() -> int:
    """Encode the data of a YAML and print what was found."""
    from swiftbox.core.data.prepare import load_tokenizer, prepare_rows

    found: dict[str, Any] = {}

    def keep(event: str, **fields: Any) -> None:
        found.update(fields, event=event)

    try:
        config = of_training(load(Path(sys.argv[1])).config)
        method = METHODS[config.model_dump()["stage"]]
        tokenizer = load_tokenizer(Path(config.model).expanduser(), config)
        prepare_rows(config, method, tokenizer, sources_of(config), keep)
    except UserError as error:
        found = {"error": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
