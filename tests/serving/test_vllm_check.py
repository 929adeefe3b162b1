"""`vllm_args` are checked by the parser of the vLLM that is there, before anything is loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from swiftbox.config.deploy import DeployConfig
from swiftbox.errors import ConfigError
from swiftbox.models.requirements import NOTE, WARNING
from swiftbox.serving.vllm_check import vllm_remark

PYTHON = """#!{}
import runpy, sys
assert sys.argv[1] == "-I"
sys.path.insert(0, {!r})
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
PARSER = """
class FlexibleArgumentParser:
    def __init__(self, prog):
        self.prog = prog
"""
ARGUMENTS = """
import argparse
def make_arg_parser(parser):
    parser = argparse.ArgumentParser(parser.prog)
    parser.add_argument("model")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--middleware")
    parser.parse_args = lambda given, known=parser.parse_known_args: strict(parser, known, given)
    return parser
def strict(parser, known, given):
    options, rest = known(given)
    if "--unknown-one=1" in rest:
        parser.error("unrecognized arguments: --unknown-one=1")
    return options
def validate_parsed_serve_args(options):
    if options.seed == 3:
        raise TypeError("3 is no seed")
"""


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment whose vLLM has a parser alone; its Python is ours."""
    packages = tmp_path / "e" / "lib" / "python3.12" / "site-packages"
    for path, content in {
        "vllm/utils/argparse_utils.py": PARSER,
        "vllm/entrypoints/openai/cli_args.py": ARGUMENTS,
        "vllm-0.23.0.dist-info/METADATA": "",
    }.items():
        (packages / path).parent.mkdir(parents=True)
        (packages / path).write_text(content, "utf-8")
    programs = tmp_path / "e" / "bin"
    programs.mkdir()
    (programs / "vllm").write_text("#!/bin/sh\n", "utf-8")
    (programs / "python").write_text(PYTHON.format(sys.executable, str(packages)), "utf-8")
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/bin")
    return tmp_path


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SWIFTBOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def config(**arguments: int) -> DeployConfig:
    return DeployConfig(model="/m", engine="vllm", vllm_args=arguments)


@pytest.mark.usefixtures("vllm")
def test_a_refusal_has_the_message_of_vllm() -> None:
    assert vllm_remark(config(seed=1)) is None
    with pytest.raises(ConfigError, match="unrecognized arguments: --unknown-one=1"):
        vllm_remark(config(unknown_one=1))
    with pytest.raises(ConfigError, match="vLLM refuses them: 3 is no seed"):
        vllm_remark(config(seed=3))


def test_a_parser_that_does_not_answer_is_reported(vllm: Path) -> None:
    (vllm / "e" / "bin" / "python").write_text("#!/bin/sh\nexit 3\n", "utf-8")
    remark = vllm_remark(config(seed=1))
    assert remark is not None
    assert (remark.level, "not checked" in remark.message) == (WARNING, True)


def test_without_vllm_it_is_checked_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/none")
    assert vllm_remark(DeployConfig(model="/m", engine="vllm")) is None
    remark = vllm_remark(config(seed=1))
    assert remark is not None
    assert remark.level == NOTE
