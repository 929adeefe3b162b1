#!/usr/bin/env bash
# Installs swiftbox if needed and opens the menu; with arguments: swiftbox ARGUMENTS.
exec bash "$(dirname "${BASH_SOURCE[0]}")/quickstart" --menu "$@"
