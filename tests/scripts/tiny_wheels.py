"""Write wheels of a few lines: real pip installs them in milliseconds, without a network.

Copied into a made-up checkout as `builder.py` it is that project's build backend (PEP 660).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

TORCH = "2.13.0"
ENTRY = "[console_scripts]\nswiftbox = swiftbox.cli.main:main\n"


def write_wheel(
    folder: Path, name: str, version: str, files: dict[str, str], *, metadata: str = ""
) -> str:
    """Write NAME-VERSION-py3-none-any.whl into a folder; return its file name."""
    info = f"{name}-{version}.dist-info"
    contents = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / wheel, "w") as archive:
        for path, content in (contents | {f"{info}/RECORD": record}).items():
            archive.writestr(path, content)
    return wheel


def build_editable(
    wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None
) -> str:
    """Build the made-up checkout that this file was copied into."""
    del config_settings, metadata_directory
    files = {
        "swiftbox.pth": f"{Path(__file__).parent}\n",
        "swiftbox-0.dist-info/entry_points.txt": ENTRY,
    }
    needs = f"Requires-Dist: torch=={TORCH}\nRequires-Dist: helper==1.0\n"
    extra = 'Provides-Extra: dev\nRequires-Dist: tools==1.0; extra == "dev"\n'
    return write_wheel(Path(wheel_directory), "swiftbox", "0", files, metadata=needs + extra)
