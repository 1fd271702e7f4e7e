"""Constructors of dataclasses, written out for mypyc.

mypyc leaves to the decorator what it generates, so the constructor of a dataclass is interpreted, and takes twice as
long as in Python alone. A message needs some thirty. A constructor that the class has is compiled, and
costs a fifth.
"""

import ast
from dataclasses import dataclass
from typing import Final

_DECORATOR: Final = "dataclass"
_FIELD: Final = "field"


@dataclass(frozen=True)
class _Field:
    name: str
    parameter: str
    value: str


def with_constructors(source: str) -> str:
    """Return a module in which each dataclass has the constructor that the decorator would generate.

    A constructor is one line in place of the blank line behind its class, so that all others keep their numbers.
    """
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.ClassDef) and (constructor := _constructor(node)):
            end = node.end_lineno or 0
            lines[end : end + 1] = [f"    {constructor}"]
    return "\n".join(lines) + "\n"


def _constructor(node: ast.ClassDef) -> str | None:
    """Return the constructor of a dataclass; None if it is none, has one, or inherits fields."""
    methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    if node.bases or "__init__" in methods or not any(map(_is_dataclass, node.decorator_list)):
        return None
    fields = [_field(part) for part in node.body if isinstance(part, ast.AnnAssign) and not _is_class_variable(part)]
    parameters = ", ".join(["self", *(field.parameter for field in fields)])
    values = [f"self.{field.name} = {field.value}" for field in fields]
    last = ["self.__post_init__()"] if "__post_init__" in methods else []
    return f"def __init__({parameters}) -> None: {'; '.join(values + last)}  # type: ignore[misc]"


def _is_dataclass(decorator: ast.expr) -> bool:
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(function, ast.Name) and function.id == _DECORATOR


def _is_class_variable(part: ast.AnnAssign) -> bool:
    return ast.unparse(part.annotation).startswith("ClassVar")


def _field(part: ast.AnnAssign) -> _Field:
    name, kind = ast.unparse(part.target), ast.unparse(part.annotation)
    default = part.value
    if isinstance(default, ast.Call) and isinstance(default.func, ast.Name) and default.func.id == _FIELD:
        options = {keyword.arg: keyword.value for keyword in default.keywords}
        if factory := options.get("default_factory"):
            made = f"{ast.unparse(factory)}() if {name} is None else {name}"
            return _Field(name, f"{name}: {kind} | None = None", made)
        default = options.get("default")
    return _Field(name, f"{name}: {kind}" + (f" = {ast.unparse(default)}" if default else ""), name)
