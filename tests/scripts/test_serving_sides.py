"""scripts/bench serving: llama.cpp is started as a deployment does, and asked at its socket."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from serving_sides import llama_cpp

STAND_IN = f"""#!{sys.executable}
import http.server, json, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        choices = [{{"text": json.dumps([body["cache_prompt"], *sys.argv[1:5]])}}]
        self.do_GET()
        line = json.dumps({{"choices": choices, "usage": {{"completion_tokens": 3}}}})
        self.wfile.write(f"data: {{line}}\\n\\ndata: [DONE]\\n\\n".encode())
    def address_string(self):
        return ""
socketserver.UnixStreamServer(sys.argv[sys.argv.index("--host") + 1], Handler).serve_forever()
"""


def test_llama_cpp_answers_with_the_command_of_a_deployment(tmp_path: Path) -> None:
    program, file = tmp_path / "llama-server", tmp_path / "model.gguf"
    program.write_text(STAND_IN, "utf-8")
    program.chmod(0o700)
    with llama_cpp(tmp_path, program, file, 1) as server:
        answer = server.stream([1, 2], 3)
    assert answer.tokens == 3
    assert answer.text == f'[false, "--model", "{file}", "--alias", "model"]'


def test_the_error_of_a_server_that_ends_has_its_log(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho no such model\nexit 1\n", "utf-8")
    program.chmod(0o700)
    with (
        pytest.raises(SystemExit, match="no such model"),
        llama_cpp(tmp_path, program, tmp_path / "model.gguf", 1),
    ):
        pass
