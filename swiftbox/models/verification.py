"""Whether a model or dataset on this machine is unchanged and can be loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swiftbox.formatting import counted, is_or_are
from swiftbox.language import text
from swiftbox.models.inspection import inspect
from swiftbox.models.local import LocalArtifact
from swiftbox.models.requirements import ERROR, Remark
from swiftbox.models.verified import Verification, verify


@dataclass(frozen=True)
class VerificationReport:
    """The result of hashing all files again and inspecting a model."""

    artifact: LocalArtifact
    verification: Verification
    remarks: tuple[Remark, ...]

    @property
    def hashed(self) -> bool:
        """Return whether recorded hashes exist; other tools do not record any."""
        return self.verification.origin is not None

    @property
    def ok(self) -> bool:
        """Return whether nothing has changed, is missing or is broken."""
        is_broken = any(remark.level == ERROR for remark in self.remarks)
        is_verified = self.verification.ok or not self.hashed
        return self.artifact.complete and is_verified and not is_broken

    def lines(self) -> list[str]:
        """Return the report as lines; the last one says what to do."""
        artifact = self.artifact
        state = text("ok", "正常") if self.ok else text("NOT ok", "有问题")
        basis = self._basis()
        lines = [
            text(f"{artifact.id}: {state} ({basis})", f"{artifact.id}：{state}（{basis}）"),
        ]
        changed, missing = self.verification.changed, self.verification.missing
        lines += [text(f"  changed: {path}", f"  已改变：{path}") for path in changed]
        lines += [text(f"  missing: {path}", f"  缺失：{path}") for path in missing]
        if not artifact.complete:
            lines.append(text("  the download is not complete", "  下载未完成"))
        lines += [f"  {remark}" for remark in self.remarks]
        if not self.ok and artifact.location != "folder":
            option = " --dataset" if artifact.kind == "dataset" else ""
            command = f"swiftbox download {artifact.id}{option}"
            lines.append(text(f"next: {command}", f"下一步：{command}"))
        return lines

    def _basis(self) -> str:
        if not self.hashed:
            return text(
                "no recorded hashes: only sizes and headers were checked",
                "没有校验和可比对，仅检查大小与文件头",
            )
        unchanged = len(self.verification.unchanged)
        files = counted(unchanged, "file")
        basis = text(f"{files} {is_or_are(unchanged)} unchanged", f"{unchanged} 个文件内容未变")
        if unconfirmed := len(self.verification.unconfirmed):
            basis += text(
                f"; {unconfirmed} of them without a hash of the hub",
                f"；其中 {unconfirmed} 个社区未给出哈希值",
            )
        return basis

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            **artifact_fields(self.artifact),
            "ok": self.ok,
            "hashed": self.hashed,
            "right": list(self.verification.unchanged),
            "unconfirmed": list(self.verification.unconfirmed),
            "changed": list(self.verification.changed),
            "missing": list(self.verification.missing),
            "findings": [remark.to_dict() for remark in self.remarks],
        }


def verify_artifact(
    artifact: LocalArtifact, on_bytes: Callable[[int], None] | None = None
) -> VerificationReport:
    """Hash every recorded file again; `on_bytes` is called with the size of each block."""
    remarks = inspect(artifact.folder, head=None).remarks if artifact.kind == "model" else ()
    return VerificationReport(artifact, verify(artifact.folder, on_bytes), remarks)


def artifact_fields(artifact: LocalArtifact) -> dict[str, Any]:
    """Return an artifact as plain data for JSON."""
    return {
        "id": artifact.id,
        "kind": artifact.kind,
        "where": artifact.location,
        "folder": str(artifact.folder),
        "bytes": artifact.size_bytes,
        "complete": artifact.complete,
    }
