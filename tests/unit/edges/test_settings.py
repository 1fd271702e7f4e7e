import base64
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.edges.settings import Settings, SettingsError, load_settings

SECRET = "open-sesame-777"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting comes from where the tests happen to run."""
    for name in [name for name in os.environ if name.upper().startswith("RELAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def with_environment(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(f"RELAY_{name}", value)
    return load_settings()


def fault_of(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        with_environment(monkeypatch, **values)
    return str(caught.value)


def test_every_default_is_fit_for_production() -> None:
    settings = load_settings()

    assert settings.rabbitmq_urls == ("amqp://guest:guest@localhost:5672/",)
    expected = {
        "rabbitmq_declare": True,
        "rabbitmq_fast_lane": True,
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
        "rabbitmq_max_bytes_in_flight": 64 * 2**20,
        "retry_max_attempts": 8,
        "retry_base_delay": 1,
        "retry_max_delay": 300,
        "unknown_policy": "resend",
        "http_port": 9464,
        "http_host": "0.0.0.0",  # noqa: S104 - as the contract has it
        "log_format": None,
        "log_level": "info",
        "shutdown_grace": 25,
    }
    assert {name: getattr(settings, name) for name in expected} == expected
    assert settings.rabbitmq_prefetch >= 1
    assert settings.omni_concurrency is None  # found out by trying


@pytest.mark.parametrize(
    ("text", "patterns"), [("", ()), ("*", ("*",)), ("replies.*, orders.replies", ("replies.*", "orders.replies"))]
)
def test_reply_to_is_allowed_by_patterns_and_by_default_not_at_all(text: str, patterns: tuple[str, ...]) -> None:
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
        ("RABBITMQ_FAST_LANE", "false", False),
        ("OMNI_SCENARIO_KEY", "key", "key"),
        ("OMNI_FORMAT", "xml", "xml"),
        ("OMNI_CONCURRENCY", "3", 3),
        ("OMNI_CONNECT_TIMEOUT", "0.5", 0.5),
        ("OMNI_READ_TIMEOUT", "60", 60),
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
    ],
)
def test_each_setting_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    assert getattr(with_environment(monkeypatch, **{name: text}), name.lower()) == value


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
    ],
)
def test_a_wrong_value_is_told_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    assert fault_of(monkeypatch, **{name: text}).startswith(f"RELAY_{name}: ")


def test_every_wrong_setting_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = fault_of(monkeypatch, HTTP_PORT="x", LOG_LEVEL="x", RETRY_BASE_DELAY="x").splitlines()

    assert [line.partition(":")[0] for line in lines] == [
        "RELAY_RETRY_BASE_DELAY",
        "RELAY_HTTP_PORT",
        "RELAY_LOG_LEVEL",
    ]


def test_a_slip_of_the_keyboard_is_refused_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = fault_of(monkeypatch, OMNI_APIKEY=SECRET, HTTPPORT="1")

    assert fault.splitlines() == [
        "RELAY_HTTPPORT: there is no such setting",
        "RELAY_OMNI_APIKEY: there is no such setting",
    ]


def test_a_slip_is_refused_in_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OTHER=1\nRELAY_LOG_LEVEL=debug\nRELAY_OMNI_APIKEY={SECRET}\n")

    with pytest.raises(SettingsError, match=r"^RELAY_OMNI_APIKEY: there is no such setting$"):
        load_settings()


def test_a_slip_is_refused_in_the_secrets_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "RELAY_OMNI_APIKEY").write_text(SECRET)

    assert fault_of(monkeypatch, SECRETS_DIR=str(tmp_path)) == "RELAY_OMNI_APIKEY: there is no such setting"


def test_other_programs_names_are_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kubernetes injects RABBITMQ_PORT=tcp://… beside a Service of that name."""
    monkeypatch.setenv("RABBITMQ_PORT", "tcp://10.0.0.1:5672")
    monkeypatch.setenv("HTTP_PORT", "x")
    (tmp_path / "omni-token").write_text("x")

    assert with_environment(monkeypatch, SECRETS_DIR=str(tmp_path)) == Settings()


def test_the_env_file_and_the_secrets_directory_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "RELAY_OMNI_API_KEY").write_text(f"{SECRET}\n")
    (tmp_path / ".env").write_text("RELAY_HTTP_PORT=1234\nRELAY_LOG_LEVEL=debug\n")

    settings = with_environment(monkeypatch, SECRETS_DIR=str(secrets), LOG_LEVEL="error")

    assert settings.omni_authorization == f"App {SECRET}"
    assert (settings.http_port, settings.log_level) == (1234, "error")


def test_a_secrets_directory_that_is_none_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert fault_of(monkeypatch, SECRETS_DIR=str(tmp_path / "none")) == "RELAY_SECRETS_DIR: is not a directory"


def test_the_env_file_cannot_name_the_secrets_directory(tmp_path: Path) -> None:
    """It is looked for before the file is read; where it stood, it would be passed over in silence."""
    (tmp_path / ".env").write_text(f"RELAY_SECRETS_DIR={tmp_path}\n")

    with pytest.raises(SettingsError, match=r"^RELAY_SECRETS_DIR: must be an environment variable$"):
        load_settings()


def test_several_brokers_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_environment(monkeypatch, RABBITMQ_URL="amqps://a.example/vhost, amqp://b.example:5673")

    assert settings.rabbitmq_urls == ("amqps://a.example/vhost", "amqp://b.example:5673")


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
def test_there_are_three_ways_to_be_known_to_omni(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], header: str
) -> None:
    assert with_environment(monkeypatch, **given).omni_authorization == header


@pytest.mark.parametrize(
    "given",
    [
        {"OMNI_API_KEY": SECRET, "OMNI_TOKEN": SECRET},
        {"OMNI_API_KEY": SECRET, "OMNI_USERNAME": "Aladdin", "OMNI_PASSWORD": SECRET},
        {"OMNI_TOKEN": SECRET, "OMNI_USERNAME": "Aladdin", "OMNI_PASSWORD": SECRET},
        {"OMNI_TOKEN": SECRET, "OMNI_CLIENT_ID": "client", "OMNI_CLIENT_SECRET": SECRET},
    ],
)
def test_only_one_of_them_can_be_used(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    assert fault_of(monkeypatch, **given).startswith("set only one of RELAY_OMNI_API_KEY, ")


@pytest.mark.parametrize("given", [{"OMNI_USERNAME": "Aladdin"}, {"OMNI_PASSWORD": SECRET}])
def test_name_and_password_go_together(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    assert "RELAY_OMNI_USERNAME and RELAY_OMNI_PASSWORD go together" in fault_of(monkeypatch, **given)


@pytest.mark.parametrize("given", [{"OMNI_CLIENT_ID": "client"}, {"OMNI_CLIENT_SECRET": SECRET}])
def test_a_clients_id_and_secret_go_together(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    assert "RELAY_OMNI_CLIENT_ID and RELAY_OMNI_CLIENT_SECRET go together" in fault_of(monkeypatch, **given)


def test_a_clients_secret_fetches_the_header_later(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_environment(monkeypatch, OMNI_CLIENT_ID="client", OMNI_CLIENT_SECRET=SECRET)

    assert settings.omni_authorization is None
    assert SECRET not in repr(settings)


def test_without_any_only_what_needs_them_fails() -> None:
    """To watch, or to send, no credentials are needed."""
    settings = load_settings()

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
def test_the_base_url_is_https_unless_it_never_leaves_the_machine(
    monkeypatch: pytest.MonkeyPatch, given: str, used: str
) -> None:
    assert with_environment(monkeypatch, OMNI_BASE_URL=given).omni_base_url == used


@pytest.mark.parametrize(
    "given",
    [
        "http://api.infobip.com",
        "http://127.example.com",
        "ftp://api.infobip.com",
        "https://",
        "https://[",
        "https://a b",
        "https://exa\u2100mple.com",
        "https://host:99999",
        "https://host:0",
        "https://:secret@host",
        "https://api.infobip.com?key=x",
        "https://api.infobip.com/#x",
        f"https://user:{SECRET}@api.infobip.com",
    ],
)
def test_any_other_base_url_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    fault = fault_of(monkeypatch, OMNI_BASE_URL=given)

    assert fault.startswith("RELAY_OMNI_BASE_URL")
    assert SECRET not in fault


def test_plain_http_has_to_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_environment(monkeypatch, OMNI_BASE_URL="http://sandbox:8080", OMNI_ALLOW_HTTP="true")

    assert settings.omni_base_url == "http://sandbox:8080"


def test_the_shortest_delay_is_not_above_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = fault_of(monkeypatch, RETRY_BASE_DELAY="10", RETRY_MAX_DELAY="9")

    assert fault == "RELAY_RETRY_BASE_DELAY must not exceed RELAY_RETRY_MAX_DELAY"


# Secrets


def test_no_secret_is_in_what_a_log_might_print(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_environment(
        monkeypatch,
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
def test_no_value_is_in_an_error(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    """Any of them may be a secret that was put in the wrong place."""
    with pytest.raises(SettingsError) as caught:
        with_environment(monkeypatch, **given)

    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.http_port = 1  # type: ignore[misc]  # that it is refused is the point
