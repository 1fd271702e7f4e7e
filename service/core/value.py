"""Dataclasses that are frozen for the type checker, at no cost at run time.

A frozen dataclass sets each field by a call, which triples the cost of building one, and a message needs some thirty.
So this is `dataclasses.dataclass` to type checkers. At run time a frozen one keeps its equality, hash and slots, and
lacks only the guard against assignment.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - to be imported from here

    from mypy_extensions import mypyc_attr as mypyc_attr  # noqa: PLC0414 - the same
else:
    import dataclasses
    from typing import Any

    def dataclass(cls: Any = None, /, *, frozen: bool = False, **options: Any) -> Any:  # noqa: ANN401 - as it takes it
        """Build a dataclass; one that is `frozen` can be hashed, and could be assigned to."""
        return dataclasses.dataclass(cls, unsafe_hash=frozen, **options)

    def mypyc_attr(**_: object) -> Any:  # noqa: ANN401 - a decorator of classes
        """Leave a class as it is. Only mypyc reads this."""
        return lambda cls: cls
