"""The vendor's specification, for those who have it: `RELAY_TEST_OMNI_SPEC` names its file."""

import json
import os
from pathlib import Path
from typing import Any, Final

# Taken out of the environment: the relay's own processes refuse a RELAY_ name they do not know.
FILE: Final = os.environ.pop("RELAY_TEST_OMNI_SPEC", "")

Json = dict[str, Any]

_GENERATED: Final = {
    "WhatsAppData": {"mediaTemplateData", "text"},
    "LineData": {"altText", "contents", "duration", "packageId", "stickerId", "thumbnailUrl", "url"},
    "MediaTemplateHeaderContent": {
        "documentFilename",
        "documentUrl",
        "imageUrl",
        "latitude",
        "longitude",
        "textPlaceholder",
        "videoUrl",
    },
    "KakaoChinguData": {"imageUrl"},
    "BubbleFlexContainer": {"direction"},
    "PostbackButtonAction": {"label", "displayText"},
    "UriButtonAction": {"label"},
    "MessageButtonAction": {"label"},
}
"""Fields the specification calls required, which its own examples or LINE's documentation leave out."""


def load() -> Json:
    """Read the file; nothing where there is none."""
    return json.loads(Path(FILE).read_text(encoding="utf-8")) if FILE else {}


def closed(specification: Json) -> Json:
    """Turn the schemas into ones that refuse what they do not name, and choose by their discriminators."""
    schemas = specification["components"]["schemas"]
    return {"components": {"schemas": {name: _definition(name, it, schemas) for name, it in schemas.items()}}}


def schema_of(specification: Json, name: str) -> str:
    """Point at a schema by the end of its name."""
    (found,) = [one for one in specification["components"]["schemas"] if one.rpartition(".")[2] == name]
    return f"#/components/schemas/{found}"


def _definition(name: str, schema: Json, schemas: Json) -> Json:
    short = name.rpartition(".")[2]
    open_ = {key: value for key, value in schema.items() if key != "discriminator"}
    if "required" in open_:
        open_["required"] = sorted({*open_["required"]} - _GENERATED.get(short, set()))
    if short == "BoxComponent":  # what it holds depends on its layout
        open_["properties"] = {key: value for key, value in open_["properties"].items() if key != "contents"}
        open_["required"] = ["layout"]
    return {key: _within(key, value, schemas) for key, value in open_.items()}


def _within(key: str, value: Any, schemas: Json) -> Any:  # noqa: ANN401 - JSON
    if key == "additionalProperties":
        return True  # the generator calls every free value an object; the examples hold texts
    if key == "properties":
        return {name: _used(inner, schemas) for name, inner in value.items()}
    if key == "items":
        return _used(value, schemas)
    if key == "allOf":
        return [
            it if "$ref" in it else {name: _within(name, inner, schemas) for name, inner in it.items()} for it in value
        ]
    return value


def _used(schema: Json, schemas: Json) -> Json:
    """Close a schema where it is used: behind a reference, whatever it chooses is then known."""
    if "$ref" not in schema:
        return {key: _within(key, value, schemas) for key, value in schema.items()}
    return {"allOf": [{"$ref": schema["$ref"]}, *_choices(schema["$ref"], schemas)], "unevaluatedProperties": False}


def _choices(reference: str, schemas: Json) -> list[Json]:
    choice = schemas[reference.rpartition("/")[2]].get("discriminator", {"mapping": {}})
    rules = []
    for value, target in choice["mapping"].items():
        # A box in a box may have any layout; the specification forgets the baseline there.
        layouts = _choices(target.replace("HorizontalVerticalBox", "Box"), schemas) if value == "BOX" else []
        chosen = {"allOf": layouts} if layouts else {"$ref": target}
        name = choice["propertyName"]
        rules.append({"if": {"properties": {name: {"const": value}}, "required": [name]}, "then": chosen})
    return rules
