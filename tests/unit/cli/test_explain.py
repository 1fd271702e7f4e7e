"""`omni-relay explain`, run on every example in the documents, whose outputs are compared with its own."""

import ast
import gzip
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from service.cli.explain import explanation_lines
from service.cli.main import commands
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.delivery import Delivery
from service.core.omni.content import CHANNELS
from service.core.request.body import LONGEST
from service.core.result.explanation import Explanation, content_type_of, explain
from tests.support.builder import NOW, PHONE, a_body, a_destination

ROOT: Final = Path(__file__).parents[3]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
REQUEST: Final = (ROOT / "deploy/contract/request.md").read_text(encoding="utf-8")
EXPLAIN: Final = (ROOT / "deploy/contract/explain.md").read_text(encoding="utf-8")
POLICY: Final = Policy(RetryPolicy())


def explained(body: str) -> Explanation:
    raw = body.encode()
    return explain(Delivery(raw, content_type_of("-", raw)), POLICY, NOW)


def printed(body: str) -> list[str]:
    return list(explanation_lines(explained(body), NOW))


def run(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(commands, ["explain", *arguments], input=given)


# The documents


def examples() -> Iterator[str]:
    """Find each request of the README, in a shell and in Python."""
    yield from re.findall(r"^echo '(\{.*\})'", README, re.MULTILINE)
    yield from (json.dumps(ast.literal_eval(one)) for one in re.findall(r"request = (\{.*\})", README))


EXAMPLES: Final = list(examples())


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("body", EXAMPLES)
def test_each_example_of_the_readme_would_be_posted(body: str) -> None:
    found = explained(body)

    assert not found.is_refused
    assert [message.to["phoneNumber"] for message in found.messages] == [PHONE]
    result = run(given=body.encode())
    assert result.exit_code == 0
    assert f"phoneNumber {PHONE}" in result.output


SMALLEST: Final = dict(re.findall(r"^\| `(\w+)` \| `(\{.*\})` \|$", REQUEST, re.MULTILINE))


def test_the_documents_have_the_smallest_request_of_each_channel() -> None:
    assert set(SMALLEST) == set(CHANNELS.values())


@pytest.mark.parametrize(("channel", "body"), SMALLEST.items())
def test_the_smallest_request_of_a_channel_would_be_posted_and_nothing_in_it_can_be_left_out(
    channel: str, body: str
) -> None:
    assert not explained(body).is_refused
    content = json.loads(body)[channel]
    for name in content:
        fewer = {**json.loads(body), channel: {key: value for key, value in content.items() if key != name}}
        assert explained(json.dumps(fewer)).is_refused is (channel != "push")  # a push may have no text


def test_the_documents_show_what_the_command_prints() -> None:
    (console,) = re.findall(r"```console\n(.*?)```", EXPLAIN, re.DOTALL)
    _, body, command, *output = console.splitlines()

    assert command == "$ .venv/bin/omni-relay explain offer.json"
    assert output == printed(body)


FAULTS: Final = re.findall(r"^\| ([^|]+) \| `(.*)` \| (`.*) \|$", EXPLAIN, re.MULTILINE)


def test_the_documents_have_a_wrong_request_of_each_kind() -> None:
    assert len(FAULTS) > 20


@pytest.mark.parametrize(("kind", "body", "says"), FAULTS)
def test_each_wrong_request_of_the_documents_is_refused_as_they_say(kind: str, body: str, says: str) -> None:
    found = explained(body)

    faults = [*found.faults, *(fault for one in found.rejections for fault in one.faults)]
    assert "<br>".join(f"`{fault.path}` {fault.message}" for fault in faults) == says, kind
    assert run(given=body.encode()).exit_code == 1
    assert any(line.startswith("REFUSED") for line in printed(body))


# The command


def test_a_file_is_read_by_its_name(tmp_path: Path) -> None:
    document = f"<request><requestId>x-1</requestId><phoneNumber>{PHONE}</phoneNumber><text>é</text></request>"
    files = {
        "a.json": json.dumps(a_body()).encode(),
        "a.json.gz": gzip.compress(json.dumps(a_body()).encode()),
        "a.xml": document.encode("utf-16"),
        "a.xml.gz": gzip.compress(document.encode()),
        "a": document.encode(),
        "A.JSON": json.dumps(a_body()).encode("utf-8-sig"),
    }
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)
        result = run(str(tmp_path / name))
        assert (name, result.exit_code) == (name, 0), result.output
        assert "1 message in 1 call" in result.output


def test_the_content_type_can_be_given() -> None:
    document = f"<request><phoneNumber>{PHONE}</phoneNumber><sms><text>Grüezi, 5 €</text></sms></request>"

    result = run("--json", "--content-type", "application/xml; charset=windows-1252", given=document.encode("cp1252"))

    assert json.loads(result.output)["sms"]["parts"] == [{"units": 11 + 1, "text": "Grüezi, 5 €"}]
    assert run("--content-type", "text/csv", given=b"{}").exit_code == 1


def test_the_call_asks_for_reports_as_it_would_and_the_token_is_not_shown() -> None:
    environment = {"RELAY_REPORTS_URL": "https://relay.example.com/reports", "RELAY_REPORTS_TOKEN": "canary-token-0123"}

    result = CliRunner(env=environment).invoke(commands, ["explain", "--json"], input=json.dumps(a_body()).encode())

    assert "https://relay.example.com/reports/***" in result.output
    assert "canary-token" not in result.output


def test_json_output_is_one_object() -> None:
    result = run("--json", given=json.dumps(a_body(requestId="r", metadata={"a": "\x7f\x1b"})).encode())

    assert result.output.count("\n") == 1
    assert result.output.isascii()
    assert not {"\x7f", "\x1b"} & set(result.output)
    found = json.loads(result.output)
    assert (found["requestId"], found["refused"], found["metadata"]) == ("r", False, {"a": "\x7f\x1b"})


def test_the_settings_are_applied() -> None:
    body = a_body(destinations=[a_destination(message_id=f"m-{number}") for number in range(3)])
    environment = {
        "RELAY_OMNI_SCENARIO_KEY": "KEY",
        "RELAY_OMNI_MAX_MESSAGES_PER_CALL": "2",
        "RELAY_UNKNOWN_POLICY": "park",
        "RELAY_RETRY_MAX_ATTEMPTS": "1",
    }
    result = CliRunner(env=environment).invoke(commands, ["explain", "--json"], input=json.dumps(body))

    found = json.loads(result.output)
    assert [len(call["destinations"]) for call in found["calls"]] == [2, 1]
    assert {call["scenarioKey"] for call in found["calls"]} == {"KEY"}
    assert (found["onUnknown"], found["maxAttempts"], found["retrySeconds"]) == ("park", 1, 0)


def test_a_file_longer_than_any_request_is_not_read_completely(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b" " * (LONGEST + 10))

    result = run(str(tmp_path / "a.json"))

    assert result.exit_code == 1
    assert "must have at most 4 MiB" in result.output


def test_a_missing_file_is_a_usage_error() -> None:
    assert run("nowhere.json").exit_code == 2


# What people see


def test_explanations_have_no_control_characters_of_a_request() -> None:
    evil = "\x1b[2J\x9b1m\u202e\u200b\x7f\r\n\u2028\u00a0\U000e0001"
    bodies = [
        a_body(
            requestId=f"r{evil}",
            destinations=[{"to": {"pushRegistrationId": evil}, "messageId": f"m{evil}"}],
            sms={"text": f"x{evil}"},
            metadata={evil: evil},
        ),
        a_body({evil: 1}, destinations=[{"to": {"phoneNumber": f"1{evil}"}, "messageId": f"m{evil}"}]),
        a_body(destinations=[{"to": {"phoneNumber": evil, evil: 1}}]),
    ]
    for body in bodies:
        assert all(line.isprintable() for line in printed(json.dumps(body)))
        result = run(given=json.dumps(body).encode())
        assert set(result.output) - {"\n"} == {one for one in result.output if one.isprintable()}


def test_the_text_of_each_sms_part_is_shown() -> None:
    lines = printed(json.dumps(a_body(sms={"text": "a" * 152 + "€" + "b" * 152})))

    assert lines[lines.index("SMS: gsm7, 306 septets, 3 parts of at most 25") :][1:4] == [
        f'   1  152  "{"a" * 152}"',
        f'   2  153  "€{"b" * 151}"',
        '   3    1  "b"',
    ]


def test_only_some_of_many_characters_outside_the_gsm_alphabet_are_named() -> None:
    lines = printed(json.dumps(a_body(sms={"text": "абвгдежзийк"})))

    (named,) = [line for line in lines if "not in the GSM alphabet" in line]
    assert named.startswith("  not in the GSM alphabet: а (U+0430), б (U+0431)")  # noqa: RUF001 - these are Cyrillic
    assert named.endswith("й (U+0439) and others")


def test_a_deadline_that_has_passed_is_reported() -> None:
    body = json.dumps(a_body(expiresAt=(NOW - timedelta(hours=1)).isoformat(), onUnknown="park"))

    lines = printed(body)

    assert lines[:2] == ["request order-1: not posted", "EXPIRED  its deadline has passed: nothing would be posted"]
    assert "  expiresAt  2026-11-22T11:00:00.000+00:00 (1:00:00 ago): no attempt from then on" in lines
    assert "  onUnknown  park, as the request says" in lines
    assert run(given=body.encode()).exit_code == 1


def test_a_request_whose_destinations_are_all_rejected_is_refused() -> None:
    assert printed(json.dumps(a_body(destinations=[a_destination("12")])))[0] == "request order-1: refused"


def test_a_request_without_an_sms_has_no_parts() -> None:
    lines = printed(json.dumps(a_body(sms=..., email={"text": "x"})))

    assert not any(line.startswith("SMS") for line in lines)
