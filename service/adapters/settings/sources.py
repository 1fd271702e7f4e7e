"""Reads the settings: environment variables, an env file if one is named, and a directory of secrets.

Nothing is read from the working directory unless it is named: anyone who can write there could name the server that
gets the API key. A `RELAY_…` name that does not exist is an error wherever it stands. No message repeats a value.
"""

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from dotenv.parser import parse_stream
from pydantic import ValidationError

from service.adapters.settings.checks import FILES
from service.adapters.settings.model import PREFIX, Settings, SettingsError
from service.adapters.settings.proxies import usual_proxy

SECRETS: Final = "RELAY_SECRETS_DIR"
ENV_FILE: Final = "RELAY_ENV_FILE"
_USUAL_SECRETS: Final = "/run/secrets"
_KUBERNETES: Final = re.compile(
    r"RELAY_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""Variables beside a Service whose name is relay, or begins with relay-."""


def load_settings(environ: Mapping[str, str] = os.environ, env_file: str | None = None) -> Settings:
    """Read the settings. The environment wins over the env file, and that over the secrets directory.

    `env_file` is the file that the command line names. Raises `SettingsError` that names every wrong setting.
    """
    files = _secret_files(environ)
    from_file = _read_env_file(environ, env_file)
    _refuse_unknown([*environ, *from_file, *files])
    if places := sorted({SECRETS, ENV_FILE} & {name.upper() for name in (*from_file, *files)}):
        raise SettingsError("\n".join(f"{name}: must be an environment variable" for name in places))
    faults: list[str] = []
    given = {
        **dict(_secrets(files, faults)),
        **{name.upper(): value for name, value in (*from_file.items(), *environ.items()) if value},
    }
    faults += [
        f"{name}: is not UTF-8" for name, text in given.items() if name.startswith(PREFIX) and not _is_unicode(text)
    ]
    if faults:
        raise SettingsError("\n".join(faults))
    fields: dict[str, Any] = {
        name: given[_variable(name)] for name in Settings.model_fields if _variable(name) in given
    }
    settings = _validated(fields)
    proxied = {"omni_proxy": settings.omni_base_url, "rabbitmq_oauth_proxy": settings.rabbitmq_oauth_token_url}
    usual = {
        name: proxy
        for name, target in proxied.items()
        if target and getattr(settings, name) is None and (proxy := usual_proxy(environ, target))
    }
    if usual:
        urls = {name: url for name, (_, url) in usual.items()}
        settings = _validated({**fields, **urls}, {name: variable for name, (variable, _) in usual.items()})
    return settings


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """The places that settings come from, to be read again when a file has changed."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    env_file: str | None = None
    """The env file that the command line names."""

    def load(self) -> Settings:
        """Read the settings. Raises `SettingsError`."""
        return load_settings(self.environ, self.env_file)

    def fingerprint(self, settings: Settings) -> tuple[object, ...]:
        """Return a value that changes when a file of secrets or certificates is replaced or written."""
        return tuple(map(_stamp, self._watched(settings)))

    def in_use(self, settings: Settings) -> dict[str, object]:
        """Return the secrets, and digests of the certificates, by the variables that hold or name them."""
        files = {"RELAY_CA_FILE": [settings.ca_file] if settings.ca_file else []}
        files["RELAY_RABBITMQ_URL"] = _named_files(settings)
        digests = {name: tuple(map(_digest, named)) for name, named in files.items()}
        return {
            name: (settings.secrets_in_use.get(name), digests.get(name))
            for name in {*settings.secrets_in_use, *digests}
        }

    def changed_at(self, name: str) -> float | None:
        """Return when the secret's file was written (seconds since the epoch), if a file is where it comes from."""
        with contextlib.suppress(SettingsError, OSError):
            taken = {key.upper() for key, value in self.environ.items() if value}
            files = {key.upper(): path for key, path in _secret_files(self.environ).items()}
            if name not in taken and name in files:
                return files[name].stat().st_mtime
        return None

    def _watched(self, settings: Settings) -> list[str]:
        files = [
            _place(self.environ, SECRETS) or _USUAL_SECRETS,
            named_env_file(self.environ, self.env_file),
            settings.ca_file,
        ]
        files += _named_files(settings)
        with contextlib.suppress(SettingsError):
            files += map(str, _secret_files(self.environ).values())
        return list(dict.fromkeys(file for file in files if file))


def _named_files(settings: Settings) -> list[str]:
    """List the files, and directories, of certificates that URLs of brokers name."""
    queries = (dict(parse_qsl(urlsplit(url).query)) for url in settings.rabbitmq_urls)
    return [query[name] for query in queries for name in sorted(FILES) if name in query]


def _digest(file: str) -> object:
    """Return a value that changes when the contents of a file do; of a directory, when a name in it does."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).digest()
    except (OSError, ValueError):
        return _stamp(file)


def _stamp(file: str) -> tuple[object, ...]:
    """Describe a file, or the one that a symbolic link leads to: Kubernetes exchanges links."""
    try:
        stat = Path(file).stat()
    except (OSError, ValueError) as error:
        return file, type(error).__name__
    return file, stat.st_ino, stat.st_mtime_ns, stat.st_size


def _validated(fields: Mapping[str, Any], names: Mapping[str, str] = MappingProxyType({})) -> Settings:
    """Check values. `names` has the variables that are not named after their setting. Raises `SettingsError`."""
    try:
        return Settings(**fields)
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error, names))) from None  # the cause repeats the values


def named_env_file(environ: Mapping[str, str], env_file: str | None) -> str | None:
    """Return the env file that is named, if there is one."""
    return env_file or _place(environ, ENV_FILE)


def _place(environ: Mapping[str, str], name: str) -> str | None:
    """Return the value of a variable that names a place to read from. The letter case does not matter."""
    return environ.get(name) or next((value for key, value in environ.items() if key.upper() == name and value), None)


def _variable(field: str) -> str:
    return f"{PREFIX}{field}".upper()


def _secret_files(environ: Mapping[str, str]) -> dict[str, Path]:
    named = _place(environ, SECRETS)
    folder = Path(named or _USUAL_SECRETS)
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
        return "Kubernetes sets it beside a Service called relay; set enableServiceLinks: false in the pod's spec"
    return "there is no such setting"


def _is_unicode(text: str) -> bool:
    """Whether it was decoded completely. Python keeps other bytes of the environment as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _lines(error: ValidationError, names: Mapping[str, str]) -> Iterable[str]:
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        field = str(fault["loc"][0]) if fault["loc"] else ""
        name = f"{names.get(field) or _variable(field)}: " if field else ""
        yield name + fault["msg"].removeprefix("Input ")
