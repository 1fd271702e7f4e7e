"""The JSON Schema of a send request, for producers in other languages; from the models.

The schema refuses no request that the relay accepts. It accepts some that the relay refuses, because a schema cannot
express every rule; `NOT_EXPRESSED` lists those. It uses only keywords that JSON Schema 2020-12 and draft 07 share,
since AsyncAPI builds on the latter, and only patterns that ECMA-262 and Python read alike.

Two things come from here and not from a model: rules about several fields of an object, and descriptions of fields.
They are tables, which makes the file long.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from service.core.omni.channel.kakao import AlimButton, Button, ChinguButton
from service.core.omni.channel.line import NEEDS
from service.core.omni.channel.sms import LONGEST_TEXT
from service.core.omni.channel.step import NANOSECONDS, Step
from service.core.omni.channel.viber import COMBINATIONS
from service.core.omni.content import CHANNELS
from service.core.omni.destination import ADDRESSES
from service.core.request.body import FLAT, MAX_ID, RequestBody

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

NOT_EXPRESSED: Final = (
    "A phone number with a trunk zero after the country code, since that depends on the country's numbering plan.",
    "A phone number with `/`, `#` or similar characters, with characters of other scripts, or with the prefix 011.",
    "An e-mail address that has the form of one, and that no mail server accepts.",
    "A date that the calendar does not have, a leap second that was none, and `sendAt` 180 days ahead or more.",
    "Lengths in bytes: `requestId` (255), `metadata` (4 KiB, and 8 MiB times the destinations), the body (4 MiB).",
    "`push.customPayload` of more than 4000 characters as JSON.",
    "An SMS text of more than 25 parts in its alphabet, and fewer than 3,826 characters.",
    "A voice text of punctuation that is not ASCII or Unicode's General Punctuation.",
    "A whole number written with a decimal point, such as `1.0`, and a number that is too large, such as 1e999.",
    "`validityPeriod` written as a text: its range.",
    "A `messageId` that two destinations of a request have, and a name that a JSON object has twice.",
    "The number of values in a body: 80,000, of which 5,000 outside `destinations`.",
)
"""Faults of a request that conforms to the schema."""

_GAP: Final = "[^0-9A-Za-z+]*"
_PHONE: Final = (
    r"^(?!\+?[0-9]{6,}\.0$|\+?[1-9][0-9]{15,}$)"
    rf"{_GAP}(?:\+{_GAP}|0{_GAP}0{_GAP})?[1-9](?:{_GAP}[0-9]){{4,15}}{_GAP}$"
)
"""A number as it may be written: a country code first, 5 to 15 digits, and perhaps one zero in brackets."""
_EMAIL: Final = r'^(?:[^\s@<>,;]+|".+")@[^\s@<>,;]+[.\u3002\uff0e\uff61][^\s@<>,;]+$'
_INSTANT: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])$"
)
_MORE_THAN_PUNCTUATION: Final = (
    r"""[^\s!"#%&'()*,\-./:;?@\[\\\]_{}\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf"""
    r"\u2010-\u2027\u2030-\u2043\u2045-\u2051\u2053-\u205e]"
)
_PORTABLE: Final = {
    "(?i:https?)": "[Hh][Tt][Tt][Pp][Ss]?",
    "(?i:tel)": "[Tt][Ee][Ll]",
    r"[^\p{P}\s]": _MORE_THAN_PUNCTUATION,
}
"""Parts of the models' patterns that not every language reads, and the same for all."""

DESCRIPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "SendRequest": {
        "bulkId": "Your name for the whole request.",
        "scenarioKey": "The scenario, an order of channels. Default: the relay's setting, else the account's.",
        **{alias: f"The content for the channel {alias}." for alias in CHANNELS.values()},
        "notify": "Whether OMNI reports delivery. False: no report.",
        "intermediateReport": "Whether OMNI also reports states on the way.",
        "notifyUrl": "Where OMNI pushes its reports, instead of to the relay.",
        "notifyContentType": "The format of the reports that OMNI pushes to notifyUrl.",
        "callbackData": "Comes back in delivery reports.",
        "sendAt": "When the first step is due: RFC 3339 with a zone, less than 180 days ahead.",
        "destinations": "One message for each destination.",
        "phoneNumber": "Flat shape: the recipient's phone number, in international form.",
        "emailAddress": "Flat shape: the recipient's e-mail address.",
        "messageId": "Flat shape: the id of the one message.",
        "text": "Simple shape: the text for sms, viber, voice, facebook and email.",
        "mailSubject": "Simple shape: the subject for email.",
        "requestId": "Your name for the request, unique among all producers. At most 255 bytes. Set it, or the AMQP "
        "message_id: without either a redelivery cannot be recognised.",
        "expiresAt": "The relay makes no attempt from this time on: RFC 3339 with a zone.",
        "onUnknown": "For an attempt that OMNI may or may not have taken, and that no lookup shows: post it again "
        "(resend), or stop (park).",
        "metadata": "Texts by name, at most 4 KiB. Every event of the request repeats them.",
    },
    "Destination": {
        "to": "The addresses of one person.",
        "messageId": "The id of the message, unique in the OMNI account. Default: derived from the request.",
    },
    "To": {
        "phoneNumber": "In international form: a country code, and 5 to 15 digits in all. Posted as digits.",
        "emailAddress": "One address, without a name or brackets.",
        "pushRegistrationId": "The registration of a device with the mobile app.",
        "whatsAppUserId": "The id of a business's WhatsApp user.",
    },
}
"""Descriptions of fields, by model; the fields of channels are described with their models."""

EXAMPLES: Final[Mapping[str, Sequence[object]]] = {
    "phoneNumber": ["41793026727", "+41 79 302 67 27"],
    "emailAddress": ["anna@example.com"],
    "messageId": ["shop-order-8812-1"],
    "requestId": ["shop-order-8812"],
    "expiresAt": ["2026-11-22T10:52:15Z"],
    "sendAt": ["2026-11-22T10:52:15Z"],
    "metadata": [{"tenant": "acme"}],
    "text": ["Your parcel has arrived"],
    "whatsAppUserId": ["US.13491208655302741918"],
}
REQUEST_EXAMPLES: Final[Sequence[Schema]] = (
    {
        "requestId": "shop-order-8812",
        "destinations": [{"messageId": "shop-order-8812-1", "to": {"phoneNumber": "41793026727"}}],
        "sms": {"text": "Your parcel has arrived"},
        "viber": {"text": "Your parcel has arrived", "validityPeriod": 1, "validityPeriodTimeUnit": "HOURS"},
        "expiresAt": "2099-11-22T10:52:15Z",
        "metadata": {"tenant": "acme"},
    },
    {
        "requestId": "shop-order-8813",
        "destinations": [{"to": {"phoneNumber": "41793026727", "emailAddress": "anna@example.com"}}],
        "text": "Your parcel has arrived",
        "mailSubject": "Your parcel",
    },
    {"requestId": "shop-code-1", "phoneNumber": "41793026727", "sms": {"text": "Your code is 123456"}},
)
"""One of each shape."""


class _Generator(GenerateJsonSchema):
    """Leaves out titles of fields, `default: null`, and the keyword `discriminator`, which is OpenAPI's."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return {name: value for name, value in super().default_schema(schema).items() if name != "default"}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if isinstance(inner.get("type"), str) and not inner.keys() & {"enum", "const"}:
            return {**inner, "type": [inner["type"], "null"]}
        return {"anyOf": [inner, {"type": "null"}]}

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        written = super().str_schema(schema)
        for part, portable in _PORTABLE.items():
            if part in written.get("pattern", ""):
                written["pattern"] = written["pattern"].replace(part, portable)
        return written

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:  # noqa: ARG002 - the same
        # No `format`: the relay also accepts the vendor's offset without a colon.
        return {"type": "string", "pattern": _INSTANT}

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        union = super().tagged_union_schema(schema)
        union.pop("discriminator", None)
        if callable(schema["discriminator"]):  # a component of a LINE message is chosen by its type, which it must have
            union = {"required": ["type"], "properties": {"type": {"type": "string"}}, **union}
        return union


def request_schema(references: str = "#/$defs/{model}") -> tuple[Schema, dict[str, Schema]]:
    """Build the schema of a request, and those of its parts by the model's name, to which it refers."""
    schema = RequestBody.model_json_schema(schema_generator=_Generator, ref_template=references)
    parts: dict[str, Schema] = schema.pop("$defs")
    schema |= {
        "title": "SendRequest",
        "description": "A send request: one content for one or many recipients, in one of three shapes.",
        "examples": list(REQUEST_EXAMPLES),
    }
    for name, part in (("SendRequest", schema), *parts.items()):
        if "properties" not in part:  # any JSON value
            continue
        _describe(name, part)
        for field, narrower in _FIELDS.get(name, {}).items():
            part["properties"][field].update(narrower)
        if name in _STEPS:
            part["properties"]["validityPeriod"].update(_NUMBER_OR_TEXT)
        rules = _RULES[name]() if name in _RULES else []
        if name in _STEPS:
            rules.append({"$ref": references.format(model=_validity_of(name))})
        if rules:
            part["allOf"] = rules
    parts |= {_validity_of(name): _validity(model) for name, model in _STEPS.items()}
    return schema, dict(sorted(parts.items()))


def request_document() -> Schema:
    """Build the whole document, JSON Schema 2020-12."""
    schema, parts = request_schema()
    return {"$schema": DIALECT, "$id": "urn:omni-relay:send-request", **schema, "$defs": parts}


def _validity_of(step: str) -> str:
    return "ViberValidity" if step == "Viber" else "Validity"


def _describe(name: str, part: Schema) -> None:
    descriptions = DESCRIPTIONS.get(name, {})
    for field, schema in part["properties"].items():
        named = {"description": descriptions[field]} if field in descriptions else {}
        shown = {"examples": list(EXAMPLES[field])} if descriptions and field in EXAMPLES else {}
        part["properties"][field] = {**named, **_referred(schema), **shown}


def _referred(schema: Schema) -> Schema:
    """Wrap a reference: draft 07 ignores all that stands beside one."""
    return {"allOf": [schema]} if "$ref" in schema else schema


# Rules about several fields. In a request null means the same as an absent field.


def _given(*names: str) -> Schema:
    return {"required": [*names], "properties": {name: {"not": {"type": "null"}} for name in names}}


def _absent(*names: str) -> Schema:
    return {"properties": {name: {"type": "null"} for name in names}}


def _any_given(*names: str) -> Schema:
    return {"anyOf": [_given(name) for name in names]}


def _if_given(name: str, then: Schema) -> Schema:
    return {"if": _given(name), "then": then}


def _if_type(type_: str, then: Schema) -> Schema:
    return {"if": {"required": ["type"], "properties": {"type": {"const": type_}}}, "then": then}


def _shapes() -> list[Schema]:
    channels = [*CHANNELS.values()]
    return [
        {
            "if": _given("destinations"),
            "then": _absent(*FLAT, "messageId"),
            "else": _any_given(*FLAT),
        },
        {"if": _any_given(*channels), "then": _absent("text", "mailSubject"), "else": _given("text")},
    ]


def _viber() -> list[Schema]:
    names = {"text": "text", "image": "imageURL", "button": "buttonURL", "file": "fileUrl"}
    combinations = [
        {
            "allOf": [
                _given(*(names[one] for one in names if one in combination)),
                _absent(*(names[one] for one in names if one not in combination)),
            ]
        }
        for combination in sorted(COMBINATIONS, key=sorted)
    ]
    return [
        {"anyOf": combinations},
        _if_given("buttonText", _given("buttonURL")),
        _if_given("buttonURL", _given("buttonText")),
        _if_given("fileName", _given("fileUrl")),
        _if_given("fileType", _given("fileUrl")),
    ]


def _line() -> list[Schema]:
    aliases = {"alt_text": "altText", "package_id": "packageId", "sticker_id": "stickerId"}
    needs = {type_: [aliases.get(name, name) for name in names] for type_, names in NEEDS.items()}
    return [
        *(_if_type(type_, _given(*names)) for type_, names in needs.items() if type_ != "TEXT"),
        {"if": {"properties": {"type": {"enum": ["TEXT", None]}}}, "then": _given(*needs["TEXT"])},
    ]


def _button(model: type[Button]) -> Callable[[], list[Schema]]:
    def rules() -> list[Schema]:
        fields = [field.alias or name for name, field in model.model_fields.items()]
        found = []
        for type_, takes in model.takes.items():
            strange = [name for name in fields if name not in {"type", "buttonText", *takes}]
            needs = sorted(model.needs.get(type_, ()))
            found.append(
                _if_type(type_, {"allOf": [_absent(*strange), _given(*needs)]} if needs else _absent(*strange))
            )
        return found

    return rules


def _whats_app() -> list[Schema]:
    content = ("text", "templateName", "fileUrl", "imageUrl", "audioUrl", "videoUrl", "latitude", "contacts")
    return [
        _any_given(*content),
        _if_given("latitude", _given("longitude")),
        _if_given("longitude", _given("latitude")),
    ]


_RULES: Final[Mapping[str, Callable[[], list[Schema]]]] = {
    "SendRequest": _shapes,
    "To": lambda: [_any_given(*ADDRESSES)],
    "Facebook": lambda: [_any_given("text", "url")],
    "VKontakte": lambda: [_any_given("text", "templateName")],
    "Line": _line,
    "Viber": _viber,
    "WhatsApp": _whats_app,
    "AlimButton": _button(AlimButton),
    "ChinguButton": _button(ChinguButton),
}

_STEPS: Final = {model.__name__: model for model in Step.__subclasses__()}
_NUMBER_OR_TEXT: Final = {"type": ["integer", "string", "null"], "pattern": "^[0-9]{1,19}$"}

_FIELDS: Final[Mapping[str, Mapping[str, Schema]]] = {
    "SendRequest": {
        "phoneNumber": {"pattern": _PHONE, "maxLength": 250},
        "emailAddress": {"pattern": _EMAIL},
        "requestId": {"minLength": 1, "maxLength": MAX_ID},
        "text": {"minLength": 1, "maxLength": 1000, "pattern": _MORE_THAN_PUNCTUATION},
    },
    "To": {"phoneNumber": {"pattern": _PHONE, "maxLength": 250}, "emailAddress": {"pattern": _EMAIL}},
    "Sms": {"text": {"maxLength": LONGEST_TEXT}},
    "Push": {"personSubscriptions": {"uniqueItems": True}, "deviceSubscriptions": {"uniqueItems": True}},
    "Contact": {"birthday": {"pattern": "^[0-9]{4}-?(?:[0-9]{2}-?[0-9]{2}|W[0-9]{2}-?[1-7]?)$"}},
}
"""Limits that validators of the models check, and that their types do not show."""


def _validity(model: type[Step]) -> Schema:
    """Build the rules about how long a step may try, by its unit."""
    rules = []
    for unit, nanoseconds in NANOSECONDS.items():
        shortest, longest = model.min_validity * 10**9, model.max_validity * 10**9
        bounds = {"minimum": -(-shortest // nanoseconds), "maximum": longest // nanoseconds}
        is_default = unit == "MINUTES"
        named: Schema = {"properties": {"validityPeriodTimeUnit": {"enum": [unit, None] if is_default else [unit]}}}
        required = {} if is_default else {"required": ["validityPeriodTimeUnit"]}
        rules.append({"if": {**required, **named}, "then": {"properties": {"validityPeriod": bounds}}})
    return {
        "description": f"How long a step may try: {model.min_validity} seconds to {model.max_validity // 3600} hours.",
        "allOf": rules,
    }
