"""Every field of every channel, nested ones too, found from the models: none takes what it should not."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from service.core.omni.content import CHANNELS, Content


def models(annotation: object) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for inner in get_args(annotation) for model in models(inner)}


def below(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    if model not in seen:
        seen.add(model)
        yield model
        for field in model.model_fields.values():
            for inner in models(field.annotation):
                yield from below(inner, seen)


EVERY = {
    f"{model.__name__}.{field.alias or name}": (model, field.alias or name)
    for channel in CHANNELS
    for top in models(Content.model_fields[channel].annotation)
    for model in below(top, set())
    for name, field in model.model_fields.items()
}


def places(model: type[BaseModel], body: dict[str, Any]) -> set[str]:
    try:
        model.model_validate(body, by_alias=True, by_name=False)
    except ValidationError as error:
        return {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
    return set()


def test_a_value_of_a_wrong_type_is_refused_at_its_place() -> None:
    assert [known for known, (model, name) in EVERY.items() if name not in places(model, {name: object()})] == []


def test_a_name_that_is_not_quite_right_is_refused_at_its_place() -> None:
    assert [known for known, (model, name) in EVERY.items() if f"{name}X" not in places(model, {f"{name}X": "x"})] == []


def test_nothing_of_any_channel_is_left_out() -> None:
    assert len(EVERY) > 150
