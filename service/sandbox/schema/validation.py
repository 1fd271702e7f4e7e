"""Validate bodies and queries against `omni.json`, a JSON Schema document with one definition for each.

* Lengths and words are those of the published description of OMNI. Three limits that it leaves out are those of the
  channels' own APIs: 1000 characters for a Viber text, 1400 for a voice text, 4096 for a WhatsApp text.
* Fields that the description marks as required and leaves out of its own examples are not required. Its examples in
  XML leave out the `type` of a Kakao button.
* `facebook`, `parseco`, `facebookUserKey`, `lineUserKey`, `singleShift` and `lockingShift` are from the older
  description.
* Objects are closed. OMNI does not publish how it treats unknown fields; here they are errors, so that mistakes show.
* `null` is a value of the wrong type, not an absent field.
* A `description` in the document completes an error message: "must be ...".
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal

from jsonschema_rs import ValidationError, ValidationErrorKind, Validator, validator_for

Errors = dict[str, list[str]]
"""Messages by the path of a field, such as `destinations[0].to`; `request` is the document as a whole."""

Definition = Literal[
    "AdvancedRequest",
    "SimpleRequest",
    "Scenario",
    "ReportsQuery",
    "LogsQuery",
    "ScenariosQuery",
    "Options",
    "Clock",
    "Fault",
    "FaultsQuery",
    "InboxQuery",
    "MessageQuery",
    "CallQuery",
    "Outcome",
]

_DOCUMENT: dict[str, Any] = json.loads(files(__package__).joinpath("omni.json").read_bytes())
_MOST = 1000
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)", re.ASCII)


def errors_in(document: Mapping[str, object], definition: Definition) -> Errors:
    """Return the errors in a document; empty if it is valid.

    The first error is always returned, up to about 1000 others only if they are within the first 1000 list items: an
    error costs 80 us and 2 KiB, and a body of 10 MiB can hold five million.
    """
    validator = _validator(definition)
    try:
        validator.validate(document)
    except ValidationError as first:
        beginning = _beginning(document, iter(range(_MOST)))
        errors: Errors = {}
        for error in (first, *validator.iter_errors(beginning)):
            if len(errors) >= _MOST:
                break
            for path, message in _described(error):
                messages = errors.setdefault(_written(path) or "request", [])
                if message not in messages:  # two branches of the schema may find the same error
                    messages.append(message)
        return errors
    return {}


def moment_of(value: object) -> datetime | None:
    """Read a date and time with a zone; None if it is not one."""
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


@functools.cache
def _validator(definition: Definition) -> Validator:
    return validator_for(
        {**_DOCUMENT, "$ref": f"#/$defs/{definition}"},
        formats={"moment": lambda value: moment_of(value) is not None},
        validate_formats=True,
        ignore_unknown_formats=False,
        mask="value",  # messages do not repeat what the caller sent
        offline=True,
    )


def _beginning(value: object, left: Iterator[int]) -> object:
    """Copy a document with as many list items as are left, and at least one in each list, so that none is too short."""
    if isinstance(value, dict):
        return {key: _beginning(child, left) for key, child in value.items()}
    if isinstance(value, list):
        kept = (child for index, child in enumerate(value) if next(left, None) is not None or index == 0)
        return [_beginning(child, left) for child in kept]
    return value


def _described(error: ValidationError) -> list[tuple[list[str | int], str]]:
    """Return the paths of an error, each with a message: that of a field for a field missing or unknown."""
    path = error.instance_path
    match error.kind:
        case ValidationErrorKind.Required(name):
            return [([*path, name], "must be present")]
        case ValidationErrorKind.AdditionalProperties(names):
            return [([*path, name], "is not a known field") for name in names[:_MOST]]
        case ValidationErrorKind.Enum(options):
            return [(path, f"must be one of {', '.join(map(str, options))}")]
        case _:
            schema: Any = _DOCUMENT
            for key in error.schema_path[:-1]:
                schema = schema[key]
            described = schema.get("description")
            return [(path, f"must be {described}" if described else error.message)]


def _written(path: Sequence[str | int]) -> str:
    written = ""
    for part in path:
        written += f"[{part}]" if isinstance(part, int) else f".{part}"
    return written.removeprefix(".")
