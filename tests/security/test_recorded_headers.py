"""Which server gets which credentials: recording servers on loopback, in many scenarios.

The table of the scenarios is printed (`pytest -s`). Hubs are asked by the real SDKs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from box import HANG_S
from fake_hub import Hub, Repository, hub

HERE = Path(__file__).parent

TOKENS = {"modelscope": "ms-secret-token", "huggingface": "hf_secret-token"}
VARIABLES = {"modelscope": "MODELSCOPE_API_TOKEN", "huggingface": "HF_TOKEN"}
ENDPOINTS = {"modelscope": "MODELSCOPE_ENDPOINT", "huggingface": "HF_ENDPOINT"}
OTHER = {"modelscope": "huggingface", "huggingface": "modelscope"}
SAVED = "saved-secret-token"
NETRC = "default login someone password netrc-secret\n"

FILES: Mapping[str, bytes] = {"config.json": b"{}", "model.safetensors": b"weights"}
MIRROR = "http://mirror.example"
"""A host that only a proxy reaches."""


@dataclass
class Scenario:
    """A download, the servers that take part by their role, and who may see a secret."""

    name: str
    hub: str
    set_up: Callable[[Scenario], None]
    may_see: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For each role: the secrets that it sees; all others see none."""
    kind: str = "model"
    saved: str | None = None
    variables: dict[str, str | None] = field(default_factory=dict)
    endpoints: list[str] = field(default_factory=list)
    twins: dict[str, str] = field(default_factory=dict)
    servers: dict[str, Hub] = field(default_factory=dict)
    fails: bool = False

    @property
    def id(self) -> str:
        return f"o/{self.name.replace(' ', '-').replace(',', '')}-{self.hub}"

    def serve(self, stack: contextlib.ExitStack) -> None:
        """Start three servers with the repository, none of them asking for a token."""
        repository = Repository(self.id, FILES, kind=self.kind)
        for role in ("first", "second", "third"):
            self.servers[role] = stack.enter_context(hub(repository))
        self.variables |= {
            **{VARIABLES[hub]: TOKENS[hub] for hub in VARIABLES},
            **{ENDPOINTS[hub]: self.servers["third"].address for hub in ENDPOINTS},
        }
        self.set_up(self)

    def address(self, role: str) -> str:
        return self.servers[role].address

    def seen(self, role: str) -> set[str]:
        """Return the secrets in the headers of all requests to a server, and its proxy's."""
        headers = " ".join(
            header for entry in self.servers[role].log for header in entry.credentials
        )
        secrets = (*TOKENS.values(), SAVED)
        seen = {secret for secret in secrets if secret in headers}
        if "Basic" in headers.replace("Proxy-Authorization: Basic", ""):
            seen.add("netrc")
        if "Proxy-Authorization: Basic" in headers:
            seen.add("proxy")
        return seen

    def to_dict(self) -> dict[str, Any]:
        keys = ("id", "kind", "hub", "saved", "variables", "endpoints", "twins")
        return {key: getattr(self, key) for key in keys}


def by_environment(scenario: Scenario) -> None:
    scenario.variables[ENDPOINTS[scenario.hub]] = scenario.address("first")


def by_config(scenario: Scenario) -> None:
    scenario.endpoints = [scenario.address("first")]


def by_both(scenario: Scenario) -> None:
    by_environment(scenario)
    by_config(scenario)


def redirected_to_port(scenario: Scenario) -> None:
    by_environment(scenario)
    scenario.servers["first"].storage = scenario.address("second")


def redirected_to_host(scenario: Scenario) -> None:
    by_environment(scenario)
    storage = scenario.address("second").replace("127.0.0.1", "localhost")
    scenario.servers["first"].storage = storage


def falls_back_to_mirror(scenario: Scenario) -> None:
    scenario.servers["first"].broken = 404
    scenario.endpoints = [scenario.address("first"), scenario.address("second")]


def falls_back_to_other_hub(scenario: Scenario) -> None:
    by_environment(scenario)
    scenario.servers["first"].broken = 404
    scenario.variables[ENDPOINTS[OTHER[scenario.hub]]] = scenario.address("second")
    scenario.twins = {f"{scenario.hub}:{scenario.id}": scenario.id}


def with_proxy(scenario: Scenario, *, login: str = "") -> None:
    """Let the first server be a proxy for a host that is not on this machine."""
    proxy = scenario.address("first").replace("//", f"//{login}")
    scenario.variables |= {"http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": "127.0.0.1"}


def plain_by_environment(scenario: Scenario) -> None:
    with_proxy(scenario)
    scenario.variables[ENDPOINTS[scenario.hub]] = MIRROR


def plain_by_config(scenario: Scenario) -> None:
    with_proxy(scenario)
    scenario.endpoints = [MIRROR]


def by_proxy_with_password(scenario: Scenario) -> None:
    with_proxy(scenario, login="me:proxy-password@")
    scenario.endpoints = [MIRROR]


def logged_in(set_up: Callable[[Scenario], None]) -> Callable[[Scenario], None]:
    def change(scenario: Scenario) -> None:
        set_up(scenario)
        scenario.saved = SAVED
        scenario.variables |= dict.fromkeys(VARIABLES.values())

    return change


def with_netrc(set_up: Callable[[Scenario], None]) -> Callable[[Scenario], None]:
    def change(scenario: Scenario) -> None:
        set_up(scenario)
        scenario.variables["NETRC"] = os.environ["SCENARIO_NETRC"]

    return change


def scenarios(hub_name: str) -> Iterator[Scenario]:
    """Yield the scenarios of a hub."""
    token = (TOKENS[hub_name],)
    other = (TOKENS[OTHER[hub_name]],)
    yield Scenario("endpoint in environment", hub_name, by_environment, {"first": token})
    yield Scenario("endpoint in config", hub_name, by_config)
    yield Scenario("endpoint in both", hub_name, by_both, {"first": token})
    yield Scenario("dataset", hub_name, by_environment, {"first": token}, kind="dataset")
    yield Scenario("dataset, config", hub_name, by_config, kind="dataset")
    yield Scenario("redirect to another port", hub_name, redirected_to_port, {"first": token})
    yield Scenario("redirect to another host", hub_name, redirected_to_host, {"first": token})
    yield Scenario("fallback to a mirror", hub_name, falls_back_to_mirror)
    yield Scenario(
        "fallback to the other hub",
        hub_name,
        falls_back_to_other_hub,
        {"first": token, "second": other},
    )
    yield Scenario("http, environment", hub_name, plain_by_environment)
    yield Scenario("http, config", hub_name, plain_by_config)
    yield Scenario("proxy with password", hub_name, by_proxy_with_password, {"first": ("proxy",)})
    yield Scenario("login, config", hub_name, logged_in(by_config))
    yield Scenario("login, environment", hub_name, logged_in(by_environment), {"first": (SAVED,)})
    yield Scenario("netrc, config", hub_name, with_netrc(by_config))
    yield Scenario("netrc, redirect", hub_name, with_netrc(redirected_to_port), {"first": token})


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Scenario]]:
    """All scenarios of both hubs, played in one process; the table of what was seen is printed."""
    folder = tmp_path_factory.mktemp("scenarios")
    netrc = folder / "netrc"
    netrc.write_text(NETRC)
    os.environ["SCENARIO_NETRC"] = str(netrc)
    played = [scenario for name in TOKENS for scenario in scenarios(name)]
    with contextlib.ExitStack() as stack:
        for scenario in played:
            scenario.serve(stack)
        done = subprocess.run(
            [sys.executable, str(HERE / "hub_scenarios.py")],
            input=json.dumps([scenario.to_dict() for scenario in played]),
            env=environment(folder),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_S,
        )
        assert done.returncode == 0, done.stderr
        for scenario, line in zip(played, done.stdout.splitlines(), strict=True):
            outcome = json.loads(line)
            assert outcome["error"] == "", (scenario.name, outcome)
            row = {role: sorted(scenario.seen(role)) for role in scenario.servers}
            sys.stdout.write(f"{scenario.hub:12} {scenario.name:28} {row}\n")
        yield played


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a new machine, without proxies and tokens."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name not in ("HF_HUB_OFFLINE", "HF_TOKEN")
    }
    return {
        **inherited,
        "HOME": str(folder),
        "SWIFTBOX_HOME": str(folder / "state"),
        "MODELSCOPE_CACHE": str(folder / "ms"),
        "HF_HOME": str(folder / "hf"),
        "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", "")])),
    }


def test_a_token_reaches_only_the_servers_of_its_owner(played: list[Scenario]) -> None:
    wrong = [
        f"{scenario.hub}, {scenario.name}: {role} saw {sorted(scenario.seen(role))}"
        for scenario in played
        for role in scenario.servers
        if scenario.seen(role) != set(scenario.may_see.get(role, ()))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_scenario_asks_its_servers(played: list[Scenario]) -> None:
    for scenario in played:
        assert scenario.servers["first"].log, scenario.name
        assert not scenario.servers["third"].log, scenario.name
