"""The user guide: one Markdown page per topic and language, shown by `swiftbox guide TOPIC`."""
