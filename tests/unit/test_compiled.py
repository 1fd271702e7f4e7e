"""Modules that mypyc has compiled: which, and when they are used."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from service import COMPILED
from service.compiled import RECORD, SUFFIX, digest_of, find_compiled, record
from service.compiled.build import MODULES, PACKAGE
from service.compiled.constructors import with_constructors

SOURCE: Final = '''
@dataclass(frozen=True, slots=True)
class Point:
    """A point."""

    x: int
    y: int = field(default=2, compare=False)
    names: dict[str, str] = field(default_factory=dict)
    """Behind it are two blank lines."""


@dataclass(slots=True)
class Counter:
    most: ClassVar[int] = 3
    number: int = 0

    def __post_init__(self) -> None:
        self.number += 1


class Other:
    z: int = 1


@dataclass(slots=True)
class Later(Counter):
    z: int = 3


def line() -> int:
    return 7
'''


@pytest.mark.parametrize("name", MODULES)
def test_each_module_of_the_list_exists_and_is_compiled_if_compiled_modules_are_used(name: str) -> None:
    assert (PACKAGE.parent / f"{name.replace('.', '/')}.py").is_file()
    spec = import_module(name).__spec__
    assert spec is not None
    assert isinstance(spec.loader, ExtensionFileLoader) is COMPILED


def functions(name: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield all functions of a module."""
    tree = ast.parse((PACKAGE.parent / f"{name.replace('.', '/')}.py").read_text())
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("name", MODULES)
def test_no_compiled_function_gives_one_name_to_exceptions_of_two_types(name: str) -> None:
    """In a compiled function a name has one type: the exception of the second `except` would be a `TypeError`."""
    for function in functions(name):
        types: dict[str, str] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                assert types.setdefault(node.name, ast.unparse(node.type)) == ast.unparse(node.type), function.name


@pytest.mark.parametrize("name", MODULES)
def test_no_compiled_function_reads_in_finally_what_is_assigned_in_try(name: str) -> None:
    """There it has the type of the case without an exception: None of before the assignment would be a `TypeError`.

    Instead of `finally`, write `except BaseException`, and `raise`.
    """
    for function in functions(name):
        for node in ast.walk(function):
            if isinstance(node, ast.Try) and node.finalbody:
                assert not named(node.body, ast.Store) & named(node.finalbody, ast.Load), function.name


@pytest.mark.parametrize("name", MODULES)
def test_no_compiled_function_suspends_in_except_or_finally(name: str) -> None:
    """There the thread keeps the exception as the one that is being handled, also for all other tasks.

    Each later exception then refers to it, and may become the next one: they are never freed, and raising one takes
    longer each time. Handle it behind the statement instead. So does an `async with` whose exit waits; no exit of a
    lock, a semaphore or `asyncio.timeout` does.
    """
    for function in functions(name):
        for node in ast.walk(function):
            if isinstance(node, ast.Try):
                handling = [*node.finalbody, *(one for handler in node.handlers for one in handler.body)]
                assert not any(suspends(statement) for statement in handling), function.name


def test_an_interpreted_class_inherits_from_no_compiled_one_that_does_not_allow_it() -> None:
    """Making an object of it would be a `TypeError`. Its own slots would hide the fields of the compiled class."""
    texts = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
    compiled = {PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in MODULES}
    classes = {
        found for path in compiled for found in re.findall(r"((?:^@.*\n)*)^class (\w+)", texts[path], re.MULTILINE)
    }
    closed = {name for decorators, name in classes if "allow_interpreted_subclasses=True" not in decorators}
    assert "Dispatcher" in closed
    for path in texts.keys() - compiled:
        bases = {
            name
            for found in re.findall(r"^class \w+\(([^)]*)\)", texts[path], re.MULTILINE)
            for name in re.findall(r"\w+", found)
        }
        assert not bases & closed, path


def suspends(node: ast.AST) -> bool:
    """Return whether control may leave the function here for a while."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return False
    waiting = ast.Await | ast.Yield | ast.YieldFrom | ast.AsyncFor | ast.AsyncWith
    return isinstance(node, waiting) or any(map(suspends, ast.iter_child_nodes(node)))


def named(statements: list[ast.stmt], context: type[ast.expr_context]) -> set[str]:
    """List the names and attributes that statements read, or assign."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    return {
        ast.unparse(node)
        for node in nodes
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, context)
    }


@pytest.fixture
def package(tmp_path: Path) -> Path:
    made = tmp_path / "service"
    (made / "core").mkdir(parents=True)
    (made / "__init__.py").write_text("A = 1\n")
    (made / "core/one.py").write_text("B = 2\n")
    return made


@pytest.fixture
def folder(tmp_path: Path, package: Path) -> Path:
    """Make what compiling leaves, as far as names go."""
    made = tmp_path / "compiled"
    (made / "service/core").mkdir(parents=True)
    (made / f"service/core/one{SUFFIX}").touch()
    (made / f"service__mypyc{SUFFIX}").touch()
    (made / RECORD).write_text(record(digest_of(package), made))
    return made


@pytest.mark.parametrize("wanted", ["", "false", "False", "0"])
def test_compiled_modules_are_used_only_if_they_are_asked_for(wanted: str, folder: Path, package: Path) -> None:
    assert find_compiled(wanted, folder, package) is None


@pytest.mark.parametrize("wanted", ["true", "True", "1"])
def test_each_compiled_module_is_found_and_no_other(wanted: str, folder: Path, package: Path) -> None:
    finder = find_compiled(wanted, folder, package)
    assert finder is not None
    for name in ("service.core.one", "service__mypyc"):
        spec = finder.find_spec(name, None)
        assert spec is not None
        assert isinstance(spec.loader, ExtensionFileLoader)
    assert finder.find_spec("service.core", None) is None
    assert finder.find_spec("service.core.two", None) is None


def test_a_source_that_has_changed_since_is_an_error(folder: Path, package: Path) -> None:
    (package / "core/one.py").write_text("B = 3\n")
    with pytest.raises(ImportError, match=r"other sources.* deploy/bootstrap --compiled"):
        find_compiled("true", folder, package)


def test_a_source_that_came_or_went_since_is_an_error(folder: Path, package: Path) -> None:
    (package / "cli").mkdir()
    (package / "cli/main.py").touch()  # compiled modules import nothing of it
    assert find_compiled("true", folder, package) is not None
    (package / "core/two.py").touch()
    with pytest.raises(ImportError, match="other sources"):
        find_compiled("true", folder, package)
    (package / "core/two.py").unlink()
    assert find_compiled("true", folder, package) is not None
    (package / "core/one.py").rename(package / "core/other.py")
    with pytest.raises(ImportError, match="other sources"):
        find_compiled("true", folder, package)


def test_a_folder_that_is_written_in_part_is_an_error(folder: Path, package: Path) -> None:
    (folder / RECORD).unlink()
    with pytest.raises(ImportError, match="nothing is compiled"):
        find_compiled("true", folder, package)


def test_a_compiled_file_that_is_missing_or_cut_off_or_for_another_python_is_an_error(
    folder: Path, package: Path
) -> None:
    """Otherwise a source would run beside compiled modules, which have its classes a second time."""
    file = folder / f"service/core/one{SUFFIX}"
    for spoil in (
        lambda: file.write_bytes(b"more"),
        lambda: file.rename(file.with_name("one.cpython-399-x86_64-linux-gnu.so")),
    ):
        assert find_compiled("true", folder, package) is not None
        spoil()
        with pytest.raises(ImportError, match=r"incomplete, or .* another Python.* deploy/bootstrap --compiled"):
            find_compiled("true", folder, package)
        file.write_bytes(b"")


def test_another_value_is_an_error_that_does_not_repeat_it(folder: Path, package: Path) -> None:
    with pytest.raises(ImportError, match=r"^OMNI_RELAY_COMPILED: it is neither true nor false$"):
        find_compiled("secret", folder, package)


@pytest.mark.parametrize("is_written", [False, True])
def test_a_written_constructor_does_what_the_one_of_the_decorator_does(*, is_written: bool) -> None:
    def decorator(cls: Any = None, /, **_: object) -> Any:  # noqa: ANN401 - as the library's
        return dataclass(cls, init=not is_written) if cls else decorator

    names: dict[str, Any] = {"ClassVar": ClassVar, "dataclass": decorator, "field": field}
    source = with_constructors(SOURCE) if is_written else SOURCE
    exec(source, names)  # noqa: S102 - the text above
    point, counter = names["Point"], names["Counter"]

    assert repr(point(1)) == "Point(x=1, y=2, names={})"
    assert repr(point(1, 3, names={"a": "b"})) == "Point(x=1, y=3, names={'a': 'b'})"
    assert point(1).names is not point(1).names
    assert repr(counter(4)) == "Counter(number=5)"
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        point()


def test_constructors_are_written_for_dataclasses_alone_and_no_line_moves() -> None:
    written = with_constructors(SOURCE)
    before, after = SOURCE.splitlines(), written.splitlines()
    assert len(before) == len(after)
    changed = [number for number, line in enumerate(before) if line != after[number]]
    assert [before[number] for number in changed] == ["", ""]
    classes = {node.name: node for node in ast.parse(written).body if isinstance(node, ast.ClassDef)}
    with_one = {
        name for name, node in classes.items() if any(getattr(part, "name", "") == "__init__" for part in node.body)
    }
    assert with_one == {"Point", "Counter"}


def test_a_class_at_the_end_of_a_file_gets_its_constructor_too() -> None:
    assert "def __init__(self, x: int)" in with_constructors("@dataclass\nclass Last:\n    x: int\n")
