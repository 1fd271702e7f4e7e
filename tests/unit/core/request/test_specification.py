"""The relay against the vendor's specification; `RELAY_TEST_OMNI_SPEC` names its file, without it nothing is tested."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from service.core.attempt.call import Origin, plan
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.request.request import Parsed
from tests.support.builder import a_delivery, a_history, parsed
from tests.unit.core.omni.channel.test_limit import VALID
from tests.unit.specification import FILE, Json, closed, load, schema_of
from tests.unit.strategy import bodies, law

pytestmark = pytest.mark.skipif(not FILE, reason="RELAY_TEST_OMNI_SPEC names no file")

SPECIFICATION: Final = load()
WRONG_NUMBER: Final = "Send OMNI SMS-EMAIL message"
"""Its second number has 17 digits."""
UNTYPED: Final = frozenset({"Send Kakao AlimTalk buttons message", "Send Kakao ChinguTalk buttons message"})
"""In XML their buttons have no type."""


def examples(kind: str) -> Mapping[str, Any]:
    if not SPECIFICATION:
        return {}
    body = SPECIFICATION["paths"]["/omni/1/advanced"]["post"]["requestBody"]
    return {name: example["value"] for name, example in body["content"][kind]["examples"].items()}


IN_JSON: Final = examples("application/json")
IN_XML: Final = examples("application/xml")


def read_json(name: str, *, with_types: bool = True) -> Parsed:
    body = json.loads(json.dumps(IN_JSON[name]))
    for channel in () if with_types else ("kakaoAlim", "kakaoChingu"):
        for button in body.get(channel, {}).get("buttons", []):
            del button["type"]
    return parsed(body)


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """Know every field of an advanced request, and refuse any other."""
    whole = closed(SPECIFICATION)
    root = {"$ref": schema_of(SPECIFICATION, "OmniAdvancedRequest"), "unevaluatedProperties": False}
    return Draft202012Validator({**whole, **root})


def faults_of(validator: Draft202012Validator, reading: Parsed) -> list[str]:
    assert reading.request is not None
    faults = []
    for call in plan(reading.request, a_history(), Origin(), Policy(RetryPolicy())):
        payload: Json = json.loads(call.to_json())
        payload.pop("facebook", None)  # legacy: on the vendor's old pages only
        faults += [f"{error.json_path}: {error.message}" for error in validator.iter_errors(payload)]
    return faults


@pytest.mark.parametrize("name", sorted(IN_JSON))
def test_every_example_is_a_request(name: str) -> None:
    reading = read_json(name)

    assert reading.request is not None
    wrong = ["destinations[1].to.phoneNumber"] if name == WRONG_NUMBER else []
    assert [fault.path for rejection in reading.rejections for fault in rejection.faults] == wrong


@pytest.mark.parametrize("name", sorted(IN_XML))
def test_every_example_has_the_same_meaning_in_xml_and_json(name: str) -> None:
    document = replace(a_delivery(IN_XML[name].encode()), content_type="application/xml")

    reading = parsed(document)

    assert reading.request is not None
    assert reading == read_json(name, with_types=name not in UNTYPED)


@pytest.mark.parametrize("name", sorted(IN_JSON))
def test_an_example_is_posted_within_the_schema(name: str, validator: Draft202012Validator) -> None:
    assert faults_of(validator, read_json(name)) == []


@pytest.mark.parametrize("channel", sorted(set(VALID) - {"facebook"}))
def test_valid_content_is_posted_within_the_schema(channel: str, validator: Draft202012Validator) -> None:
    for content in VALID[channel]:
        body = {"destinations": [{"to": {"phoneNumber": "41793026727"}}], channel: content}
        assert faults_of(validator, parsed(body)) == []


@law
@given(body=bodies)
def test_whatever_is_posted_is_within_the_schema(validator: Draft202012Validator, body: dict[str, object]) -> None:
    assert faults_of(validator, parsed(body)) == []


def test_the_schema_refuses_unknown_fields(validator: Draft202012Validator) -> None:
    assert not validator.is_valid({"unheardOf": 1})
    assert not validator.is_valid({"sms": {"text": "x", "flash": True}})
    assert not validator.is_valid({"line": {"contents": {"type": "BUBBLE", "body": {"layout": "VERTICAL", "x": 1}}}})
