import base64
import contextlib
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import yarl
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.adapters.settings import Settings, SettingsError, load_settings
from tests.support.tls import certificate

SECRET = "open-sesame-777"


def with_environment(**values: str) -> Settings:
    return load_settings({f"RELAY_{name}": value for name, value in values.items()})


def fault_of(**values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        with_environment(**values)
    return str(caught.value)


def test_every_default_is_fit_for_production() -> None:
    settings = load_settings({})

    assert settings.rabbitmq_urls == ("amqp://guest:guest@localhost:5672/",)
    expected = {
        "rabbitmq_declare": True,
        "rabbitmq_fast_path": True,
        "omni_base_url": "https://api.infobip.com",
        "omni_allow_http": False,
        "omni_api_key": None,
        "omni_username": None,
        "omni_password": None,
        "omni_token": None,
        "omni_scenario_key": None,
        "omni_format": "json",
        "omni_connect_timeout": 5,
        "omni_read_timeout": 30,
        "omni_connection_lifetime": 60,
        "omni_proxy_url": None,
        "rabbitmq_max_bytes_in_flight": 48 * 2**20,
        "retry_max_attempts": 8,
        "retry_base_delay": 1,
        "retry_max_delay": 300,
        "unknown_policy": "resend",
        "http_port": 9464,
        "http_host": "0.0.0.0",  # noqa: S104 - as the contract has it
        "reports_url": None,
        "reports_token": None,
        "reports_host": "0.0.0.0",  # noqa: S104 - the same
        "reports_port": 8080,
        "log_format": None,
        "log_level": "info",
        "memory_ttl": 172_800,
        "memory_required": False,
        "shutdown_grace": 25,
    }
    assert {name: getattr(settings, name) for name in expected} == expected
    assert settings.rabbitmq_prefetch >= 1
    assert settings.omni_concurrency is None  # found out by trying


@pytest.mark.parametrize(
    ("text", "patterns"), [("", ()), ("*", ("*",)), ("replies.*, orders.replies", ("replies.*", "orders.replies"))]
)
def test_reply_to_is_allowed_by_patterns_and_not_allowed_by_default(text: str, patterns: tuple[str, ...]) -> None:
    assert Settings(reply_to=text).reply_patterns == patterns


def test_the_accounts_rates_are_divided_among_its_workers() -> None:
    alone = Settings(omni_messages_per_second=100)
    one_of_four = Settings(omni_messages_per_second=100, replicas=4)

    assert (alone.own_rate, alone.own_logs_rate) == (100, 100)
    assert (one_of_four.own_rate, one_of_four.own_logs_rate) == (25, 25)
    assert Settings(replicas=4).own_rate is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("RABBITMQ_PREFETCH", "7", 7),
        ("RABBITMQ_DECLARE", "false", False),
        ("RABBITMQ_FAST_PATH", "false", False),
        ("OMNI_SCENARIO_KEY", "key", "key"),
        ("OMNI_FORMAT", "xml", "xml"),
        ("OMNI_CONCURRENCY", "3", 3),
        ("OMNI_CONNECT_TIMEOUT", "0.5", 0.5),
        ("OMNI_READ_TIMEOUT", "60", 60),
        ("OMNI_CONNECTION_LIFETIME", "5", 5),
        ("RETRY_MAX_ATTEMPTS", "1", 1),
        ("RETRY_BASE_DELAY", "0.25", 0.25),
        ("RETRY_MAX_DELAY", "3600", 3600),
        ("UNKNOWN_POLICY", "park", "park"),
        ("HTTP_PORT", "0", 0),
        ("HTTP_HOST", "::", "::"),
        ("LOG_FORMAT", "console", "console"),
        ("LOG_LEVEL", "debug", "debug"),
        ("SHUTDOWN_GRACE", "0", 0),
        ("LOG_LEVEL", "", "info"),
        ("REPLY_TO", "replies.*", "replies.*"),
        ("REPORTS_HOST", "127.0.0.1", "127.0.0.1"),
        ("REPORTS_PORT", "0", 0),
    ],
)
def test_each_setting_is_read_from_the_environment(name: str, text: str, value: object) -> None:
    assert getattr(with_environment(**{name: text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RABBITMQ_PREFETCH", "0"),
        ("RABBITMQ_PREFETCH", "many"),
        ("RABBITMQ_DECLARE", "perhaps"),
        ("RABBITMQ_URL", "http://localhost"),
        ("RABBITMQ_URL", "amqp://"),
        ("RABBITMQ_URL", "amqp://one/,localhost"),
        ("RABBITMQ_URL", "amqp://host:port/"),
        ("OMNI_FORMAT", "yaml"),
        ("OMNI_CONCURRENCY", "-1"),
        ("OMNI_READ_TIMEOUT", "0"),
        ("OMNI_CONNECTION_LIFETIME", "0.5"),
        ("OMNI_CONNECT_TIMEOUT", "inf"),
        ("RETRY_MAX_ATTEMPTS", "0"),
        ("RETRY_BASE_DELAY", "0"),
        ("RETRY_MAX_DELAY", "nan"),
        ("UNKNOWN_POLICY", "drop"),
        ("HTTP_PORT", "65536"),
        ("LOG_FORMAT", "text"),
        ("LOG_LEVEL", "loud"),
        ("SHUTDOWN_GRACE", "-1"),
        ("REPLY_TO", "replies,"),
        ("REPLY_TO", " "),
        ("OMNI_API_KEY", "two\nlines"),
        ("OMNI_TOKEN", "two\r\nlines"),
        ("OMNI_USERNAME", "Alad\ndin"),
        ("OMNI_USERNAME", "Alad:din"),
        ("OMNI_API_KEY", "schlüssel"),
        ("OMNI_API_KEY", "a key"),
        ("OMNI_TOKEN", "tok\u200ben"),
        ("OMNI_TOKEN", "\u20ac"),
        ("OMNI_PASSWORD", "two\rlines"),
        ("OMNI_CLIENT_SECRET", "two\nlines"),
        ("OMNI_SCENARIO_KEY", "two\0words"),
        ("HTTP_HOST", "no host"),
        ("HTTP_HOST", "1.2.3.4.5"),
        ("HTTP_HOST", "a..b"),
    ],
)
def test_a_wrong_value_is_reported_with_the_name_of_its_variable(name: str, text: str) -> None:
    assert fault_of(**{name: text}).startswith(f"RELAY_{name}: ")


def test_all_wrong_settings_are_reported_at_once() -> None:
    lines = fault_of(HTTP_PORT="x", LOG_LEVEL="x", RETRY_BASE_DELAY="x").splitlines()

    assert [line.partition(":")[0] for line in lines] == [
        "RELAY_RETRY_BASE_DELAY",
        "RELAY_HTTP_PORT",
        "RELAY_LOG_LEVEL",
    ]


def test_a_misspelt_name_in_the_environment_is_refused() -> None:
    fault = fault_of(OMNI_APIKEY=SECRET, HTTPPORT="1")

    assert fault.splitlines() == [
        "RELAY_HTTPPORT: there is no such setting",
        "RELAY_OMNI_APIKEY: there is no such setting",
    ]


def test_a_misspelt_name_in_the_env_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "relay.env"
    file.write_text(f"OTHER=1\nRELAY_LOG_LEVEL=debug\nRELAY_OMNI_APIKEY={SECRET}\n")

    assert fault_of(ENV_FILE=str(file)) == "RELAY_OMNI_APIKEY: there is no such setting"


def test_a_misspelt_name_in_the_secrets_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "RELAY_OMNI_APIKEY").write_text(SECRET)

    assert fault_of(SECRETS_DIR=str(tmp_path)) == "RELAY_OMNI_APIKEY: there is no such setting"


def test_names_without_the_prefix_are_ignored(tmp_path: Path) -> None:
    """Kubernetes injects RABBITMQ_PORT=tcp://… beside a Service of that name."""
    (tmp_path / "omni-token").write_bytes(b"\xff")
    environ = {"RABBITMQ_PORT": "tcp://10.0.0.1:5672", "HTTP_PORT": "x", "RELAY_SECRETS_DIR": str(tmp_path)}

    assert load_settings(environ) == Settings()


@pytest.mark.parametrize(
    "name",
    [
        *("RELAY_PORT", "RELAY_SERVICE_HOST", "RELAY_SERVICE_PORT", "RELAY_SERVICE_PORT_METRICS"),
        *("RELAY_PORT_9464_TCP", "RELAY_PORT_9464_TCP_PROTO", "RELAY_PORT_9464_TCP_PORT", "RELAY_PORT_9464_TCP_ADDR"),
        *("RELAY_REPORTS_SERVICE_HOST", "RELAY_REPORTS_SERVICE_PORT_HTTP", "RELAY_REPORTS_PORT_8080_TCP_ADDR"),
    ],
)
def test_the_names_that_kubernetes_injects_beside_services_called_relay_or_so_are_explained(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{name}: .*enableServiceLinks"):
        load_settings({name: "tcp://10.0.0.1:9464"})


def test_the_environment_overrides_the_env_file_and_that_overrides_the_secrets(tmp_path: Path) -> None:
    secrets, file = tmp_path / "secrets", tmp_path / "relay.env"
    secrets.mkdir()
    (secrets / "RELAY_OMNI_API_KEY").write_text(f"{SECRET}\n")
    (secrets / "RELAY_HTTP_PORT").write_text("1")
    file.write_text("RELAY_HTTP_PORT=1234\nexport RELAY_LOG_LEVEL='debug' # more than usual\nRELAY_OMNI_FORMAT=\n")

    settings = with_environment(SECRETS_DIR=str(secrets), LOG_LEVEL="error", ENV_FILE=str(file))

    assert settings.omni_authorization == f"App {SECRET}"
    assert (settings.http_port, settings.log_level, settings.omni_format) == (1234, "error", "json")


def test_no_env_file_is_read_that_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("RELAY_OMNI_BASE_URL=https://thief.example\nRELAY_NO_SUCH=1\n")
    monkeypatch.chdir(tmp_path)

    assert load_settings({}) == Settings()


def test_the_env_file_of_the_command_line_overrides_the_one_of_the_environment(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / number).write_text(f"RELAY_HTTP_PORT={number}\n")

    settings = load_settings({"RELAY_ENV_FILE": str(tmp_path / "1")}, str(tmp_path / "2"))
    assert settings.http_port == 2


def test_an_env_file_is_not_interpolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", SECRET)
    (tmp_path / "relay.env").write_text('RELAY_OMNI_SCENARIO_KEY="${ELSEWHERE}-${HOME:-x}"\n')

    assert with_environment(ENV_FILE=str(tmp_path / "relay.env")).omni_scenario_key == "${ELSEWHERE}-${HOME:-x}"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"RELAY_OMNI_API_KEY=\xff", "the file is not UTF-8"),
        (b"RELAY_HTTP_PORT=1\nRELAY_LOG_LEVEL\n", "line 2 of the file is not NAME=VALUE"),
        (b"RELAY_HTTP_PORT='1\n", "line 1 of the file is not NAME=VALUE"),
        (b"= \n", "line 1 of the file is not NAME=VALUE"),
        (None, "the file cannot be read (FileNotFoundError)"),
    ],
)
def test_an_unreadable_env_file_is_a_fault(tmp_path: Path, content: bytes | None, fault: str) -> None:
    file = tmp_path / "relay.env"
    if content is not None:
        file.write_bytes(content)

    assert fault_of(ENV_FILE=str(file)) == f"RELAY_ENV_FILE: {fault}"


def test_a_folder_is_no_env_file(tmp_path: Path) -> None:
    assert fault_of(ENV_FILE=str(tmp_path)) == "RELAY_ENV_FILE: the file cannot be read (IsADirectoryError)"


def test_a_secrets_directory_that_does_not_exist_is_a_fault(tmp_path: Path) -> None:
    assert fault_of(SECRETS_DIR=str(tmp_path / "none")) == "RELAY_SECRETS_DIR: is not a directory"
    assert fault_of(SECRETS_DIR="x" * 5000) == "RELAY_SECRETS_DIR: cannot be read (OSError)"


@pytest.mark.parametrize(("content", "fault"), [(b"\xff\xfe", "its file is not UTF-8"), (b" \n", "its file is empty")])
def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "RELAY_OMNI_API_KEY").write_bytes(content)
    (tmp_path / "RELAY_OMNI_TOKEN").mkdir()

    assert fault_of(SECRETS_DIR=str(tmp_path)).splitlines() == [
        f"RELAY_OMNI_API_KEY: {fault}",
        "RELAY_OMNI_TOKEN: its file cannot be read (IsADirectoryError)",
    ]


def test_bytes_of_the_environment_that_are_not_utf_8_are_a_fault() -> None:
    assert fault_of(OMNI_SCENARIO_KEY=b"caf\xe9".decode(errors="surrogateescape")) == (
        "RELAY_OMNI_SCENARIO_KEY: is not UTF-8"
    )


@pytest.mark.parametrize("name", ["RELAY_SECRETS_DIR", "RELAY_ENV_FILE", "relay_secrets_dir", "Relay_Env_File"])
def test_the_env_file_cannot_name_other_files(tmp_path: Path, name: str) -> None:
    """These are needed before the file is read, so in the file they would be ignored silently."""
    (tmp_path / "relay.env").write_text(f"{name}={tmp_path}\n")

    assert fault_of(ENV_FILE=str(tmp_path / "relay.env")) == f"{name.upper()}: must be an environment variable"


@pytest.mark.parametrize("name", ["RELAY_SECRETS_DIR", "RELAY_ENV_FILE", "relay_env_file"])
def test_a_secret_cannot_name_other_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(str(tmp_path))

    assert fault_of(SECRETS_DIR=str(tmp_path)) == f"{name.upper()}: must be an environment variable"


def test_the_letter_case_of_variables_does_not_count(tmp_path: Path) -> None:
    secrets, file = tmp_path / "secrets", tmp_path / "relay.env"
    secrets.mkdir()
    (secrets / "relay_omni_format").write_text("xml")
    file.write_text("relay_http_port=1\n")
    environ = {"relay_log_level": "error", "relay_secrets_dir": str(secrets), "Relay_Env_File": str(file)}

    settings = load_settings(environ)

    assert (settings.log_level, settings.http_port, settings.omni_format) == ("error", 1, "xml")


def test_several_brokers_are_tried_in_turn() -> None:
    settings = with_environment(RABBITMQ_URL="amqps://a.example/vhost, amqp://b.example:5673")

    assert settings.rabbitmq_urls == ("amqps://a.example/vhost", "amqp://b.example:5673")


@pytest.mark.parametrize(
    "url",
    [
        f"amqp://user:12/{SECRET}@host/",
        f"amqp://user:12?{SECRET}@host/",
        f"amqp://user:12?x={SECRET}@host/",
        f"amqp://user:12#{SECRET}@host/",
        f"amqp://user:12,{SECRET}@host/",
        f"amqp://user:12/{SECRET}@host/,amqp://other/",
        f"amqp://user:{SECRET}\n@host/",
        f"amqp://user:{SECRET} @host/",
        f"amqp://user:{SECRET}@a..b/",
        f"amqp://user\\:{SECRET}@host/",
        f"amqp://user:{SECRET}@host/{'v' * 256}",
    ],
)
def test_a_password_that_is_not_encoded_is_refused_with_a_hint_and_not_repeated(url: str) -> None:
    fault = fault_of(RABBITMQ_URL=url)

    assert fault.startswith("RELAY_RABBITMQ_URL: must be amqp://")
    assert "percent-encode" in fault
    assert SECRET not in fault


def test_a_password_that_is_encoded_may_have_any_character() -> None:
    url = "amqp://us%40er:p%2Fa%3Fs%23s%40w%2Co%25r:d@host:5673/v%2Fhost?heartbeat=5"
    assert with_environment(RABBITMQ_URL=url).rabbitmq_urls == (url,)


@pytest.mark.parametrize("value", ["", "=", "=1", "=0", "=false", "=true"])
def test_the_verification_of_the_brokers_certificate_cannot_be_switched_off(value: str) -> None:
    fault = fault_of(RABBITMQ_URL=f"amqps://user:{SECRET}@host/?heartbeat=5&no_verify_ssl{value}")

    assert fault.startswith("RELAY_RABBITMQ_URL: must not have no_verify_ssl")


@pytest.mark.parametrize(
    "query",
    [
        *("verify=none", "ssl_options=x", "NO_VERIFY_SSL=1", "no%5fverify_ss=1", "=1"),
        *("heartbeat=x", "heartbeat=-1", "heartbeat=70000", "heartbeat=", "timeout=0", "auth=none"),
        *("heartbeat=00000000070000", "timeout=0000000000", "name=a&name=a", "cafile=/nowhere&cafile="),
        *("cafile=/nowhere", "certfile=/nowhere&keyfile=/nowhere", "keyfile=/nowhere", "cafile=%00"),
    ],
)
def test_a_brokers_url_has_only_parameters_that_can_be_used(query: str) -> None:
    fault = fault_of(RABBITMQ_URL=f"amqps://user:{SECRET}@host/?{query}")

    assert fault.startswith("RELAY_RABBITMQ_URL: ")
    assert "nowhere" not in fault
    assert SECRET not in fault


def test_certificates_of_a_brokers_url_are_tried(tmp_path: Path) -> None:
    for name in ("ca", "own"):
        certificate(tmp_path, name)
    (tmp_path / "none.pem").write_text("none")

    good = f"amqps://h/?cafile={tmp_path}/ca.pem&certfile={tmp_path}/own.pem&keyfile={tmp_path}/own.key&auth=external"
    assert with_environment(RABBITMQ_URL=good).rabbitmq_urls == (good,)
    assert "cafile" in fault_of(RABBITMQ_URL=f"amqps://h/?cafile={tmp_path}/none.pem")
    assert "certfile" in fault_of(RABBITMQ_URL=f"amqps://h/?certfile={tmp_path}/own.pem&keyfile={tmp_path}/ca.key")


def test_one_ca_file_applies_to_every_broker_with_tls(tmp_path: Path) -> None:
    file = certificate(tmp_path, "our own & others")[0]
    urls = "amqps://a/, amqps://b/?heartbeat=5,amqps://c/?cafile=" + str(file).replace(" ", "%20").replace("&", "%26")
    given = with_environment(RABBITMQ_URL=f"{urls},amqp://d/", CA_FILE=str(file)).rabbitmq_urls

    assert [dict(parse_qsl(urlsplit(url).query)).get("cafile") for url in given] == [str(file)] * 3 + [None]
    assert given[3] == "amqp://d/"


@pytest.mark.parametrize("content", [None, "none"])
def test_a_ca_file_without_certificates_is_a_fault(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)

    assert fault_of(CA_FILE=str(tmp_path / "ca.pem")) == "RELAY_CA_FILE: must name a file of certificates (PEM)"


# Authorization


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ({"OMNI_API_KEY": SECRET}, f"App {SECRET}"),
        ({"OMNI_TOKEN": SECRET}, f"Bearer {SECRET}"),
        (
            {"OMNI_USERNAME": "Aladdin", "OMNI_PASSWORD": SECRET},
            "Basic " + base64.b64encode(f"Aladdin:{SECRET}".encode()).decode(),
        ),
    ],
)
def test_omni_credentials_can_be_given_in_three_ways(given: dict[str, str], header: str) -> None:
    assert with_environment(**given).omni_authorization == header


@pytest.mark.parametrize(
    "given",
    [
        {"OMNI_API_KEY": SECRET, "OMNI_TOKEN": SECRET},
        {"OMNI_API_KEY": SECRET, "OMNI_USERNAME": "Aladdin", "OMNI_PASSWORD": SECRET},
        {"OMNI_TOKEN": SECRET, "OMNI_USERNAME": "Aladdin", "OMNI_PASSWORD": SECRET},
        {"OMNI_TOKEN": SECRET, "OMNI_CLIENT_ID": "client", "OMNI_CLIENT_SECRET": SECRET},
    ],
)
def test_only_one_kind_of_credentials_may_be_given(given: dict[str, str]) -> None:
    assert fault_of(**given).startswith("set only one of RELAY_OMNI_API_KEY, ")


@pytest.mark.parametrize("given", [{"OMNI_USERNAME": "Aladdin"}, {"OMNI_PASSWORD": SECRET}])
def test_name_and_password_go_together(given: dict[str, str]) -> None:
    assert "RELAY_OMNI_USERNAME and RELAY_OMNI_PASSWORD go together" in fault_of(**given)


@pytest.mark.parametrize("given", [{"OMNI_CLIENT_ID": "client"}, {"OMNI_CLIENT_SECRET": SECRET}])
def test_a_clients_id_and_secret_go_together(given: dict[str, str]) -> None:
    assert "RELAY_OMNI_CLIENT_ID and RELAY_OMNI_CLIENT_SECRET go together" in fault_of(**given)


def test_a_clients_secret_fetches_the_header_later() -> None:
    settings = with_environment(OMNI_CLIENT_ID="client", OMNI_CLIENT_SECRET=SECRET)

    assert settings.omni_authorization is None
    assert SECRET not in repr(settings)


def test_without_credentials_only_uses_of_them_fail() -> None:
    """To watch, or to send, no credentials are needed."""
    settings = load_settings({})

    with pytest.raises(SettingsError, match=r"^RELAY_OMNI_API_KEY: OMNI needs credentials"):
        _ = settings.omni_authorization


# The base URL


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://xyz.api.infobip.com", "https://xyz.api.infobip.com"),
        ("https://xyz.api.infobip.com/", "https://xyz.api.infobip.com"),
        (" xyz.api.infobip.com ", "https://xyz.api.infobip.com"),
        ("https://proxy.example:8443/infobip//", "https://proxy.example:8443/infobip"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.1.2.3:8080", "http://127.1.2.3:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_base_url_is_https_except_on_loopback(given: str, used: str) -> None:
    assert with_environment(OMNI_BASE_URL=given).omni_base_url == used


@pytest.mark.parametrize(
    "given",
    [
        "http://api.infobip.com",
        "http://127.example.com",
        "ftp://api.infobip.com",
        "https:///reports",
        "https://[",
        "https://a b",
        "https://exa\u2100mple.com",
        "https://host:99999",
        "https://host:0",
        "https://:secret@host",
        "https://api.infobip.com?key=x",
        "https://api.infobip.com/#x",
        f"https://user:{SECRET}@api.infobip.com",
        f"https://user:12/{SECRET}@api.infobip.com",
        "https://api.infobip.com\r\nx-other: 1",
        "https://api.infobip.com/\n/path",
        "https://api.infobip.com/a\tb",
        "https://api.infobip.com/gr\u00fc\u00dfe",
        "https://m\u00fcnchen.example",
        "https://api.infobip.com?",
        "https://api.infobip.com\\@thief.example",
        "https://999.1.1.1",
        "https://[:::1]",
        "https://[::1]x",
        "https://[::1]]:1",
        "https://host:",
        "https://a..b",
        f"https://{'a' * 64}.example",
    ],
)
def test_any_other_base_url_is_refused_without_repeating_it(given: str) -> None:
    fault = fault_of(OMNI_BASE_URL=given)

    assert fault.startswith("RELAY_OMNI_BASE_URL")
    assert SECRET not in fault


def test_plain_http_has_to_be_allowed() -> None:
    settings = with_environment(OMNI_BASE_URL="http://sandbox:8080", OMNI_ALLOW_HTTP="true")

    assert settings.omni_base_url == "http://sandbox:8080"


def test_the_base_delay_must_not_exceed_the_maximum() -> None:
    fault = fault_of(RETRY_BASE_DELAY="10", RETRY_MAX_DELAY="9")

    assert fault == "RELAY_RETRY_BASE_DELAY must not exceed RELAY_RETRY_MAX_DELAY"


# The proxy


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "https://u:p%40@proxy/"}, "https://u:p%40@proxy/"),
        ({"https_proxy": "http://small", "HTTPS_PROXY": "http://large"}, "http://small"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://large"}, None),
        ({"HTTP_PROXY": "http://proxy"}, None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "infobip.com"}, None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "other.example, .infobip.com"}, None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "bip.com,other.example"}, "http://proxy"),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "api.infobip.com:443"}, None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "api.infobip.com:8443"}, "http://proxy"),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "10.0.0.0/8", "RELAY_OMNI_BASE_URL": "https://10.1.2.3"}, None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "infobip.com", "no_proxy": ""}, "http://proxy"),
        ({"HTTPS_PROXY": "http://proxy", "RELAY_OMNI_PROXY": "none"}, None),
        ({"HTTPS_PROXY": "http://proxy", "RELAY_OMNI_PROXY": "None"}, None),
        ({"HTTPS_PROXY": "http://proxy", "RELAY_OMNI_PROXY": "http://own"}, "http://own"),
        ({"HTTPS_PROXY": "socks5://proxy", "RELAY_OMNI_PROXY": "http://own"}, "http://own"),
        ({"RELAY_OMNI_PROXY": "http://own", "NO_PROXY": "*"}, "http://own"),
        ({"HTTPS_PROXY": "http://proxy", "RELAY_OMNI_BASE_URL": "https://localhost"}, None),
        ({"HTTP_PROXY": "http://proxy", "RELAY_OMNI_BASE_URL": "http://127.0.0.1:8080"}, None),
    ],
)
def test_a_proxy_is_used_as_the_usual_variables_say_unless_the_relays_own_is_set(
    environ: dict[str, str], proxy: str | None
) -> None:
    assert load_settings(environ).omni_proxy_url == proxy


@pytest.mark.parametrize("cgi", [True, False])
def test_http_proxy_counts_for_a_plain_base_url_but_not_in_a_cgi_script(cgi: bool) -> None:  # noqa: FBT001 - parametrized
    environ = {"RELAY_OMNI_BASE_URL": "http://omni.example", "RELAY_OMNI_ALLOW_HTTP": "true", "HTTP_PROXY": "proxy"}
    settings = load_settings({**environ, **({"REQUEST_METHOD": "GET"} if cgi else {})})
    assert settings.omni_proxy_url == (None if cgi else "http://proxy")


@pytest.mark.parametrize(
    "url",
    [
        *(
            f"socks5://u:{SECRET}@proxy",
            f"http://u:{SECRET}@",
            f"http://u:12/{SECRET}@proxy",
            f"http://proxy/?{SECRET}",
        ),
        *(
            f"http://u:12#{SECRET}@proxy",
            f"http://u:{SECRET} @proxy",
            f"http://u:{SECRET}@proxy:0",
            "http://proxy/path",
        ),
        *(f"http://u:12\\{SECRET}@proxy", "http://a..b", "://", "http://"),
    ],
)
def test_a_wrong_proxy_is_named_by_its_variable_and_its_password_is_not_repeated(url: str) -> None:
    for name in ("RELAY_OMNI_PROXY", "HTTPS_PROXY", "https_proxy"):
        with pytest.raises(SettingsError) as caught:
            load_settings({name: url})
        assert str(caught.value).startswith(f"{name}: must be http://USER:PASSWORD@HOST:PORT or https://")
        assert SECRET not in str(caught.value)


def test_a_proxys_password_is_not_in_what_a_log_might_print() -> None:
    settings = load_settings({"HTTPS_PROXY": f"http://u:{SECRET}@proxy"})
    assert SECRET not in f"{settings!r}{settings.model_dump()}"


OAUTH = {
    "RELAY_RABBITMQ_OAUTH_TOKEN_URL": "https://login.example/token",
    "RELAY_RABBITMQ_OAUTH_CLIENT_ID": "relay",
    "RELAY_RABBITMQ_OAUTH_CLIENT_SECRET": SECRET,
}


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        *(
            ({**OAUTH, name: ""}, "RELAY_RABBITMQ_OAUTH_")
            for name in OAUTH  # any two of the three
        ),
        ({"RELAY_RABBITMQ_OAUTH_SCOPE": "x"}, "RELAY_RABBITMQ_OAUTH_… needs RELAY_RABBITMQ_OAUTH_TOKEN_URL"),
        (
            {**OAUTH, "RELAY_RABBITMQ_OAUTH_TOKEN_URL": "http://login.example/"},
            "RELAY_RABBITMQ_OAUTH_TOKEN_URL must be https://…",
        ),
        (
            {**OAUTH, "RELAY_RABBITMQ_OAUTH_TOKEN_URL": f"https://u:{SECRET}@login.example/"},
            "RELAY_RABBITMQ_OAUTH_TOKEN_URL: must be https://HOST/PATH, without user and password",
        ),
        (
            {**OAUTH, "RELAY_RABBITMQ_OAUTH_TOKEN_URL": "login.example"},
            "RELAY_RABBITMQ_OAUTH_TOKEN_URL: must be https://HOST/PATH",
        ),
        (
            {**OAUTH, "RELAY_RABBITMQ_OAUTH_CLIENT_SECRET": f"{SECRET}\n{SECRET}"},
            "RELAY_RABBITMQ_OAUTH_CLIENT_SECRET: must be one line",
        ),
        (
            {**OAUTH, "RELAY_RABBITMQ_URL": "amqp://a,amqps://b?auth=EXTERNAL"},
            "RELAY_RABBITMQ_URL has auth=external, which sends no token",
        ),
        ({**OAUTH, "HTTPS_PROXY": f"socks5://u:{SECRET}@proxy"}, "HTTPS_PROXY: must be http://"),
    ],
)
def test_a_wrong_client_for_access_tokens_is_named(environ: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    assert str(caught.value).startswith(fault)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy"}, "http://proxy"),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "login.example"}, None),
        ({"HTTPS_PROXY": "http://proxy", "RELAY_RABBITMQ_OAUTH_PROXY": "none"}, None),
        ({"RELAY_OMNI_PROXY": "http://omnis", "RELAY_RABBITMQ_OAUTH_PROXY": "http://own"}, "http://own"),
    ],
)
def test_the_token_server_of_the_broker_has_a_proxy_of_its_own(environ: dict[str, str], proxy: str | None) -> None:
    settings = load_settings({**OAUTH, **environ})
    assert settings.rabbitmq_oauth_proxy_url == proxy
    assert SECRET not in f"{settings!r}{settings.model_dump()}"


def test_the_client_for_access_tokens_rotates_and_its_server_does_not() -> None:
    before = load_settings(OAUTH)
    new = {"TOKEN_URL": "https://other.example/", "CLIENT_ID": "other", "CLIENT_SECRET": "other"}
    after = load_settings({f"RELAY_RABBITMQ_OAUTH_{name}": value for name, value in new.items()})
    rotated = before.rotated(after)
    assert (rotated.rabbitmq_oauth_client_id, rotated.rabbitmq_oauth_token_url) == (
        "other",
        "https://login.example/token",
    )
    assert rotated.needing_restart(after) == ["RELAY_RABBITMQ_OAUTH_TOKEN_URL"]


def test_a_setting_that_is_missing_for_a_moment_stays_as_it_was(tmp_path: Path) -> None:
    """The default of one would be another broker; without another, calls would go around the proxy."""
    files = {
        "RABBITMQ_URL": "amqp://u:p@broker/",
        "OMNI_API_KEY": "old",
        "OMNI_PROXY": "http://u:p@proxy",
        "MEMORY_URL": "redis://memory",
    }
    for name, text in files.items():
        (tmp_path / f"RELAY_{name}").write_text(text)
    environ = {"RELAY_SECRETS_DIR": str(tmp_path)}
    before = load_settings(environ)
    for name in ("RABBITMQ_URL", "OMNI_PROXY", "MEMORY_URL"):
        (tmp_path / f"RELAY_{name}").unlink()
    (tmp_path / "RELAY_OMNI_API_KEY").write_text("new")
    missing = load_settings(environ)

    for settings in (before.rotated(missing), before.rotated(missing).rotated(missing)):
        assert settings.secrets_in_use == {**before.secrets_in_use, "RELAY_OMNI_API_KEY": "new"}
        assert sorted(settings.needing_restart(missing)) == [
            *("RELAY_MEMORY_URL", "RELAY_OMNI_PROXY", "RELAY_RABBITMQ_URL"),
        ]
    (tmp_path / "RELAY_OMNI_PROXY").write_text("none")
    assert before.rotated(load_settings(environ)).omni_proxy_url is None


def test_one_way_to_authorize_is_exchanged_for_another_one() -> None:
    before, after = with_environment(OMNI_API_KEY="key"), with_environment(OMNI_TOKEN="token")

    assert before.rotated(after).omni_authorization == "Bearer token"
    assert before.rotated(after).needing_restart(after) == []


PIECES = st.sampled_from(
    [*"ab01.:/@?#%&=[]\\-_ ,;\r\n\t\0é\u202e", "[::1]", "1.2.3.4", "host", "heartbeat=", "%zz", "//"]
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)


@given(
    base_url=st.tuples(st.sampled_from(["https://", "https://host", "https://[::1]", ""]), TEXTS).map("".join),
    broker=st.tuples(st.sampled_from(["amqp://", "amqps://u:p@h", "amqp://u:p@h/?", "amqp://[::1]"]), TEXTS).map(
        "".join
    ),
)
@example("https://[::1]x", "amqp://host")
@example("https://host", "amqp://a\\b@host")
def test_a_url_that_a_library_would_refuse_is_a_fault(base_url: str, broker: str) -> None:
    with contextlib.suppress(SettingsError):
        httpx.URL(with_environment(OMNI_BASE_URL=base_url).omni_base_url)
    with contextlib.suppress(SettingsError):
        proxy = with_environment(OMNI_PROXY=base_url).omni_proxy_url
        assert proxy is None or httpx.URL(proxy).host
    with contextlib.suppress(SettingsError):
        for url in with_environment(RABBITMQ_URL=broker).rabbitmq_urls:
            assert yarl.URL(url).host


# Secrets


def test_no_secret_is_in_the_representation_of_the_settings() -> None:
    settings = with_environment(
        RABBITMQ_URL=f"amqp://user:{SECRET}@localhost/",
        OMNI_USERNAME="Aladdin",
        OMNI_PASSWORD=SECRET,
    )

    for text in (str(settings), repr(settings), f"{settings.model_dump()}", settings.model_dump_json()):
        assert SECRET not in text


@pytest.mark.parametrize(
    "given",
    [
        {"RABBITMQ_URL": f"http://user:{SECRET}@localhost"},
        {"RABBITMQ_URL": f"amqp://user:{SECRET}\u2100@localhost"},
        {"RABBITMQ_URL": f"amqp://user:[{SECRET}]@localhost"},
        {"OMNI_TOKEN": f"{SECRET}\n{SECRET}"},
        {"RABBITMQ_PREFETCH": SECRET},
        {"OMNI_API_KEY": SECRET, "HTTP_PORT": SECRET},
        {"OMNI_PASSWORD": SECRET},
        {"OMNI_API_KEY": SECRET, "OMNI_TOKEN": SECRET},
        {"UNKNOWN_POLICY": SECRET},
        {"OMNI_READ_TIMEOUT": SECRET},
        {"RABBITMQ_DECLARE": SECRET},
        {"OMNI_PASSWROD": SECRET},
    ],
)
def test_errors_never_repeat_a_value(given: dict[str, str]) -> None:
    """Any of them may be a secret that was put in the wrong place."""
    with pytest.raises(SettingsError) as caught:
        with_environment(**given)

    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_settings_cannot_be_changed() -> None:
    settings = load_settings({})

    with pytest.raises(ValidationError, match="frozen"):
        settings.http_port = 1  # type: ignore[misc]  # that it is refused is the point


TOKEN = "abcdefghijklmn-._~0"


def test_reports_are_asked_for_at_an_address_with_a_token() -> None:
    given = {"REPORTS_URL": "https://relay.example.com/reports/", "REPORTS_TOKEN": f"{TOKEN}, {TOKEN}-old"}
    settings = with_environment(**given)
    assert settings.reports_url == "https://relay.example.com/reports"
    assert settings.reports_tokens == (TOKEN, f"{TOKEN}-old")
    assert load_settings({}).reports_tokens == ()


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "x" * 201, f"{TOKEN},", f"{TOKEN},short", f"{TOKEN}/x", f"{TOKEN} x", f"{TOKEN}\u00e9"]
)
def test_a_token_that_cannot_stand_in_a_path_or_is_short_is_refused_and_not_repeated(token: str) -> None:
    fault = fault_of(REPORTS_TOKEN=token)
    assert fault.startswith("RELAY_REPORTS_TOKEN: must be 16 to 200 characters")
    assert token not in fault


@pytest.mark.parametrize(
    "url",
    [
        "relay.example.com",
        "ftp://relay.example.com",
        "https:///reports",
        "https://user:word@relay.example.com/reports",
        "https://relay.example.com/reports?a=b",
        "https://relay.example.com/reports#a",
        "https://relay.example.com/a b",
        f"https://relay.example.com/{'x' * 1800}",
    ],
)
def test_an_address_for_reports_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    fault = fault_of(REPORTS_URL=url, REPORTS_TOKEN=TOKEN)
    assert fault.startswith("RELAY_REPORTS_URL: must be https://HOST/PATH")
    assert url not in fault


def test_the_token_crosses_the_internet_encrypted() -> None:
    url = "http://relay.example.com/reports"
    assert "https" in fault_of(REPORTS_URL=url, REPORTS_TOKEN=TOKEN)
    assert with_environment(REPORTS_URL=url, REPORTS_TOKEN=TOKEN, OMNI_ALLOW_HTTP="true").reports_url == url
    assert with_environment(REPORTS_URL="http://127.0.0.1:8080/reports", REPORTS_TOKEN=TOKEN).reports_url


def test_an_address_for_reports_needs_a_token() -> None:
    assert fault_of(REPORTS_URL="https://relay.example.com/reports") == "RELAY_REPORTS_URL needs RELAY_REPORTS_TOKEN"


# The shared memory


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/",
        "redis://localhost:6379/15",
        "rediss://user:p%40ss@memory.example:6380/0",
        "redis://:pass@[::1]:6379",
        "redis+cluster://a:7000,b:7001",
        "rediss+cluster://user:p%40ss@[::1]:7000,b.example/",
        "redis+sentinel://:pass@a,b:26379,c/primary",
    ],
)
def test_the_shared_memory_is_a_url_of_redis(url: str) -> None:
    settings = with_environment(MEMORY_URL=url, MEMORY_REQUIRED="true", MEMORY_TTL="3600")
    assert settings.memory_url is not None
    assert settings.memory_url.get_secret_value() == url
    assert (settings.memory_required, settings.memory_ttl) == (True, 3600)
    assert settings.secrets_in_use["RELAY_MEMORY_URL"] == url


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://localhost",
        "unix:///run/redis",
        "redis://",
        f"redis://:{SECRET}/x@localhost",
        f"redis://:{SECRET}#@localhost",
        f"redis://:{SECRET}@localhost/name",
        f"redis://:{SECRET}@localhost/0/1",
        f"redis://:{SECRET}@localhost/0?ssl_cert_reqs=none",
        f"redis://:{SECRET} @localhost",
        f"redis://:{SECRET}@local\\host",
        f"redis+cluster://:{SECRET}@a:7000,b:7001/0",
        f"redis+cluster://:{SECRET}@a:7000,",
        f"redis+cluster://:{SECRET}/x@a:7000",
        f"redis+sentinel://:{SECRET}@a:26379",
        f"redis+other://:{SECRET}@a",
    ],
)
def test_another_url_of_the_shared_memory_is_refused_without_repeating_it(url: str) -> None:
    fault = fault_of(MEMORY_URL=url)
    assert fault.startswith("RELAY_MEMORY_URL: must be redis://")
    assert SECRET not in fault


def test_a_memory_that_is_required_must_be_named() -> None:
    assert fault_of(MEMORY_REQUIRED="true") == "RELAY_MEMORY_REQUIRED needs RELAY_MEMORY_URL"
    assert load_settings({}).memory_url is None
