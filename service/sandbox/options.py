"""Options that are set when a sandbox is made and can be changed by a control call."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from service.sandbox.delivery.simulation import Answer
from service.sandbox.schema.validation import Errors, errors_in


@dataclass(frozen=True)
class Options:
    """The options; a control call writes them in camel case."""

    strict_scenarios: bool = False  # an unknown scenarioKey is a bad request
    refuse_duplicates: bool = False  # a message id that was accepted before is rejected with status 23
    logs_allowed: bool = True  # if not, the logs return 403
    logs_per_minute: int = 120
    logs_lag: float = 0.0  # seconds until a message shows in the logs
    answers: int = 1  # the step that delivers, for numbers that request none; 0: no step
    seen: bool = False  # messages are read, likewise

    @property
    def usual_answer(self) -> Answer:
        """The delivery of a message whose number requests none."""
        return Answer(self.answers, self.seen)

    def document(self) -> dict[str, object]:
        """Return the body of the control call that sets them."""
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
