#!/usr/bin/env bash
# Sets swiftbox up where that is still to do, and opens the menu; with arguments: swiftbox ARGUMENTS.
exec bash "$(dirname "${BASH_SOURCE[0]}")/quickstart" --menu "$@"
