"""What a value may look like inside: objects, lists and alternatives built from the checks in `field`."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from service.sandbox.schema.field import Check


@dataclass(frozen=True)
class Shape:
    """An object with these fields and no others."""

    fields: Mapping[str, "Rule"]
    needed: Collection[str] = ()


@dataclass(frozen=True)
class Several:
    """A list; `unique` is for lists of strings."""

    item: "Rule"
    least: int = 0
    most: int | None = None
    unique: bool = False


@dataclass(frozen=True)
class Choice:
    """An object whose field `by` says which of several rules it follows; `otherwise` is for one without."""

    by: str
    rules: Mapping[str, "Rule"]
    otherwise: "Rule | None" = None


Rule = Check | Shape | Several | Choice
Wrong = tuple[str, str]


def wrongs(value: object, rule: Rule, path: str) -> Iterator[Wrong]:
    """Name everything that is wrong with a value, each with its path."""
    match rule:
        case Shape():
            yield from _in_object(value, rule, path)
        case Several():
            yield from _in_list(value, rule, path)
        case Choice():
            yield from _in_choice(value, rule, path)
        case _:
            told = rule(value)
            if told:
                yield path, told


def _in_object(value: object, rule: Shape, path: str) -> Iterator[Wrong]:
    if not isinstance(value, dict):
        yield path, "must be an object"
        return
    for key, child in value.items():
        if key in rule.fields:
            yield from wrongs(child, rule.fields[key], _below(path, key))
        else:
            yield _below(path, key), "is not a known field"
    for key in rule.needed:
        if key not in value:
            yield _below(path, key), "must be present"


def _in_list(value: object, rule: Several, path: str) -> Iterator[Wrong]:
    if not isinstance(value, list):
        yield path, "must be a list"
        return
    if len(value) < rule.least or (rule.most is not None and len(value) > rule.most):
        yield path, f"must have {rule.least} to {rule.most} items" if rule.most else f"must have {rule.least} or more"
    strings = [item for item in value if isinstance(item, str)]
    if rule.unique and len(set(strings)) < len(strings):
        yield path, "must not have an item twice"
    for index, item in enumerate(value):
        yield from wrongs(item, rule.item, f"{path}[{index}]")


def _in_choice(value: object, rule: Choice, path: str) -> Iterator[Wrong]:
    if not isinstance(value, dict):
        yield path, "must be an object"
        return
    if rule.by not in value and rule.otherwise is not None:
        yield from wrongs(value, rule.otherwise, path)
        return
    name = value.get(rule.by)
    chosen = rule.rules.get(name) if isinstance(name, str) else None
    if chosen is None:
        yield _below(path, rule.by), f"must be one of {', '.join(rule.rules)}"
        return
    yield from wrongs({key: child for key, child in value.items() if key != rule.by}, chosen, path)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
