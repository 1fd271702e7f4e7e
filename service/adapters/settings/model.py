"""Every setting with its bounds, and values derived from them. No message repeats a value: any may be a secret.

One file, although it is long: a setting, its check and the values derived from it are changed together.
"""

import base64
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.adapters.settings.checks import (
    VISIBLE,
    broker_fault,
    certificate_fault,
    is_host,
    is_loopback,
    memory_fault,
    proxy_fault,
    reports_token_fault,
    reports_url_fault,
    token_url_fault,
    url_parts,
)
from service.core.request.body import MAX_DESTINATIONS
from service.core.request.request import OnUnknown

PREFIX: Final = "RELAY_"
NO_PROXY: Final = "none"

Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Secret = Annotated[SecretStr, Field(min_length=1)]

_WAYS: Final = (
    "RELAY_OMNI_API_KEY, RELAY_OMNI_USERNAME/_PASSWORD, RELAY_OMNI_TOKEN, RELAY_OMNI_CLIENT_ID/_CLIENT_SECRET"
)


SECRETS_IN_USE: Final = (
    "rabbitmq_url",
    "omni_api_key",
    "omni_password",
    "omni_token",
    "omni_client_secret",
    "omni_proxy",
    "rabbitmq_oauth_client_secret",
    "rabbitmq_oauth_proxy",
    "memory_url",
    "reports_token",
)
ROTATING: Final = frozenset({*SECRETS_IN_USE, "omni_username", "omni_client_id", "rabbitmq_oauth_client_id", "ca_file"})
"""Settings that a running worker takes over when their files change."""
_WAY_NAMES: Final = frozenset(
    {"omni_api_key", "omni_username", "omni_password", "omni_token", "omni_client_id", "omni_client_secret"}
)
"""One way to authorize may be exchanged for another one."""


class SettingsError(Exception):
    """The configuration is wrong; the message names each setting, one a line."""


class Settings(BaseSettings):
    """Every setting there is; `deploy/env.example` explains each. `load_settings` reads them."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    rabbitmq_url: Secret = SecretStr("amqp://guest:guest@localhost:5672/")
    rabbitmq_prefetch: Annotated[int, Field(ge=1, le=10_000)] = 100
    rabbitmq_urgent_prefetch: Annotated[int, Field(ge=1, le=10_000)] = 100
    rabbitmq_max_bytes_in_flight: Annotated[int, Field(ge=2**20, le=2**40)] = 48 * 2**20
    rabbitmq_declare: bool = True
    rabbitmq_fast_path: bool = True
    rabbitmq_oauth_token_url: str | None = None
    rabbitmq_oauth_client_id: str | None = None
    rabbitmq_oauth_client_secret: Secret | None = None
    rabbitmq_oauth_scope: str | None = None
    rabbitmq_oauth_proxy: Secret | None = None

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
    omni_connection_lifetime: Annotated[float, Field(ge=1, le=86400, allow_inf_nan=False)] = 60.0
    omni_proxy: Secret | None = None

    retry_max_attempts: Annotated[int, Field(ge=1, le=1000)] = 8
    retry_base_delay: Annotated[float, Field(ge=0.01, le=86400, allow_inf_nan=False)] = 1.0
    retry_max_delay: Annotated[float, Field(ge=0.01, le=86400, allow_inf_nan=False)] = 300.0
    unknown_policy: OnUnknown = "resend"
    unknown_log_checks: Annotated[int, Field(ge=1, le=1000)] = 3

    ca_file: str | None = None

    reports_url: str | None = None
    reports_token: Secret | None = None
    reports_host: str = "0.0.0.0"  # noqa: S104 - OMNI pushes from the internet
    reports_port: Annotated[int, Field(ge=0, le=65535)] = 8080

    http_host: str = "0.0.0.0"  # noqa: S104 - probes and scrapes come from other machines
    http_port: Annotated[int, Field(ge=0, le=65535)] = 9464

    log_format: Literal["json", "console"] | None = None
    log_lines_per_second: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    traces: bool = False

    reply_to: str = ""

    memory_url: Secret | None = None
    memory_ttl: Annotated[int, Field(ge=60, le=31_536_000)] = 172_800
    memory_required: bool = False

    hold_scheduled: bool = False

    shutdown_grace: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 25.0

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # the library passes the sources by name
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's own signature
        init_settings: PydanticBaseSettingsSource,
        **_: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only what `load_settings` has read. The library's own sources would expand `${NAME}` in an env file."""
        return (init_settings,)

    @field_validator("rabbitmq_url")
    @classmethod
    def _amqp(cls, value: SecretStr) -> SecretStr:
        for url in value.get_secret_value().split(","):
            if (fault := broker_fault(url.strip())) is not None:
                raise PydanticCustomError("amqp_url", "{fault}", {"fault": fault})
        return value

    @field_validator("memory_url")
    @classmethod
    def _memory(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (fault := memory_fault(value.get_secret_value())) is not None:
            raise PydanticCustomError("memory_url", "{fault}", {"fault": fault})
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
        # Searched in the text: urlsplit drops line breaks and empty queries.
        if (
            not VISIBLE.fullmatch(url)
            or any(character in url for character in "@?#\\")
            or not (parts := url_parts(url))
            or parts.scheme not in {"http", "https"}
        ):
            raise PydanticCustomError("base_url", "must be https://HOST, with nothing after it but a path")
        return url

    @field_validator("rabbitmq_oauth_token_url")
    @classmethod
    def _token_server(cls, value: str | None) -> str | None:
        url = value and value.strip()
        if url is not None and (fault := token_url_fault(url)):
            raise PydanticCustomError("token_url", "{fault}", {"fault": fault})
        return url

    @field_validator("omni_proxy", "rabbitmq_oauth_proxy")
    @classmethod
    def _proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or value.get_secret_value().lower() == NO_PROXY:
            return None if value is None else SecretStr(NO_PROXY)
        given = value.get_secret_value().strip()
        url = given if "://" in given else f"http://{given}"  # as curl and others have it
        if (fault := proxy_fault(url)) is not None:
            raise PydanticCustomError("proxy", "{fault}", {"fault": fault})
        return SecretStr(url)

    @field_validator("omni_api_key", "omni_token")
    @classmethod
    def _visible(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not VISIBLE.fullmatch(value.get_secret_value()):
            raise PydanticCustomError("visible", "must be one line of ASCII characters without spaces")
        return value

    @field_validator(
        *("omni_username", "omni_password", "omni_client_id", "omni_client_secret", "omni_scenario_key"),
        *("rabbitmq_oauth_client_id", "rabbitmq_oauth_client_secret", "rabbitmq_oauth_scope"),
    )
    @classmethod
    def _one_line(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is not None and not text.isprintable():
            raise PydanticCustomError("one_line", "must be one line of printable characters")
        return value

    @field_validator("omni_username")
    @classmethod
    def _no_colon(cls, value: str | None) -> str | None:
        if value is not None and ":" in value:  # it would end there (RFC 7617, section 2)
            raise PydanticCustomError("colon", "must not contain a colon")
        return value

    @field_validator("ca_file")
    @classmethod
    def _certificates(cls, value: str | None) -> str | None:
        if value is not None and certificate_fault({"cafile": value}) is not None:
            raise PydanticCustomError("ca_file", "must name a file of certificates (PEM)")
        return value

    @field_validator("reports_url")
    @classmethod
    def _reports_address(cls, value: str | None) -> str | None:
        url = value and value.strip().rstrip("/")
        if url is not None and (fault := reports_url_fault(url)):
            raise PydanticCustomError("reports_url", "{fault}", {"fault": fault})
        return url

    @field_validator("reports_token")
    @classmethod
    def _reports_tokens(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (fault := reports_token_fault(value.get_secret_value())):
            raise PydanticCustomError("reports_token", "{fault}", {"fault": fault})
        return value

    @field_validator("http_host", "reports_host")
    @classmethod
    def _listens(cls, value: str) -> str:
        if not is_host(value):
            raise PydanticCustomError("host", "must be an address or the name of a host")
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
        if url.scheme == "http" and not (self.omni_allow_http or is_loopback(url.hostname or "")):
            raise PydanticCustomError(
                "https", "RELAY_OMNI_BASE_URL must be https://…; RELAY_OMNI_ALLOW_HTTP=true allows http://…"
            )
        if self.reports_url is not None:
            if self.reports_token is None:
                raise PydanticCustomError("reports", "RELAY_REPORTS_URL needs RELAY_REPORTS_TOKEN")
            reports = urlsplit(self.reports_url)
            if reports.scheme == "http" and not (self.omni_allow_http or is_loopback(reports.hostname or "")):
                raise PydanticCustomError(
                    "https", "RELAY_REPORTS_URL must be https://…; RELAY_OMNI_ALLOW_HTTP=true allows http://…"
                )
        self._require_oauth_client()
        if self.memory_required and self.memory_url is None:
            raise PydanticCustomError("memory", "RELAY_MEMORY_REQUIRED needs RELAY_MEMORY_URL")
        if self.retry_base_delay > self.retry_max_delay:
            raise PydanticCustomError("delays", "RELAY_RETRY_BASE_DELAY must not exceed RELAY_RETRY_MAX_DELAY")
        return self

    def _require_oauth_client(self) -> None:
        client = (self.rabbitmq_oauth_token_url, self.rabbitmq_oauth_client_id, self.rabbitmq_oauth_client_secret)
        if self.rabbitmq_oauth_token_url is None:
            if any((*client, self.rabbitmq_oauth_scope, self.rabbitmq_oauth_proxy)):
                raise PydanticCustomError("oauth", "RELAY_RABBITMQ_OAUTH_… needs RELAY_RABBITMQ_OAUTH_TOKEN_URL")
            return
        if None in client:
            raise PydanticCustomError(
                "oauth",
                "RELAY_RABBITMQ_OAUTH_TOKEN_URL needs RELAY_RABBITMQ_OAUTH_CLIENT_ID and "
                "RELAY_RABBITMQ_OAUTH_CLIENT_SECRET",
            )
        url = urlsplit(self.rabbitmq_oauth_token_url)
        if url.scheme == "http" and not (self.omni_allow_http or is_loopback(url.hostname or "")):
            raise PydanticCustomError("https", "RELAY_RABBITMQ_OAUTH_TOKEN_URL must be https://…")
        if any(
            "external" in dict(parse_qsl(urlsplit(one).query)).get("auth", "").lower() for one in self.rabbitmq_urls
        ):
            raise PydanticCustomError(
                "oauth",
                "RELAY_RABBITMQ_URL has auth=external, which sends no token; remove it or RELAY_RABBITMQ_OAUTH_…",
            )

    @property
    def rabbitmq_oauth_proxy_url(self) -> str | None:
        """The proxy towards RabbitMQ's token server, with its password."""
        url = NO_PROXY if self.rabbitmq_oauth_proxy is None else self.rabbitmq_oauth_proxy.get_secret_value()
        return None if url == NO_PROXY else url

    @property
    def rabbitmq_urls(self) -> tuple[str, ...]:
        """Brokers to try, in turn. Each `amqps://` URL names `ca_file`, if there is one, as its `cafile`."""
        urls = (url.strip() for url in self.rabbitmq_url.get_secret_value().split(","))
        return tuple(map(self._with_authorities, urls))

    @property
    def omni_proxy_url(self) -> str | None:
        """The proxy towards OMNI, with its password."""
        url = NO_PROXY if self.omni_proxy is None else self.omni_proxy.get_secret_value()
        return None if url == NO_PROXY else url

    def _with_authorities(self, url: str) -> str:
        parts = urlsplit(url)
        if self.ca_file is None or parts.scheme != "amqps" or "cafile" in dict(parse_qsl(parts.query)):
            return url
        return f"{url}{'&' if parts.query else '?'}cafile={quote(self.ca_file, safe='')}"

    @property
    def reply_patterns(self) -> tuple[str, ...]:
        """Patterns of the queue names that `reply_to` may name."""
        return tuple(pattern.strip() for pattern in self.reply_to.split(",")) if self.reply_to else ()

    @property
    def reports_tokens(self) -> tuple[str, ...]:
        """Tokens that pushes may have; calls name the first."""
        token = self.reports_token
        return tuple(one.strip() for one in token.get_secret_value().split(",")) if token else ()

    @property
    def own_rate(self) -> float | None:
        """This worker's share of `omni_messages_per_second`, messages a second."""
        return self.omni_messages_per_second and self.omni_messages_per_second / self.replicas

    @property
    def own_logs_rate(self) -> float:
        """This worker's share of `omni_log_queries_per_minute`, lookups a minute."""
        return self.omni_log_queries_per_minute / self.replicas

    @property
    def omni_authorization(self) -> str | None:
        """The `Authorization` header's value; None if an OAuth client's id and secret are used to fetch it.

        Raises `SettingsError` if no credentials are set.
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

    def rotated(self, new: "Settings") -> "Settings":
        """Return these settings with the `ROTATING` ones of `new`.

        One that `new` lacks is kept. Its file may be missing for a moment, and its default could be another broker, or
        a way around the proxy.
        """
        names = ROTATING - self._missing_in(new)
        return self.model_copy(update={name: getattr(new, name) for name in names})

    def needing_restart(self, new: "Settings") -> list[str]:
        """List the variables that differ in `new` and are read only at start, and those that it lacks."""
        missing = self._missing_in(new)
        names = [name for name in type(self).model_fields if name not in ROTATING or name in missing]
        return [f"{PREFIX}{name}".upper() for name in names if getattr(self, name) != getattr(new, name)]

    def _missing_in(self, new: "Settings") -> frozenset[str]:
        return (ROTATING & self.model_fields_set) - new.model_fields_set - _WAY_NAMES

    @property
    def secrets_in_use(self) -> dict[str, str]:
        """The secrets that are set, by their variables."""
        found = {name: getattr(self, name) for name in SECRETS_IN_USE}
        return {
            f"{PREFIX}{name}".upper(): value.get_secret_value() for name, value in found.items() if value is not None
        }
