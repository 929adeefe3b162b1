"""python -m swiftbox."""

import sys

from swiftbox.cli.main import main
from swiftbox.cli.output import report_crash

if __name__ == "__main__":
    sys.excepthook = report_crash
    raise SystemExit(main())
