"""From an exception to its kind and a hint that says what to change."""

from __future__ import annotations

import errno
import signal

from swiftbox.errors import ChildError, DiskFullError, MemoryLimitError, ResultError, UserError
from swiftbox.language import text

OUT_OF_MEMORY, DISK_FULL, TEMPLATE = "out-of-memory", "disk-full", "template"
FILE_TOO_LARGE = "file-too-large"
MISSING_FILE, TARGET_MODULES, REFUSED, CRASH = "missing-file", "target-modules", "refused", "crash"
STOPPED_ITSELF, FAILED_CHECK, KILLED = "stopped-itself", "failed-check", "killed"

OUT_OF_MEMORY_SIGNS = (
    "out of memory",  # CUDA, HIP, XPU, MPS, NPU; NCCL passes on the words of CUDA
    "can't allocate memory",  # DefaultCPUAllocator
    "failed to allocate memory",  # the runtime of Ascend
    "_status_alloc_failed",  # CUBLAS_, CUDNN_, CUSPARSE_, CUSOLVER_, HIPBLAS_
    "rocblas_status_memory_error",
    "miopenstatusallocfailed",
    "failed to cuda malloc",  # NCCL, with the number of bytes
    "failed to cuda calloc",
    "failed to cuda host alloc",
    "out_of_device_memory",  # Level Zero: UR_RESULT_ERROR_, ZE_RESULT_ERROR_
    "out_of_host_memory",
)
"""What the libraries of the backends write when memory cannot be allocated, in lower case."""


def diagnose(error: BaseException, task: str = "train") -> tuple[str, str]:
    """Return the kind of a task's failure and a hint; the hint is empty if none is known."""
    kind = kind_of(error)
    if isinstance(error, UserError) and error.hint:
        return kind, error.hint
    return kind, hint_for(kind, task)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory is used up, whichever library raised it."""
    return kind_of(error) == OUT_OF_MEMORY


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def kind_of(error: BaseException) -> str:
    """Classify a failure by its type and message."""
    message = str(error).lower()
    names = {cls.__module__.split(".")[0] + "." + cls.__name__ for cls in type(error).__mro__}
    if isinstance(error, (MemoryError, MemoryLimitError)) or "torch.OutOfMemoryError" in names:
        return OUT_OF_MEMORY
    if any(sign in message for sign in OUT_OF_MEMORY_SIGNS):
        return OUT_OF_MEMORY
    if isinstance(error, DiskFullError):
        return DISK_FULL
    if kind := _kind_of_refused_write(error, message):
        return kind
    if any(name.startswith("jinja2.") for name in names):
        return TEMPLATE
    if isinstance(error, ResultError):
        return FAILED_CHECK
    if isinstance(error, ChildError):
        return CRASH
    if isinstance(error, UserError):
        return REFUSED
    if "concurrent.BrokenProcessPool" in names:
        return KILLED
    if isinstance(error, FileNotFoundError):
        return MISSING_FILE
    if isinstance(error, ValueError) and "target modules" in message:
        return TARGET_MODULES
    return CRASH


def _kind_of_refused_write(error: BaseException, message: str) -> str:
    """Return why the system refused a write; empty for another failure.

    Libraries that are not written in Python pass on the message of the system only.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DISK_FULL
    if "no space left on device" in message or "disk quota exceeded" in message:
        return DISK_FULL
    is_too_large = number == errno.EFBIG or "file too large" in message
    return FILE_TOO_LARGE if is_too_large else ""


def hint_for(kind: str, task: str = "train") -> str:
    """Return what to do about a kind of failure of a task."""
    if task != "train" and kind in (OUT_OF_MEMORY, TEMPLATE):
        return _hint_without_training(kind, task)
    hints = {
        OUT_OF_MEMORY: text(
            "set per_device_train_batch_size: 1 with more gradient_accumulation_steps, "
            "gradient_checkpointing: true, or a smaller max_length",
            "将 per_device_train_batch_size 设为 1 并增大 gradient_accumulation_steps，"
            "或设 gradient_checkpointing: true，或减小 max_length",
        ),
        DISK_FULL: text(
            "free some space, or set output_dir on another disk; then `swiftbox runs resume`",
            "清理磁盘，或将 output_dir 放到其他磁盘；然后 `swiftbox runs resume`",
        ),
        FILE_TOO_LARGE: text(
            "raise the limit on the size of a file (`ulimit -f`), or set output_dir on a file "
            "system that holds larger files (FAT32 ends at 4 GiB)",
            "提高单个文件大小的限制（`ulimit -f`），或将 output_dir 放到支持更大文件的文件系统"
            "（FAT32 的上限为 4 GiB）",
        ),
        TEMPLATE: text(
            "the chat template rejects these messages; check the row, or set template: chatml",
            "对话模板拒绝了这些消息；请检查该行数据，或设 template: chatml",
        ),
        MISSING_FILE: text(
            "check the path; relative paths are resolved from the directory of the command",
            "请检查路径；相对路径以运行命令时的目录为起点",
        ),
        TARGET_MODULES: text(
            "set target_modules: all-linear, or names of layers in the model",
            "设置 target_modules: all-linear，或模型中存在的层名",
        ),
    }
    if kind == KILLED:
        return hint_for_killed()
    return hints.get(kind, "")


def _hint_without_training(kind: str, task: str) -> str:
    """Return a hint for a task that has no batches and no `template`."""
    if kind == TEMPLATE:
        return text(
            "the chat template of the model rejects these messages; use a model whose template "
            "takes them",
            "模型的对话模板不接受这些消息；请换用其模板支持的模型",
        )
    if task in ("deploy", "chat", "evaluate"):
        return text(
            "set max_model_len, or serve fewer requests at a time, or use a smaller or quantized "
            "model",
            "请设 max_model_len，或减少并发请求，或换用更小的或量化的模型",
        )
    return text(
        "end other programs that use the memory, or use a machine with more of it",
        "请结束其他占用内存的程序，或换用内存更大的机器",
    )


def killed(signal_number: int) -> tuple[str, str, str]:
    """Describe a child that was killed by a signal: kind, message, hint."""
    try:
        name = signal.Signals(signal_number).name
    except ValueError:
        name = str(signal_number)
    message = text(f"the process was killed by {name}", f"进程被 {name} 终止")
    return KILLED, message, hint_for_killed(name)


def hint_for_exit(code: int) -> str:
    """Return what to do about a process of a run that ended with a code, or by a signal."""
    try:
        return hint_for_killed(signal.Signals(-code).name if code < 0 else "")
    except ValueError:
        return hint_for_killed("")


def hint_for_killed(signal_name: str = "SIGKILL") -> str:
    """Return what to do about a process of a run that a signal ended."""
    if signal_name == "SIGKILL":
        return text(
            "the usual cause is that the system ran out of memory (see `dmesg`); "
            "`swiftbox runs resume` continues from the last checkpoint or finished step",
            "常见原因是系统内存不足（见 `dmesg`）；"
            "`swiftbox runs resume` 可从最后的检查点或已完成的步骤继续",
        )
    return text(
        "see log.txt of the run for the cause; `swiftbox runs resume` continues",
        "原因见运行的 log.txt；`swiftbox runs resume` 可继续",
    )
