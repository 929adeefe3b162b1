"""A server whose device fails says so, and ends with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from box import until
from own_server import serving

from swiftbox.core.generation import device_access
from swiftbox.core.generation.kv_cache import BatchCache
from swiftbox.errors import MachineError

MESSAGE = "CUDA error: unspecified launch failure"


def fail(*_: Any) -> Any:
    raise torch.AcceleratorError(MESSAGE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_ends_with_the_reason_when_its_device_fails(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchCache, "forward", fail)
    monkeypatch.setattr(device_access, "device_failure", lambda _: MESSAGE)
    with serving(tiny) as server:
        with (
            server.client() as client,
            pytest.raises(openai.InternalServerError, match="the device failed") as raised,
        ):
            client.completions.create(model="tiny", prompt="The json", max_tokens=5)
        assert raised.value.status_code == 503
        until(lambda: server.error is not None, what="the end of the server")
    assert isinstance(server.error, MachineError)
    assert MESSAGE in server.error.message
