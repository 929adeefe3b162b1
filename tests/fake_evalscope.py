"""A stand-in for EvalScope in an engine's place: asks the same server, writes the same files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from swiftbox.engines.state import MARKER, engine_named

PACKAGE = """\
import json, os, pathlib, time, types, urllib.request

class TaskConfig(types.SimpleNamespace):
    pass

def rows(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

def ask(config, question):
    body = {"model": config.model, "messages": [{"role": "user", "content": question}]}
    body |= {"max_tokens": config.generation_config["max_tokens"], "temperature": 0}
    request = urllib.request.Request(
        config.api_url + "/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer " + config.api_key},
    )
    while True:  # as EvalScope: a server that does not answer is asked again, for minutes
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())["choices"][0]["message"]["content"]
        except OSError:
            time.sleep(0.01)

def run_task(config):
    work = pathlib.Path(config.work_dir)
    (name,) = config.datasets
    said = config.dataset_args[name]
    folder = pathlib.Path(said["local_path"])
    for part in ("predictions", "reviews", "reports"):
        (work / part / config.model).mkdir(parents=True, exist_ok=True)
    (work / "configs").mkdir(exist_ok=True)
    resolved = {"resolved_benchmarks": {name: {"few_shot_num": said.get("few_shot_num", 5)}}}
    (work / "configs" / "task_config.yaml").write_text(json.dumps(resolved))
    hold = pathlib.Path(os.environ.get("FAKE_HOLD", "/nowhere"))
    scores = []
    for subject in said["subset_list"]:
        path = work / "predictions" / config.model / f"{name}_{subject}.jsonl"
        there = rows(path) if path.exists() else []
        questions = rows(folder / subject / "val.jsonl")[: config.limit]
        for number, row in list(enumerate(questions))[len(there):]:
            text = ask(config, row["question"])
            line = {"index": number, "model_output": {"choices": [{"stop_reason": "stop",
                    "message": {"content": text}}], "usage": {"input_tokens": 1}}}
            with path.open("a") as file:
                file.write(json.dumps(line) + "\\n")
            while hold.exists() and config.model != os.environ.get("FAKE_FREE"):
                ask(config, row["question"])
        reviews = []
        for number, line in enumerate(rows(path)):
            text = line["model_output"]["choices"][0]["message"]["content"]
            read = "ABCD"[sum(map(ord, text)) % 4]
            value = float(read == questions[number]["answer"])
            scores.append(value)
            reviews.append({"index": number, "target": [questions[number]["answer"]],
                "sample_score": {"score": {"value": {"accuracy": value},
                "extracted_prediction": read, "prediction": text}}})
        out = work / "reviews" / config.model / path.name
        out.write_text("".join(json.dumps(one) + "\\n" for one in reviews))
    report = {"metrics": [{"identity": {"name": "accuracy"}, "score": sum(scores) / len(scores)}]}
    (work / "reports" / config.model / f"{name}.json").write_text(json.dumps(report))
"""


def install(home: Path) -> Path:
    """Put the stand-in where the engine belongs; return the engine's folder."""
    folder = home / "engines" / "evalscope"
    arguments = ("-m", "venv", "--without-pip", "--symlinks", str(folder))
    subprocess.run([sys.executable, *arguments], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "evalscope").mkdir()
    (packages / "evalscope" / "__init__.py").write_text(PACKAGE, "utf-8")
    (packages / "evalscope" / "version.py").write_text("__version__ = 'made up'\n", "utf-8")
    (packages / "yaml.py").write_text("from json import loads as safe_load\n", "utf-8")
    marker = {
        "engine": "evalscope",
        "backend": "cpu",
        "folder": str(folder),
        "wanted": list(engine_named("evalscope").requested("cpu")),
        "versions": {},
    }
    (folder / MARKER).write_text(json.dumps(marker), "utf-8")
    return folder
