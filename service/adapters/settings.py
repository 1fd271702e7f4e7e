"""Settings: environment variables with the prefix `RELAY_`, a directory of secrets, and an env file if one is named.

Read once, frozen. Nothing is read from the working directory unless it is named: whoever can write there could name
the server that gets the API key. A `RELAY_…` name that does not exist is an error, wherever it stands: a typing error
must not pass unnoticed. No message repeats a value, since any of them may be a secret.
"""

import base64
import io
import ipaddress
import os
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.core.request.body import MAX_DESTINATIONS
from service.core.request.request import OnUnknown

PREFIX: Final = "RELAY_"
SECRETS: Final = "RELAY_SECRETS_DIR"
ENV_FILE: Final = "RELAY_ENV_FILE"

Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Secret = Annotated[SecretStr, Field(min_length=1)]

_WAYS: Final = (
    "RELAY_OMNI_API_KEY, RELAY_OMNI_USERNAME/_PASSWORD, RELAY_OMNI_TOKEN, RELAY_OMNI_CLIENT_ID/_CLIENT_SECRET"
)
_HOST: Final = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+", re.ASCII)
_HOST_AND_PORT: Final = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+)(:[0-9]{1,5})?", re.ASCII)
_MAX_HOST, _MAX_LABEL, _MAX_VHOST = 253, 63, 255
_VISIBLE: Final = re.compile(r"[!-~]+")
"""ASCII without spaces: what may stand in a header or a URL."""
_KUBERNETES: Final = re.compile(
    r"RELAY_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]{16,200}", re.ASCII)
"""What may stand in a path as it is (RFC 3986, 2.3)."""
_MAX_REPORTS_URL: Final = 1800
"""Characters: with the token it is below the 2048 of other products of the vendor."""
_NUMBERS: Final = {"heartbeat": range(65536), "timeout": range(1, 3601)}
_FILES: Final = frozenset({"cafile", "capath", "certfile", "keyfile"})
_PARAMETERS: Final = frozenset({*_NUMBERS, *_FILES, "auth", "name"})
"""Of a broker's URL. The library's own list has one that switches off the verification of certificates."""
_AUTH: Final = frozenset({"plain", "amqplain", "external"})
_BROKER_URL: Final = (
    "must be amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…, several separated by commas; "
    "percent-encode / ? # @ , in user, password and virtual host (%2F %3F %23 %40 %2C)"
)


class SettingsError(Exception):
    """The configuration is wrong; the message names each setting, one a line."""


class Settings(BaseSettings):
    """Every setting there is; `deploy/env.example` explains each. `load_settings` reads them."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    rabbitmq_url: Secret = SecretStr("amqp://guest:guest@localhost:5672/")
    rabbitmq_prefetch: Annotated[int, Field(ge=1, le=10_000)] = 100
    rabbitmq_max_bytes_in_flight: Annotated[int, Field(ge=2**20, le=2**40)] = 48 * 2**20
    rabbitmq_declare: bool = True
    rabbitmq_fast_path: bool = True

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

    shutdown_grace: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 25.0

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # the library passes the sources by name
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's own signature
        init_settings: PydanticBaseSettingsSource,
        **_: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load_settings` has read. The library's own sources would expand `${NAME}` in an env file."""
        return (init_settings,)

    @field_validator("rabbitmq_url")
    @classmethod
    def _amqp(cls, value: SecretStr) -> SecretStr:
        for url in value.get_secret_value().split(","):
            if (fault := _broker_fault(url.strip())) is not None:
                raise PydanticCustomError("amqp_url", "{fault}", {"fault": fault})
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
        # Looked for in the text: the library drops line breaks and empty queries before it takes a URL apart.
        if (
            not _VISIBLE.fullmatch(url)
            or any(character in url for character in "@?#\\")
            or not (parts := _parts(url))
            or parts.scheme not in {"http", "https"}
        ):
            raise PydanticCustomError("base_url", "must be https://HOST, with nothing behind it but a path")
        return url

    @field_validator("omni_api_key", "omni_token")
    @classmethod
    def _visible(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _VISIBLE.fullmatch(value.get_secret_value()):
            raise PydanticCustomError("visible", "must be one line of ASCII characters without spaces")
        return value

    @field_validator("omni_username", "omni_password", "omni_client_id", "omni_client_secret", "omni_scenario_key")
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
        if value is not None and _certificate_fault({"cafile": value}) is not None:
            raise PydanticCustomError("ca_file", "must name a file of certificates (PEM)")
        return value

    @field_validator("reports_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = value.strip().rstrip("/")
        parts = _parts(url)
        if (
            not _VISIBLE.fullmatch(url)
            or any(character in url for character in '@?#\\"<>')
            or len(url) > _MAX_REPORTS_URL
            or not parts
            or parts.scheme not in {"http", "https"}
        ):
            raise PydanticCustomError("reports_url", "must be https://HOST/PATH, with nothing behind it")
        return url

    @field_validator("reports_token")
    @classmethod
    def _tokens(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not all(
            _TOKEN.fullmatch(token.strip()) for token in value.get_secret_value().split(",")
        ):
            raise PydanticCustomError(
                "reports_token",
                "must be 16 to 200 characters of A-Z a-z 0-9 - . _ ~; several, separated by commas, to change it",
            )
        return value

    @field_validator("http_host", "reports_host")
    @classmethod
    def _listens(cls, value: str) -> str:
        if not _is_host(value):
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
        if url.scheme == "http" and not (self.omni_allow_http or _is_loopback(url.hostname or "")):
            raise PydanticCustomError(
                "https", "RELAY_OMNI_BASE_URL must be https://…; RELAY_OMNI_ALLOW_HTTP=true allows http://…"
            )
        if self.reports_url is not None:
            if self.reports_token is None:
                raise PydanticCustomError("reports", "RELAY_REPORTS_URL needs RELAY_REPORTS_TOKEN")
            url = urlsplit(self.reports_url)
            if url.scheme == "http" and not (self.omni_allow_http or _is_loopback(url.hostname or "")):
                raise PydanticCustomError(
                    "https", "RELAY_REPORTS_URL must be https://…; RELAY_OMNI_ALLOW_HTTP=true allows http://…"
                )
        if self.retry_base_delay > self.retry_max_delay:
            raise PydanticCustomError("delays", "RELAY_RETRY_BASE_DELAY must not exceed RELAY_RETRY_MAX_DELAY")
        return self

    @property
    def rabbitmq_urls(self) -> tuple[str, ...]:
        """Brokers to try, in turn; with TLS, each names the file of further authorities, if there is one."""
        urls = (url.strip() for url in self.rabbitmq_url.get_secret_value().split(","))
        return tuple(map(self._with_authorities, urls))

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


def load_settings(environ: Mapping[str, str] = os.environ, env_file: str | None = None) -> Settings:
    """Read the settings: the environment goes before the env file, and that before the secrets.

    `env_file` is the file that the command line names. Raises `SettingsError` that names every setting that is wrong.
    """
    files = _secret_files(environ)
    named = _read_env_file(environ, env_file)
    _refuse_unknown([*environ, *named, *files])
    if places := sorted({SECRETS, ENV_FILE} & {name.upper() for name in (*named, *files)}):
        raise SettingsError("\n".join(f"{name}: must be an environment variable" for name in places))
    faults: list[str] = []
    given = {
        **dict(_secrets(files, faults)),
        **{name.upper(): value for name, value in (*named.items(), *environ.items()) if value},
    }
    for name, value in given.items():
        if name.startswith(PREFIX) and not _is_unicode(value):
            faults.append(f"{name}: is not UTF-8")
    if faults:
        raise SettingsError("\n".join(faults))
    fields: dict[str, Any] = {
        name: given[_variable(name)] for name in Settings.model_fields if _variable(name) in given
    }
    try:
        return Settings(**fields)
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error))) from None  # the cause repeats the values


def named_env_file(environ: Mapping[str, str], env_file: str | None) -> str | None:
    """Give the env file that is to be read, if one is named."""
    return env_file or _place(environ, ENV_FILE)


def _place(environ: Mapping[str, str], name: str) -> str | None:
    """Give where else to read, if a variable says so; in any letter case, as settings have it."""
    return environ.get(name) or next((value for key, value in environ.items() if key.upper() == name and value), None)


def _variable(field: str) -> str:
    return f"{PREFIX}{field}".upper()


def _secret_files(environ: Mapping[str, str]) -> dict[str, Path]:
    named = _place(environ, SECRETS)
    folder = Path(named or "/run/secrets")
    try:
        if folder.is_dir():
            return {path.name: path for path in sorted(folder.iterdir())}
        if named:
            raise SettingsError(f"{SECRETS}: is not a directory")
        return {}  # noqa: TRY300 - it belongs to the conditions above
    except OSError as error:
        raise SettingsError(f"{SECRETS}: cannot be read ({type(error).__name__})") from None


def _secrets(files: Mapping[str, Path], faults: list[str]) -> Iterator[tuple[str, str]]:
    for name, path in files.items():
        if name.upper().startswith(PREFIX):
            try:
                value = path.read_bytes().decode().strip()
            except OSError as error:
                faults.append(f"{name}: its file cannot be read ({type(error).__name__})")
            except UnicodeDecodeError:
                faults.append(f"{name}: its file is not UTF-8")
            else:
                if not value:
                    faults.append(f"{name}: its file is empty")
                yield name.upper(), value


def _read_env_file(environ: Mapping[str, str], env_file: str | None) -> dict[str, str]:
    """Read an env file; `${NAME}` in it is text. Raises `SettingsError`."""
    path = named_env_file(environ, env_file)
    if path is None:
        return {}
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{ENV_FILE}: the file is not UTF-8") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{ENV_FILE}: the file cannot be read ({type(error).__name__})") from None
    values: dict[str, str] = {}
    for line in parse_stream(io.StringIO(text)):
        if line.error or (line.key is not None and line.value is None):
            raise SettingsError(f"{ENV_FILE}: line {line.original.line} of the file is not NAME=VALUE")
        if line.key is not None:
            values[line.key] = line.value or ""
    return values


def _refuse_unknown(names: Iterable[str]) -> None:
    known = {*map(_variable, Settings.model_fields), SECRETS, ENV_FILE}
    unknown = sorted({name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known})
    if unknown:
        raise SettingsError("\n".join(f"{name}: {_unknown(name)}" for name in unknown))


def _unknown(name: str) -> str:
    if _KUBERNETES.fullmatch(name):
        return "Kubernetes sets it beside a Service called relay; say enableServiceLinks: false in the pod's spec"
    return "there is no such setting"


def _is_unicode(text: str) -> bool:
    """Tell whether it could be decoded; Python keeps bytes of the environment that could not as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _lines(error: ValidationError) -> Iterable[str]:
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        name = f"{_variable(str(fault['loc'][0]))}: " if fault["loc"] else ""
        yield name + fault["msg"].removeprefix("Input ")


def _broker_fault(url: str) -> str | None:
    """Say what is wrong with a broker's URL, without repeating any of it."""
    parts = _parts(url)
    if (
        not parts
        or parts.scheme not in {"amqp", "amqps"}
        or not url.isprintable()
        or " " in url
        or "\\" in parts.netloc
    ):
        return _BROKER_URL
    # Behind an unencoded / ? or # of a password, the host is still to come: what stands before is taken for it.
    if "@" in parts.path + parts.query or "#" in url or len(unquote(parts.path)) > _MAX_VHOST:
        return _BROKER_URL
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = dict(pairs)
    if len(query) < len(pairs):  # the library takes the first, and here the last would be looked at
        return "must have each parameter once"
    faults = filter(None, (_parameter_fault(name, value) for name, value in query.items()))
    return next(faults, None) or _certificate_fault({name: value for name, value in query.items() if name in _FILES})


def _parameter_fault(name: str, value: str) -> str | None:
    if name == "no_verify_ssl":
        return "must not have no_verify_ssl: certificates are always verified; RELAY_CA_FILE adds an authority"
    if name not in _PARAMETERS:
        return f"may have only these parameters: {', '.join(sorted(_PARAMETERS))}"
    if name in _NUMBERS and not (value.isascii() and value.isdigit() and _number(value) in _NUMBERS[name]):
        return f"must have a number from {_NUMBERS[name][0]} to {_NUMBERS[name][-1]} as {name}"
    if name == "auth" and value.lower() not in _AUTH:
        return f"must have one of these as auth: {', '.join(sorted(_AUTH))}"
    return None


def _number(digits: str) -> int:
    """Read a number; one of a hundred thousand or more is as good as any. Python refuses the longest ones."""
    return int(digits.lstrip("0")[:6] or "0")


def _certificate_fault(files: Mapping[str, str]) -> str | None:
    """Say which files of a broker's URL cannot be used. A connection would be tried again for ever."""
    if not files:
        return None
    try:
        context = ssl.create_default_context(cafile=files.get("cafile"), capath=files.get("capath"))
        if "certfile" in files:  # without a password the library would ask a person for it
            context.load_cert_chain(files["certfile"], files.get("keyfile"), password=lambda: "")
        elif "keyfile" in files:
            return "must have certfile beside keyfile"
    except (OSError, ValueError):
        return f"cannot use the files that it names as {', '.join(sorted(files))}"
    return None


def _parts(url: str) -> SplitResult | None:
    """Take a URL apart; None where it is none. The library's own error would repeat it, password and all."""
    try:
        parts = urlsplit(url)
        user, _, host_and_port = parts.netloc.rpartition("@")
        usable = (  # the library takes more, and other libraries do not
            _HOST_AND_PORT.fullmatch(host_and_port)
            and not {"[", "]"} & set(user)
            and parts.hostname
            and _is_host(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return None
    return parts if usable else None


def _is_host(text: str) -> bool:
    """Tell whether it can name a host, or be an address. Resolvers and HTTP clients raise for what cannot."""
    if not _HOST.fullmatch(text) or len(text) > _MAX_HOST:
        return False
    if ":" in text or not text.strip("0123456789."):
        return _is_address(text)
    return all(0 < len(label) <= _MAX_LABEL for label in text.removesuffix(".").split("."))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback if _is_address(host) else host == "localhost"
