"""How each element of an XML document is read, derived from the fields of a model."""

from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel

from service.core.value import dataclass

_TRIMMED: Final = (
    *("Id", "Key", "Code", "Url", "URL", "UrlMobile", "UrlPc", "Link", "Scheme", "Color", "Number", "Namespace"),
    *("templateName", "groupName", "name", "to", "emailAddress", "url", "uri", "color", "language", "birthday"),
)
"""How the names of fields end that hold no text: white space around them comes from the layout of the document."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How an element is read."""

    kind: Literal["text", "word", "whole", "decimal", "truth", "list", "map", "object"]
    item: "Shape | None" = None
    models: tuple[type[BaseModel], ...] = ()


TEXT: Final = Shape("text")
HOLDERS: Final = frozenset({"list", "map", "object"})


@cache
def fields_of(*models: type[BaseModel]) -> dict[str, Shape]:
    """Return the shapes of the fields of some models, by the names that JSON has for them."""
    return {
        field.alias or name: _shape(field.annotation, field.alias or name)
        for model in models
        for name, field in model.model_fields.items()
    }


def _shape(annotation: Any, name: str = "") -> Shape:  # noqa: ANN401 - an annotation may be anything
    """Derive from a field's annotation and name how its element is read."""
    kinds = [kind for kind in _alternatives(annotation) if kind is not type(None)]
    models = tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    if models:
        return Shape("object", models=models)
    first = kinds[0]
    origin = get_origin(first) or first
    if origin in {tuple, list}:
        return Shape("list", item=_shape(get_args(first)[0]))
    if origin is dict:
        return Shape("map")
    scalars: dict[object, Shape] = {int: Shape("whole"), float: Shape("decimal"), bool: Shape("truth")}
    if origin in scalars:
        return scalars[origin]
    return Shape("word") if name.endswith(_TRIMMED) or origin in {Literal, AwareDatetime} else TEXT


def _alternatives(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - the same
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in {Union, UnionType}:
        for one in get_args(annotation):
            yield from _alternatives(one)
    else:
        yield annotation
