"""The schema document itself, and where it repeats names that the code has too."""

import json
from importlib.resources import files
from typing import Any, get_args

from jsonschema import Draft202012Validator

from service.sandbox.delivery.inbox import State
from service.sandbox.delivery.status import GROUPS
from service.sandbox.fault.fault import Kind, Path
from service.sandbox.schema.channel import CHANNELS
from service.sandbox.schema.validation import Definition
from service.sandbox.wire.response import Envelope

DOCUMENT: dict[str, Any] = json.loads(files("service.sandbox.schema").joinpath("omni.json").read_text())
DEFINITIONS: dict[str, Any] = DOCUMENT["$defs"]


def objects_in(value: object) -> list[dict[str, Any]]:
    """List every object in a document, itself included."""
    if isinstance(value, dict):
        return [value, *(inner for child in value.values() for inner in objects_in(child))]
    return [inner for child in value for inner in objects_in(child)] if isinstance(value, list) else []


def test_it_is_valid_json_schema() -> None:
    Draft202012Validator.check_schema(DOCUMENT)


def test_every_definition_is_used() -> None:
    used = {each["$ref"].removeprefix("#/$defs/") for each in objects_in(DEFINITIONS) if "$ref" in each}

    assert {*used, *get_args(Definition)} == set(DEFINITIONS)


def test_every_object_with_fields_is_closed_except_the_conditions() -> None:
    open_ = [each for each in objects_in(DEFINITIONS) if each.get("type") == "object" and "properties" in each]

    assert all("additionalProperties" in each or "allOf" in each for each in open_)


def test_its_names_are_those_of_the_code() -> None:
    fault = DEFINITIONS["Fault"]["properties"]

    assert DEFINITIONS["Channel"]["enum"] == [channel.name for channel in CHANNELS.values()]
    assert [each["required"][0] for each in DEFINITIONS["AdvancedRequest"]["anyOf"]] == list(CHANNELS)
    assert set(DEFINITIONS["LogsQuery"]["properties"]["generalStatus"]["enum"]) == set(GROUPS.values())
    assert DEFINITIONS["FaultKind"]["enum"] == list(Kind)
    assert DEFINITIONS["InboxQuery"]["properties"]["state"]["enum"] == [*State, "failedOver"]
    assert fault["path"]["enum"] == list(Path)
    assert fault["envelope"]["enum"] == [each.value for each in Envelope]
