"""A run's life on the device: stop, resume, evaluate, merge, quantize, serve."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from on_device import OnDevice
from peft import PeftModel
from transformers import AutoModelForCausalLM

from swiftbox.config.deploy import DeployConfig
from swiftbox.plan import plan
from swiftbox.runs.stop import STOP
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import loads

IDS = [[5, 17, 40, 9, 33, 21]]


def logits(model: Any, device: str) -> torch.Tensor:
    """Return the logits of a fixed row in float32."""
    with torch.no_grad():
        output = model.to(device).eval()(torch.tensor(IDS, device=device))
    return output.logits.float().cpu()


@pytest.mark.gpu("torch_device")
def test_a_resumed_training_has_the_losses_of_one_that_was_not_stopped(
    on_device: OnDevice,
) -> None:
    entire = on_device.train("entire")
    seen = []

    def stop_after_three(event: str, **_: Any) -> None:
        seen.append(event)
        if seen.count("step") == 3:
            STOP.requested.set()

    folder = on_device.folder / "stopped"
    folder.mkdir()
    (folder / "settled.yaml").write_text(
        (entire.folder / "settled.yaml").read_text("utf-8"), "utf-8"
    )
    assert TASKS["train"].run(entire.config, folder, stop_after_three) is None
    STOP.requested.clear()
    STOP.can_save.clear()
    losses: list[float] = []

    def collect(event: str, **fields: Any) -> None:
        if event == "step":
            losses.append(fields["loss"])

    TASKS["train"].run(entire.config, folder, collect)
    assert losses == pytest.approx(
        entire.losses[-len(losses) :], rel=5e-3
    )  # kernels that add in any order
    assert 0 < len(losses) < len(entire.losses)


@pytest.mark.gpu("torch_device")
def test_held_out_rows_are_evaluated(on_device: OnDevice) -> None:
    trained = on_device.train(val_size=8, eval_steps=3)
    evaluations = [event["loss"] for event in trained.of_kind("eval")]
    assert len(evaluations) == 2
    assert evaluations[-1] < evaluations[0]


@pytest.mark.gpu("torch_device")
def test_a_merged_model_has_the_logits_of_its_adapter(on_device: OnDevice) -> None:
    trained = on_device.train(dtype="float32")
    out = on_device.folder / "merged"
    source = {
        "task": "merge",
        "hub": "local",
        "model": str(on_device.model),
        "adapters": [str(trained.folder / "model")],
    }
    planned = plan(loads(json.dumps(source), source="a.yaml").config, on_device.machine)
    out.mkdir()
    merged = TASKS["merge"].run(planned.config, out, lambda *_, **__: None)
    device = on_device.torch_device
    plain = AutoModelForCausalLM.from_pretrained(on_device.model, dtype=torch.float32)
    adapted = logits(PeftModel.from_pretrained(plain, trained.folder / "model"), device)
    result = logits(AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32), device)
    # float32 sums, in TF32 at worst: 10 bits.
    assert (result - adapted).abs().max() <= 2e-3 * adapted.abs().max()


@pytest.mark.gpu("bnb_nf4")
@pytest.mark.slow
def test_a_model_is_quantized(on_device: OnDevice) -> None:
    on_device.require("bnb_nf4")
    out = on_device.folder / "quantized"
    source = {
        "task": "quantize",
        "hub": "local",
        "model": str(on_device.model),
        "quant_method": "bnb",
        "quant_bits": 4,
    }
    planned = plan(loads(json.dumps(source), source="a.yaml").config, on_device.machine)
    out.mkdir()
    (out / "machine.json").write_text(json.dumps(on_device.machine.to_dict()), "utf-8")
    events: list[str] = []
    TASKS["quantize"].run(planned.config, out, lambda event, **_: events.append(event))
    assert "quantized" in events
    assert list((out / "model").glob("*.safetensors"))


@pytest.mark.gpu("serve_transformers")
def test_the_builtin_server_answers_as_generate_does(on_device: OnDevice) -> None:
    prompt = [5, 17, 40, 9, 33, 21]
    device = on_device.torch_device
    with served(on_device) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=300)
        body = {"model": "tiny", "prompt": prompt, "max_tokens": 8, "temperature": 0}
        body |= {"ignore_eos": True, "logprobs": 1}
        connection.request(
            "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        answer = json.load(connection.getresponse())
        connection.close()
    model = AutoModelForCausalLM.from_pretrained(on_device.model, dtype=torch.float32).to(device)
    output = model.generate(
        torch.tensor([prompt], device=device),
        do_sample=False,
        max_new_tokens=8,
        min_new_tokens=8,
        pad_token_id=0,
    )
    assert answer["usage"]["completion_tokens"] == 8
    from transformers import AutoTokenizer

    expected = AutoTokenizer.from_pretrained(on_device.model).decode(output[0, len(prompt) :])
    assert answer["choices"][0]["text"] == expected


def served(on_device: OnDevice) -> Any:
    """Serve the tiny model on the device, in a thread."""
    import contextlib
    import threading
    from collections.abc import Iterator

    from swiftbox.serving.address import listen_on
    from swiftbox.serving.builtin_server import ServedFolders, ServerCallbacks, serve

    @contextlib.contextmanager
    def running() -> Iterator[str]:
        stop, started, addresses = threading.Event(), threading.Event(), []

        def ready(url: str, _: Any) -> None:
            addresses.append(url)
            started.set()

        config = DeployConfig(model=str(on_device.model), hub="local", dtype="float32", port=0)
        folders = ServedFolders(Path(on_device.model), "tiny", {}, on_device.torch_device)

        def work() -> None:
            try:
                with listen_on("127.0.0.1", 0) as listening:
                    serve(config, folders, listening, ServerCallbacks(stop, ready), key=None)
            finally:
                started.set()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert started.wait(300)
            assert addresses
            yield addresses[0]
        finally:
            stop.set()
            thread.join(300)

    return running()
