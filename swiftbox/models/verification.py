"""Whether a model or dataset on this machine is as it was fetched, and fit to be loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swiftbox.language import text
from swiftbox.models.inspection import inspect
from swiftbox.models.local import LocalArtifact
from swiftbox.models.requirements import ERROR, Remark
from swiftbox.models.verified import Verification, verify


@dataclass(frozen=True)
class VerificationReport:
    """What hashing all files again, and looking into a model, found."""

    artifact: LocalArtifact
    verification: Verification
    remarks: tuple[Remark, ...]

    @property
    def hashed(self) -> bool:
        """Tell whether there were sums to compare with: not where another tool fetched it."""
        return self.verification.origin is not None

    @property
    def ok(self) -> bool:
        """Tell whether nothing is changed, missing or broken."""
        broken = any(found.level == ERROR for found in self.remarks)
        return self.artifact.complete and not broken and (self.verification.ok or not self.hashed)

    def lines(self) -> list[str]:
        """Say it; at the end what to do about it."""
        count = len(self.verification.unchanged)
        how = text(
            f"{count} files have the contents they were fetched with", f"{count} 个文件内容未变"
        )
        if not self.hashed:
            how = text(
                "no sums to compare: only sizes and headers were looked at",
                "没有校验和可比对，仅检查大小与文件头",
            )
        word = text("well", "正常") if self.ok else text("NOT well", "有问题")
        found = [f"{self.artifact.id}: {word} ({how})"]
        found += [
            text(f"  changed: {path}", f"  已改变：{path}") for path in self.verification.changed
        ]
        found += [text(f"  gone: {path}", f"  缺失：{path}") for path in self.verification.missing]
        if not self.artifact.complete:
            found.append(text("  the download is not finished", "  下载未完成"))
        found += [f"  {finding}" for finding in self.remarks]
        if not self.ok and self.artifact.location != "folder":
            option = " --dataset" if self.artifact.kind == "dataset" else ""
            found.append(
                text("next: ", "下一步：") + f"swiftbox download {self.artifact.id}{option}",
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
        return {
            **artifact_fields(self.artifact),
            "ok": self.ok,
            "hashed": self.hashed,
            "right": list(self.verification.unchanged),
            "changed": list(self.verification.changed),
            "missing": list(self.verification.missing),
            "findings": [remark.to_dict() for remark in self.remarks],
        }


def verify_artifact(
    one: LocalArtifact, on_bytes: Callable[[int], None] | None = None
) -> VerificationReport:
    """Hash every recorded file again; `on_bytes` hears how many bytes each step took."""
    findings = inspect(one.folder).remarks if one.kind == "model" else ()
    return VerificationReport(one, verify(one.folder, on_bytes), findings)


def artifact_fields(one: LocalArtifact) -> dict[str, Any]:
    """Return plain data on something local, as JSON takes it."""
    return {
        "id": one.id,
        "kind": one.kind,
        "where": one.location,
        "folder": str(one.folder),
        "bytes": one.size_bytes,
        "complete": one.complete,
    }
