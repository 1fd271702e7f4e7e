"""The query parameters of the paths that only tell something.

As strict as `judgement`: a parameter nobody published, a value that does not fit, or a single one given
twice is a bad request. Ids can be repeated or be listed with commas.
"""

import re
from collections.abc import Mapping

from starlette.datastructures import QueryParams

from service.sandbox.delivery.scenario import CHANNEL_NAMES
from service.sandbox.delivery.status import GROUPS
from service.sandbox.schema.field import Check, anything, moment, one_of

Faults = dict[str, list[str]]

_NUMBER = re.compile(r"[0-9]{1,9}")
_LISTS = frozenset({"bulkId", "messageId"})


def _number(low: int, high: int) -> Check:
    def check(value: object) -> str | None:
        fits = isinstance(value, str) and _NUMBER.fullmatch(value) and low <= int(value) <= high
        return None if fits else f"must be a number from {low} to {high}"

    return check


_LIMIT, _CHANNEL = _number(1, 1000), one_of(*CHANNEL_NAMES)
REPORTS: Mapping[str, Check] = {"bulkId": anything, "messageId": anything, "limit": _LIMIT, "channel": _CHANNEL}
LOGS: Mapping[str, Check] = {
    **REPORTS,
    "from": anything,
    "to": anything,
    "generalStatus": one_of(*GROUPS.values()),
    "sentSince": moment,
    "sentUntil": moment,
    "mcc": anything,
    "mnc": anything,
}
SCENARIOS: Mapping[str, Check] = {
    "isDefault": one_of("true", "false"),
    "limit": _number(0, 10**9 - 1),
    "page": _number(0, 10**9 - 1),
}


def wrong_in(query: QueryParams, table: Mapping[str, Check]) -> Faults:
    """Name what is wrong with a query."""
    faults: Faults = {}
    for name, value in query.multi_items():
        check = table.get(name)
        wrong = check(value) if check else "is not a known parameter"
        if name not in _LISTS and len(query.getlist(name)) > 1:
            wrong = wrong or "must not be repeated"
        if wrong:
            faults[name] = [wrong]
    return faults


def ids(query: QueryParams, name: str) -> frozenset[str] | None:
    """List the ids asked for, each as it is and as a list with commas; None if there are none."""
    told = query.getlist(name)
    return frozenset(told) | {part for each in told for part in each.split(",")} if told else None
