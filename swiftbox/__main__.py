"""python -m swiftbox."""

import sys

from swiftbox.security.search_path import drop_current_folder

if __name__ == "__main__":
    drop_current_folder()  # before the imports of main, which must not come from there
    from swiftbox.cli.main import main
    from swiftbox.cli.output import report_crash

    sys.excepthook = report_crash
    raise SystemExit(main())
