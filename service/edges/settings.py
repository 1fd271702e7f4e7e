"""Settings: environment variables with the prefix `RELAY_`, a `.env` file, a directory of secrets.

Read once, frozen. A `RELAY_…` name that does not exist is an error, wherever it stands: a slip of the
keyboard must not pass in silence. No message repeats a value, since any of them may be a secret.
"""

import base64
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.words.body import MAX_DESTINATIONS
from service.words.request import OnUnknown

PREFIX: Final = "RELAY_"
SECRETS: Final = "RELAY_SECRETS_DIR"
ENV_FILE: Final = ".env"

Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Secret = Annotated[SecretStr, Field(min_length=1)]

_WAYS: Final = (
    "RELAY_OMNI_API_KEY, RELAY_OMNI_USERNAME/_PASSWORD, RELAY_OMNI_TOKEN, RELAY_OMNI_CLIENT_ID/_CLIENT_SECRET"
)
_HOST: Final = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+", re.ASCII)


class SettingsError(Exception):
    """The configuration is wrong; the message names each setting, one a line."""


class Settings(BaseSettings):
    """Every setting there is; `deploy/env.example` tells them one by one."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    rabbitmq_url: Secret = SecretStr("amqp://guest:guest@localhost:5672/")
    rabbitmq_prefetch: Annotated[int, Field(ge=1, le=10_000)] = 100
    rabbitmq_max_bytes_in_flight: Annotated[int, Field(ge=2**20, le=2**40)] = 64 * 2**20
    rabbitmq_declare: bool = True
    rabbitmq_fast_lane: bool = True

    omni_base_url: str = "https://api.infobip.com"
    omni_allow_http: bool = False
    omni_api_key: Secret | None = None
    omni_username: str | None = None
    omni_password: Secret | None = None
    omni_token: Secret | None = None
    omni_client_id: str | None = None
    omni_client_secret: Secret | None = None
    omni_scenario_key: str | None = None
    omni_format: Literal["json", "xml"] = "json"
    omni_max_messages_per_call: Annotated[int, Field(ge=1, le=MAX_DESTINATIONS)] = 500
    omni_batching: bool = True
    omni_concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    replicas: Annotated[int, Field(ge=1, le=10_000)] = 1
    omni_messages_per_second: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] | None = None
    omni_log_queries_per_minute: Annotated[float, Field(gt=0, le=6000, allow_inf_nan=False)] = 100.0
    omni_connect_timeout: Seconds = 5.0
    omni_read_timeout: Seconds = 30.0

    retry_max_attempts: Annotated[int, Field(ge=1, le=1000)] = 8
    retry_base_delay: Annotated[float, Field(ge=0.01, le=86400, allow_inf_nan=False)] = 1.0
    retry_max_delay: Annotated[float, Field(ge=0.01, le=86400, allow_inf_nan=False)] = 300.0
    unknown_policy: OnUnknown = "resend"
    unknown_log_checks: Annotated[int, Field(ge=1, le=1000)] = 3

    http_host: str = "0.0.0.0"  # noqa: S104 - probes and scrapes come from other machines
    http_port: Annotated[int, Field(ge=0, le=65535)] = 9464

    log_format: Literal["json", "console"] | None = None
    log_lines_per_second: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    traces: bool = False

    reply_to: str = ""

    shutdown_grace: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 25.0

    @field_validator("rabbitmq_url")
    @classmethod
    def _amqp(cls, value: SecretStr) -> SecretStr:
        for url in value.get_secret_value().split(","):
            if not (parts := _parts(url)) or parts.scheme not in {"amqp", "amqps"}:
                raise PydanticCustomError("amqp_url", "must be amqp://… or amqps://…, several separated by commas")
        return value

    @field_validator("reply_to")
    @classmethod
    def _patterns(cls, value: str) -> str:
        if value and not all(pattern.strip() for pattern in value.split(",")):
            raise PydanticCustomError("patterns", "must be names of queues, separated by commas; * stands for any text")
        return value

    @field_validator("omni_base_url")
    @classmethod
    def _https(cls, value: str) -> str:
        given = value.strip()
        url = (given if "://" in given else f"https://{given}").rstrip("/")
        parts = _parts(url)
        if not parts or parts.scheme not in {"http", "https"} or "@" in parts.netloc or parts.query or parts.fragment:
            raise PydanticCustomError("base_url", "must be https://HOST, with nothing behind it but a path")
        return url

    @field_validator("omni_api_key", "omni_username", "omni_password", "omni_token")
    @classmethod
    def _one_line(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        secret = value.get_secret_value() if isinstance(value, SecretStr) else value
        if secret is not None and not secret.isprintable():
            raise PydanticCustomError("one_line", "must be one line of printable characters")
        return value

    @model_validator(mode="after")
    def _one_authorization(self) -> "Settings":
        if (self.omni_username is None) != (self.omni_password is None):
            raise PydanticCustomError("basic", "RELAY_OMNI_USERNAME and RELAY_OMNI_PASSWORD go together")
        if (self.omni_client_id is None) != (self.omni_client_secret is None):
            raise PydanticCustomError("oauth", "RELAY_OMNI_CLIENT_ID and RELAY_OMNI_CLIENT_SECRET go together")
        ways = (self.omni_api_key, self.omni_password, self.omni_token, self.omni_client_secret)
        if sum(way is not None for way in ways) > 1:
            raise PydanticCustomError("authorization", "set only one of {ways}", {"ways": _WAYS})
        url = urlsplit(self.omni_base_url)
        if url.scheme == "http" and not (self.omni_allow_http or _is_loopback(url.hostname or "")):
            raise PydanticCustomError(
                "https", "RELAY_OMNI_BASE_URL must be https://…; RELAY_OMNI_ALLOW_HTTP=true allows http://…"
            )
        if self.retry_base_delay > self.retry_max_delay:
            raise PydanticCustomError("delays", "RELAY_RETRY_BASE_DELAY must not exceed RELAY_RETRY_MAX_DELAY")
        return self

    @property
    def rabbitmq_urls(self) -> tuple[str, ...]:
        """Brokers to try, in turn."""
        return tuple(url.strip() for url in self.rabbitmq_url.get_secret_value().split(","))

    @property
    def reply_patterns(self) -> tuple[str, ...]:
        """Patterns of the queue names that `reply_to` may name."""
        return tuple(pattern.strip() for pattern in self.reply_to.split(",")) if self.reply_to else ()

    @property
    def own_rate(self) -> float | None:
        """This worker's share of `omni_messages_per_second`, messages a second."""
        return self.omni_messages_per_second and self.omni_messages_per_second / self.replicas

    @property
    def own_logs_rate(self) -> float:
        """This worker's share of `omni_log_queries_per_minute`, questions a minute."""
        return self.omni_log_queries_per_minute / self.replicas

    @property
    def omni_authorization(self) -> str | None:
        """The `Authorization` header's value; None where a client's id and secret are to fetch it.

        Raises `SettingsError` where no credentials are set.
        """
        if self.omni_api_key is not None:
            return f"App {self.omni_api_key.get_secret_value()}"
        if self.omni_token is not None:
            return f"Bearer {self.omni_token.get_secret_value()}"
        if self.omni_username is not None and self.omni_password is not None:
            pair = f"{self.omni_username}:{self.omni_password.get_secret_value()}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}"
        if self.omni_client_secret is not None:
            return None
        raise SettingsError(f"RELAY_OMNI_API_KEY: OMNI needs credentials; set one of {_WAYS}")


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises `SettingsError` that names every setting that is wrong."""
    secrets = Path(environ.get(SECRETS, "/run/secrets"))
    if SECRETS in environ and not secrets.is_dir():
        raise SettingsError(f"{SECRETS}: is not a directory")
    files = [path.name for path in secrets.iterdir()] if secrets.is_dir() else []
    dotenv = dotenv_values(ENV_FILE)
    if SECRETS in dotenv:
        raise SettingsError(f"{SECRETS}: must be an environment variable")
    _refuse_unknown([*environ, *dotenv, *files])
    try:
        return Settings(
            _env_file=ENV_FILE,
            _secrets_dir=secrets if files else None,
        )
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error))) from None  # the cause repeats the values


def _refuse_unknown(names: Iterable[str]) -> None:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {SECRETS}
    unknown = sorted({name for name in names if name.upper().startswith(PREFIX)} - known)
    unknown = [name for name in unknown if name.upper() not in known]
    if unknown:
        raise SettingsError("\n".join(f"{name}: there is no such setting" for name in unknown))


def _lines(error: ValidationError) -> Iterable[str]:
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        name = f"{PREFIX}{str(fault['loc'][0]).upper()}: " if fault["loc"] else ""
        yield name + fault["msg"].removeprefix("Input ")


def _parts(url: str) -> SplitResult | None:
    """Take a URL apart; None where it is none. The library's own error would repeat it, password and all."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.hostname and _HOST.fullmatch(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if usable else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
