"""python -m swiftbox."""

from swiftbox.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
