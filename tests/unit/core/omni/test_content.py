from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from service.core.omni.channel.email import Email
from service.core.omni.channel.sms import Sms
from service.core.omni.channel.viber import Viber
from service.core.omni.content import Content
from service.core.omni.time import vendor_time


@pytest.mark.parametrize(
    ("period", "unit"),
    [
        (30, "SECONDS"),
        (172_800, "SECONDS"),
        (1, "MINUTES"),
        (1, None),
        (2880, None),
        (2880, "MINUTES"),
        (1, "HOURS"),
        (48, "HOURS"),
        (2, "DAYS"),
    ],
)
def test_a_step_may_try_for_30_seconds_to_48_hours(period: int, unit: str | None) -> None:
    given = Email.model_validate({"text": "x", "validityPeriod": period, "validityPeriodTimeUnit": unit})

    posted = (period * 86_400, "SECONDS") if unit == "DAYS" else (period, unit)  # OMNI knows no days
    assert (given.validity_period, given.validity_period_time_unit) == posted


@pytest.mark.parametrize(
    ("period", "unit"),
    [
        (29, "SECONDS"),
        (172_801, "SECONDS"),
        (0, "MINUTES"),
        (-1, "MINUTES"),
        (0, None),
        (2881, None),
        (49, "HOURS"),
        (10**30, "SECONDS"),
    ],
)
def test_a_shorter_or_longer_step_is_a_fault(period: int, unit: str | None) -> None:
    with pytest.raises(ValidationError, match="30 seconds to 48 hours"):
        Email.model_validate({"text": "x", "validityPeriod": period, "validityPeriodTimeUnit": unit})


def test_viber_may_try_for_fourteen_days() -> None:
    given = Viber.model_validate({"text": "x", "validityPeriod": 14, "validityPeriodTimeUnit": "DAYS"})

    assert given.validity_period == 14 * 86_400
    with pytest.raises(ValidationError, match="336 hours"):
        Viber.model_validate({"text": "x", "validityPeriod": 337, "validityPeriodTimeUnit": "HOURS"})


@pytest.mark.parametrize(
    ("period", "unit", "seconds"),
    [
        (2, "DAYS", 172_800),
        (30_000, "MILLISECONDS", 30),
        (30_000_001, "MICROSECONDS", 31),
        (45 * 10**9, "NANOSECONDS", 45),
    ],
)
def test_units_that_only_the_specification_knows_are_turned_into_seconds(period: int, unit: str, seconds: int) -> None:
    given = Email.model_validate({"text": "x", "validityPeriod": period, "validityPeriodTimeUnit": unit})

    assert (given.validity_period, given.validity_period_time_unit) == (seconds, "SECONDS")


def test_the_steps_of_a_scenario_are_the_channels_with_content() -> None:
    content = Content(sms=Sms(text="x", validity_period=1), email=Email(text="x"))

    assert list(content.steps) == ["sms", "email"]


def test_a_unit_without_a_period_is_ignored() -> None:
    assert Email.model_validate({"text": "x", "validityPeriodTimeUnit": "HOURS"}).validity_period is None


def test_a_period_may_be_written_as_a_string() -> None:
    """One of the vendor's pages calls it one."""
    assert Email.model_validate({"text": "x", "validityPeriod": "90"}).validity_period == 90


@pytest.mark.parametrize("period", ["", "1.5", "-1", "+1", " 1", "٣", "1_0", "one", 1.0, 1.5, True, [1], {}])
def test_nothing_else_is_a_whole_number(period: object) -> None:
    with pytest.raises(ValidationError):
        Email.model_validate({"text": "x", "validityPeriod": period})


@pytest.mark.parametrize("unit", ["", "seconds", "WEEKS", 60])
def test_units_are_the_vendors(unit: object) -> None:
    with pytest.raises(ValidationError):
        Email.model_validate({"text": "x", "validityPeriod": 1, "validityPeriodTimeUnit": unit})


@pytest.mark.parametrize("code", ["NONE", "TR", "ES", "PT", "AUTODETECT"])
def test_a_language_is_one_of_five(code: str) -> None:
    assert Sms.model_validate({"text": "x", "language": {"languageCode": code}}).language


@pytest.mark.parametrize("language", [{"languageCode": "DE"}, {"languageCode": "tr"}, {"languageCode": None}, {}, "TR"])
def test_any_other_language_is_a_fault(language: object) -> None:
    with pytest.raises(ValidationError):
        Sms.model_validate({"text": "x", "language": language})


@pytest.mark.parametrize(
    "table",
    [
        "NONE",
        "ALL",
        "BALTIC",
        "BULGARIAN_CYRILLIC",
        "CENTRAL_EUROPEAN",
        "COLOMBIAN",
        "CYRILLIC",
        "GREEK",
        "NON_UNICODE",
        "PORTUGUESE",
        "SERBIAN_CYRILLIC",
        "TURKISH",
    ],
)
def test_a_transliteration_is_one_of_twelve(table: str) -> None:
    assert Sms.model_validate({"text": "x", "transliteration": table}).transliteration == table


@pytest.mark.parametrize("table", ["", "turkish", "KLINGON", 1])
def test_any_other_transliteration_is_a_fault(table: object) -> None:
    with pytest.raises(ValidationError):
        Sms.model_validate({"text": "x", "transliteration": table})


@pytest.mark.parametrize("channel", ["sms", "voice", "email", "kakaoChingu"])
def test_most_channels_need_a_text(channel: str) -> None:
    assert Content.model_validate({channel: {"text": "x"}}).steps
    wrongs: tuple[object, ...] = ({}, {"text": ""}, {"text": None}, {"text": 5}, "x", [])
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            Content.model_validate({channel: wrong})


@pytest.mark.parametrize(
    ("channel", "field"),
    [
        ("viber", {"subject": "x"}),
        ("sms", {"subject": "x"}),
        ("voice", {"transliteration": "ALL"}),
        ("email", {"transliteration": "ALL"}),
        ("facebook", {"from": "x"}),
        ("sms", {"flash": True}),
        ("email", {"html": "<p>"}),
    ],
)
def test_a_channel_has_only_its_own_fields(channel: str, field: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Content.model_validate({channel: {"text": "x", **field}})


@pytest.mark.parametrize("bulk_id", ["", "x" * 101, 5])
def test_a_bulk_id_has_1_to_100_characters(bulk_id: object) -> None:
    with pytest.raises(ValidationError):
        Content.model_validate({"bulkId": bulk_id})


@pytest.mark.parametrize(
    ("instant", "written"),
    [
        (datetime(2016, 4, 26, 10, 52, 15, tzinfo=timezone(timedelta(hours=1))), "2016-04-26T09:52:15.000+0000"),
        (datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC), "2026-01-02T03:04:05.678+0000"),
        (datetime(2026, 1, 2, 3, 4, 5, 678_999, tzinfo=UTC), "2026-01-02T03:04:05.678+0000"),
        (datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=14))), "2025-12-31T10:30:00.000+0000"),
    ],
)
def test_an_instant_is_written_as_the_vendor_does(instant: datetime, written: str) -> None:
    assert vendor_time(instant) == written


@pytest.mark.parametrize(
    "written", ["2016-04-26T10:52:15.000+01:00", "2016-04-26T10:52:15.000+0100", "2016-04-26T09:52:15Z"]
)
def test_send_at_is_read_in_the_vendors_and_in_the_usual_form(written: str) -> None:
    given = Content.model_validate_json(f'{{"sendAt": "{written}"}}')

    assert given.send_at == datetime(2016, 4, 26, 9, 52, 15, tzinfo=UTC)


@pytest.mark.parametrize("written", ['"2016-04-26T10:52:15"', '"2016-04-26"', '"tomorrow"', '""', "true", "[]"])
def test_send_at_needs_a_time_and_a_zone(written: str) -> None:
    with pytest.raises(ValidationError):
        Content.model_validate_json(f'{{"sendAt": {written}}}')
