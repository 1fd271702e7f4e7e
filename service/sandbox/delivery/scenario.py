"""Scenarios: the order in which channels are tried, and who the sender is on each.

There is always one default scenario, for requests that name none; at the start it is `BUILT_IN`, which has every
channel. The default flag can be moved to another scenario but not removed. A request with an unknown scenario key
follows the built-in flow, whatever the default is: how the live API treats it is not published.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from service.sandbox.schema.validation import Errors, errors_in


@dataclass(frozen=True)
class FlowStep:
    """One step of a flow."""

    channel: str
    sender: str | None = None

    def document(self) -> dict[str, object]:
        """Return it as the API writes it."""
        return {"channel": self.channel} if self.sender is None else {"from": self.sender, "channel": self.channel}


@dataclass(frozen=True)
class Scenario:
    """A flow and its key."""

    key: str
    name: str | None
    flow: tuple[FlowStep, ...]

    def document(self, *, default: bool) -> dict[str, object]:
        """Return it as the API writes it."""
        named = {} if self.name is None else {"name": self.name}
        return {"key": self.key, **named, "flow": [step.document() for step in self.flow], "default": default}


# Chat channels cost least, SMS and voice reach any telephone, e-mail is read last.
_ORDER = (
    *("PUSH", "VIBER", "WHATSAPP", "LINE", "KAKAO_ALIM", "KAKAO_CHINGU", "VKONTAKTE", "FACEBOOK", "PARSECO"),
    *("SMS", "VOICE", "EMAIL"),
)
BUILT_IN = Scenario("0" * 31 + "1", "All channels", tuple(FlowStep(channel, "Sandbox") for channel in _ORDER))


@dataclass(frozen=True)
class Draft:
    """A scenario as a caller writes it; `default` is None if it is absent."""

    name: str | None
    flow: tuple[FlowStep, ...]
    default: bool | None


def parse_scenario(document: Mapping[str, Any]) -> Draft | Errors:
    """Read the body of a POST or PUT, or return the errors in it."""
    errors = errors_in(document, "Scenario")
    if errors:
        return errors
    flow = tuple(FlowStep(step["channel"], step.get("from")) for step in document["flow"])
    return Draft(document.get("name"), flow, document.get("default"))


class Scenarios:
    """The scenarios of one account."""

    def __init__(self) -> None:
        self._scenarios = {BUILT_IN.key: BUILT_IN}
        self._default = BUILT_IN.key

    def add(self, draft: Draft) -> Scenario:
        """Create a scenario."""
        return self._write(Scenario(uuid.uuid4().hex.upper(), draft.name, draft.flow), draft)

    def change(self, earlier: Scenario, draft: Draft) -> Scenario | None:
        """Replace a scenario; None if that would leave no default."""
        if draft.default is False and self.is_default(earlier):
            return None
        return self._write(replace(earlier, name=draft.name, flow=draft.flow), draft)

    def find(self, key: str) -> Scenario | None:
        """Return the scenario of a key."""
        return self._scenarios.get(key)

    def is_default(self, scenario: Scenario) -> bool:
        """Whether it is the one for requests that name none."""
        return scenario.key == self._default

    def listed(self, *, default: bool | None = None) -> list[Scenario]:
        """Return the scenarios, oldest first: all, or those that are or are not the default."""
        return [each for each in self._scenarios.values() if default is None or self.is_default(each) is default]

    def flow(self, key: str | None) -> tuple[FlowStep, ...]:
        """Return the flow for a request with this scenario key."""
        return self._scenarios.get(self._default if key is None else key, BUILT_IN).flow

    def _write(self, scenario: Scenario, draft: Draft) -> Scenario:
        self._scenarios[scenario.key] = scenario
        if draft.default:
            self._default = scenario.key
        return scenario
