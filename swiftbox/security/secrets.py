"""Which environment variables are secrets, and which hosts may receive the token of a hub.

A secret is recognised by its name (`HF_TOKEN`, `DB_PASSWORD`, `AWS_...`) or by a value that is an
address with a user name or a password. A child process gets only the secrets that it needs.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

HUB_TOKENS: Mapping[str, tuple[str, ...]] = {
    "modelscope": ("MODELSCOPE_API_TOKEN", "MODELSCOPE_SDK_TOKEN"),
    "huggingface": ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"),
}
"""For each hub: the variables that hold its access token, or the path of it."""

HUB_HOSTS: Mapping[str, tuple[str, ...]] = {
    "modelscope": (
        *("modelscope.cn", "www.modelscope.cn"),
        *("modelscope.ai", "www.modelscope.ai"),
    ),
    "huggingface": ("huggingface.co", "www.huggingface.co", "hf.co"),
}
"""For each hub: its own hosts. Other subdomains may be pages of its users."""

ENDPOINT_VARIABLES: Mapping[str, str] = {
    "modelscope": "MODELSCOPE_ENDPOINT",
    "huggingface": "HF_ENDPOINT",
}
"""For each hub: the variable by which its owner names other endpoints."""

REPORTER_SECRETS: Mapping[str, tuple[str, ...]] = {
    "wandb": ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"),
    "swanlab": ("SWANLAB_API_KEY",),
}
"""For each value of `report_to`: the variables with which its package signs in."""

PROXY_VARIABLES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy"),
)
"""Variables that name proxies; a value with a password is kept where the network is used."""

CLOUD_PREFIXES = (
    "AWS_",
    "AZURE_",
    "GCP_",
    "GOOGLE_",
    "CLOUDSDK_",
    "ALIYUN_",
    "ALIBABA_",
    "ALICLOUD_",
    "OSS_",
    "TENCENTCLOUD_",
    "HUAWEICLOUD_",
    "VOLCENGINE_",
    "OCI_",
    "VAULT_",
    "KUBECONFIG",
)
"""Beginnings of the variables with which the tools of clouds sign in."""

PASSWORD_ENDINGS = ("PASSWORD", "PASSWORDS", "PASSWD", "PASSPHRASE")
SECRET_ENDINGS = ("TOKEN", "TOKENS", "SECRET", "SECRETS", "KEY", "KEYS", *PASSWORD_ENDINGS)
"""Endings of a part of a name (`GITHUB_TOKEN`, `PGPASSWORD`, `AWS_SECRET_ACCESS_KEY`)."""

SECRET_PARTS = ("AUTH", "CREDENTIAL", "CREDENTIALS", "COOKIE", "COOKIES", "JWT", "PAT", "PASS")
"""Complete parts of a name; SSH_AUTH_SOCK has one: who reaches the agent can sign in with it."""

ACCOUNTS = ("GITHUB_", "GH_", "GITLAB_", "WANDB_", "SWANLAB_", "SSH_")
"""Beginnings of the variables of accounts that are no keys of a model's server."""

PASSED = "SWIFTBOX_PASS_SECRETS"
"""Names further secrets that all children get, such as the key of a reward function's server."""

LOOPBACK = ("localhost", "::1")


@dataclass(frozen=True)
class Send:
    """A secret that a run sends: the variable that holds it, the server, and what for."""

    variable: str
    host: str
    """Scheme, host and port, such as https://example.org:8000."""
    purpose: str
    """In the current language."""
    is_own_service: bool = False
    """Whether the variable belongs to the service that gets it."""

    @property
    def needs_consent(self) -> bool:
        """Tell whether it is a token of a hub, a cloud or another account, sent elsewhere."""
        return is_account(self.variable) and not self.is_own_service

    @property
    def is_encrypted(self) -> bool:
        """Tell whether nobody on the way can read it."""
        return not is_plain(self.host)


def is_secret(name: str, value: str = "") -> bool:
    """Tell whether an environment variable holds a secret, by its name or its value."""
    upper = name.upper()
    is_known = upper == "SSH_ASKPASS" or upper.endswith("_PWD")
    if is_known or upper.startswith(CLOUD_PREFIXES):
        return True
    parts = upper.split("_")
    if any(part in SECRET_PARTS or part.endswith(SECRET_ENDINGS) for part in parts):
        return True
    return has_credentials(value)


def has_credentials(value: str) -> bool:
    """Tell whether a value is an address with a user name or a password."""
    _, separator, rest = value.partition("://")
    return bool(separator) and "@" in rest.partition("/")[0]


def is_account(variable: str) -> bool:
    """Tell whether a variable belongs to a hub, a cloud or another account of its owner.

    Such a secret, like any password, is not the key of a model's server: sending it there needs
    the owner's consent.
    """
    upper = variable.upper()
    hubs = {name for names in HUB_TOKENS.values() for name in names}
    endings = (*PASSWORD_ENDINGS, "_PWD")
    is_password = any(part.endswith(endings) for part in (upper, *upper.split("_")))
    prefixes = (*CLOUD_PREFIXES, *ACCOUNTS, "HF_", "MODELSCOPE_")
    return upper in hubs or is_password or upper.startswith(prefixes)


def without_secrets(environment: Mapping[str, str], keep: Collection[str] = ()) -> dict[str, str]:
    """Return the variables that are no secrets, those of `keep`, and those the user passes on."""
    passed = environment.get(PASSED, "").replace(",", " ").split()
    return {
        name: value
        for name, value in environment.items()
        if name in keep or name in passed or not is_secret(name, value)
    }


def drop_secrets(keep: Collection[str]) -> None:
    """Remove the secrets that are not in `keep` from the environment of this process."""
    for name in os.environ.keys() - without_secrets(os.environ, keep).keys():
        del os.environ[name]


def hide_secrets(message: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace the values of secrets in a text by the names of their variables."""
    variables = os.environ if environment is None else environment
    for name, value in variables.items():
        secret = value.strip()
        if len(secret) > 5 and secret in message and is_secret(name, value):
            message = message.replace(secret, f"${name}")
    return message


def origin(address: str) -> str:
    """Return scheme, host and port of an address, without a password; http without a scheme."""
    parts = _split(address)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}"


def is_loopback(host: str) -> bool:
    """Tell whether a host can be reached from this machine only."""
    parts = host.split(".")
    is_ipv4 = len(parts) == 4 and all(part.isascii() and part.isdecimal() for part in parts)
    return host in LOOPBACK or (is_ipv4 and parts[0] == "127")


def is_plain(address: str) -> bool:
    """Tell whether what is sent to an address crosses a network without encryption."""
    parts = _split(address)
    return parts.scheme != "https" and not is_loopback(parts.hostname or "")


def may_have_token(hub: str, endpoint: str, environment: Mapping[str, str] | None = None) -> bool:
    """Tell whether an endpoint may receive the token of a hub.

    It may if it is a host of the hub, or if the environment names it (HF_ENDPOINT,
    MODELSCOPE_ENDPOINT): a config, which others may have written, is not enough. It never may over
    a connection that others can read.
    """
    variables = os.environ if environment is None else environment
    try:
        parts, port = _split(endpoint), _split(endpoint).port
    except ValueError:
        return False
    if is_plain(endpoint) or not parts.hostname or is_ambiguous(endpoint):
        return False
    chosen = variables.get(ENDPOINT_VARIABLES[hub], "").replace(",", " ").split()
    if any(_same_origin(endpoint, name) for name in chosen):
        return True
    is_hub = parts.hostname in HUB_HOSTS[hub]
    return is_hub and parts.scheme == "https" and port in (None, 443)


def is_ambiguous(address: str) -> bool:
    """Tell whether programs may read different hosts in an address.

    A backslash ends the host for some, a user name before @ looks like one, and Unicode has
    letters that look like others.
    """
    authority = address.partition("://")[2] or address
    authority = authority.partition("/")[0]
    return not authority.isascii() or any(
        letter in "\\@" or letter.isspace() or not letter.isprintable() for letter in authority
    )


def _same_origin(endpoint: str, chosen: str) -> bool:
    """Compare the origins of two endpoints; one without a scheme is meant as https."""
    try:
        return origin(endpoint) == origin(chosen if "://" in chosen else f"https://{chosen}")
    except ValueError:
        return False


def _split(address: str) -> SplitResult:
    address = address.strip()
    return urlsplit(address if "://" in address else f"http://{address}")
