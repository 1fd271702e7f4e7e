"""What can be set when a sandbox is made, and changed by a control call while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from service.sandbox.delivery.simulation import Answer
from service.sandbox.schema.validation import Errors, errors_in


@dataclass(frozen=True)
class Options:
    """The options; a control call spells them in camel case."""

    strict_scenarios: bool = False  # whether an unknown scenarioKey is a bad request
    refuse_duplicates: bool = False  # whether a message id already taken is refused, with status 23
    logs_allowed: bool = True  # whether the credential may read logs; if not, 403
    logs_per_minute: int = 120
    logs_lag: float = 0.0  # seconds until a message shows in the logs
    answers: int = 1  # which of the steps tried delivers, for numbers that do not say; 0: none
    seen: bool = False  # whether messages are read, likewise

    @property
    def usual_answer(self) -> Answer:
        """What becomes of a message whose number does not say."""
        return Answer(self.answers, self.seen)

    def document(self) -> dict[str, object]:
        """Write them as a control call would."""
        return {_wire_name(each.name): getattr(self, each.name) for each in fields(self)}

    def changed(self, document: Mapping[str, Any]) -> "Options | Errors":
        """Return the options with those of the document in place, or the errors in it."""
        errors = errors_in(document, "Options")
        if errors:
            return errors
        given = {each.name: document[name] for each in fields(self) if (name := _wire_name(each.name)) in document}
        # A whole number may be written 1.0.
        return replace(self, **{name: type(getattr(self, name))(value) for name, value in given.items()})


def _wire_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)
