"""Values: frozen for the type checker, which reads every line, and not paid for at run time.

A frozen dataclass sets each field by a call, which triples what it costs to make one, and a message makes some thirty.
So this is `dataclasses.dataclass` to whoever checks types; at run time, what is frozen keeps its equality, its hash
and its slots, and only the guard against assignment is left out.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - to be imported from here
else:
    import dataclasses
    from typing import Any

    def dataclass(cls: Any = None, /, *, frozen: bool = False, **options: Any) -> Any:  # noqa: ANN401 - as it takes it
        """Make a dataclass; one that is `frozen` can be hashed, and could be assigned to."""
        return dataclasses.dataclass(cls, unsafe_hash=frozen, **options)
