"""Requests that a hostile or broken producer publishes, by name. Each stands for a class."""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FOREIGN_REPLY_TO: Final = "amq.rabbitmq.reply-to.g1h3AA5yZXBseUA4NDAyODM4OQAADpEAAAAAZx-JIQ==.q4DDS6lpYWdTAwWWm2nVnA=="
LITERAL_REPLY_TO: Final = "amq.rabbitmq.reply-to"
BILLING: Final = "billing"
"""A queue that is bound to nothing; nothing of the relay's may reach it."""
FULL: Final = "replies.full"
"""A queue that refuses every message."""

MAX_BODY: Final = 4 * 2**20
TRY_AGAIN_ONCE, REFUSED_ALWAYS = "90021", "91403"
"""Endings of phone numbers; the sandbox answers them with status 21 the first time, and with 403 each time."""
ORDINARY: Final = "10000"
TRUNK_ZERO: Final = "440"
"""Prefixes of phone numbers for which a library decides whether their 0 is a trunk zero."""


@dataclass(frozen=True)
class Hostile:
    """One message as it is published."""

    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, Any] = field(default_factory=dict)
    reply_to: str | None = None
    expiration: float | None = None
    """Seconds."""
    amqp_1_0: bool = False
    """Whether it takes a producer that speaks AMQP 1.0, so RabbitMQ 4."""
    must_end: bool = True
    """Whether a final event is due soon."""
    content_encoding: str | None = None


def _phone(number: int, ending: str = ORDINARY) -> str:
    return f"436{number:05d}{ending}"


def _flat(number: int, ending: str = ORDINARY, text: str = "hello") -> bytes:
    name = f"hostile-{number}"
    body = {"requestId": name, "messageId": name, "phoneNumber": _phone(number, ending), "sms": {"text": text}}
    return json.dumps(body).encode()


def _destinations(number: int, count: int) -> bytes:
    destinations = [{"to": {"phoneNumber": f"447{number % 1000:03d}{place:05d}1"}} for place in range(count)]
    return json.dumps({"requestId": f"hostile-{number}", "text": "hello", "destinations": destinations}).encode()


def _large(number: int, count: int, metadata: int, code: str = "447", **more: Any) -> bytes:  # noqa: ANN401 - JSON
    """Write a request whose events repeat much: each destination has one, with all of the metadata."""
    destinations = [{"to": {"phoneNumber": f"{code}{number % 1000:03d}{place:05d}1"}} for place in range(count)]
    body = {"requestId": f"hostile-{number}", "sms": {"text": f"hello {number}"}, "destinations": destinations}
    return json.dumps({**body, "metadata": {"m": "x" * (metadata - 1)}, **more}).encode()


def _echoing(count: int, metadata: int, **more: Any) -> Callable[[int], Hostile]:  # noqa: ANN401 - fields of `Hostile`
    fields = {name: more.pop(name) for name in ("headers", "reply_to", "expiration") if name in more}
    return lambda number: Hostile(_large(number, count, metadata, **more), must_end=False, **fields)


def _json_faults(number: int) -> bytes:
    name = "x" * (MAX_BODY // 10_000 - 40)
    wrong = [{f"{name}{place:05d}": 1, "to": {}} for place in range(10_000)]
    return json.dumps({"requestId": f"hostile-{number}", "text": "a", "destinations": wrong}).encode()[:MAX_BODY]


def _small_faults(number: int) -> bytes:
    return f'{{"requestId":"hostile-{number}","destinations":[{"1," * 16_000}1]}}'.encode()


def _json_names(number: int) -> bytes:
    fields = ",".join(f'"{place:x}":1' for place in range(350_000))
    return f'{{"requestId":"hostile-{number}",{fields}}}'.encode()[:MAX_BODY]


def _json_twice(number: int) -> bytes:
    wrong = [f'{{"to":{{"phoneNumber":"44{place:09d}","phoneNumber":"1"}}}}' for place in range(10_000)]
    return f'{{"requestId":"hostile-{number}","text":"a","destinations":[{",".join(wrong)}]}}'.encode()


def _xml(body: bytes, charset: str = "") -> Callable[[int], Hostile]:
    content_type = "application/xml" + (f"; charset={charset}" if charset else "")
    return lambda _: Hostile(body[:MAX_BODY], content_type)


def _gzip(body: bytes) -> Callable[[int], Hostile]:
    return lambda _: Hostile(body, content_encoding="gzip")


def _headers(headers: Mapping[str, Any], ending: str = TRY_AGAIN_ONCE) -> Callable[[int], Hostile]:
    return lambda number: Hostile(_flat(number, ending), headers=headers)


def _reply_to(queue: str, ending: str = TRY_AGAIN_ONCE) -> Callable[[int], Hostile]:
    return lambda number: Hostile(_flat(number, ending), reply_to=queue)


def _answered(text: str) -> Callable[[int], Hostile]:
    return lambda number: Hostile(_flat(number, text=text), must_end=False)


_FORGED: Final[Mapping[str, Any]] = {
    "omni-attempt": 999_999,
    "omni-first-seen": 1_700_000_000_000,
    "omni-ambiguous": True,
    "omni-retries": 3,
    "omni-redrive-count": 1,
    "omni-reason": "failed",
}
_DEATHS: Final = [{"count": 0, "reason": "expired", "queue": "omni.requests.delay.1", "exchange": "omni.relay"}]

CASES: Final[Mapping[str, Callable[[int], Hostile]]] = {
    "foreign-reply-to": _reply_to(FOREIGN_REPLY_TO),
    "literal-reply-to": lambda number: Hostile(_flat(number, TRY_AGAIN_ONCE), reply_to=LITERAL_REPLY_TO, amqp_1_0=True),
    "missing-reply-queue": _reply_to("replies.gone"),
    "full-reply-queue": _reply_to(FULL),
    "cc": _headers({"CC": [BILLING]}),
    "bcc": _headers({"BCC": [BILLING]}),
    "large-header": _headers({"baggage": "a=" + "x" * 130_900}),
    "many-headers": _headers({f"header-{number}": "x" * 1000 for number in range(120)}),
    "header-list": _headers({"header": [None] * 120_000}),
    "xml-open-tags": _xml(b"<a>" * 1_398_101),
    "xml-attributes": _xml(b"<request " + b" ".join(b'a%d=""' % place for place in range(450_000)) + b"/>"),
    "xml-comments": _xml(b"<request>" + b"<!---->" * 600_000),
    "xml-instructions": _xml(b"<request>" + b"<?a?>" * 838_000),
    "xml-utf16": _xml(("<a>" * 699_000).encode("utf-16"), "utf-16"),
    "json-faults": lambda number: Hostile(_json_faults(number)),
    "json-small-faults": lambda number: Hostile(_small_faults(number)),
    "json-names": lambda number: Hostile(_json_names(number)),
    "json-depth": lambda _: Hostile(b"[" * MAX_BODY),
    "json-names-given-twice": lambda number: Hostile(_json_twice(number)),
    "gzip-of-zeros": _gzip(gzip.compress(bytes(MAX_BODY))),
    "gzip-that-hides-its-length": _gzip(gzip.compress(bytes(100 * MAX_BODY))[:-4] + MAX_BODY.to_bytes(4, "little")),
    "gzip-members": _gzip(gzip.compress(b"") * 200_000),
    "many-destinations": lambda number: Hostile(_destinations(number, 10_000), must_end=False),
    "unroutable-events": lambda number: Hostile(_destinations(number, 5_000), reply_to="replies.gone", must_end=False),
    "metadata": _echoing(10_000, 838),
    "metadata-over": _echoing(10_000, 4096),
    "metadata-over-and-trunk-zeros": _echoing(10_000, 4096, code=TRUNK_ZERO),
    "metadata-and-trunk-zeros": _echoing(10_000, 838, code=TRUNK_ZERO),
    "metadata-small": _echoing(400, 4096),
    "metadata-expired": _echoing(10_000, 838, expiresAt="2020-01-01T00:00:00Z"),
    "metadata-lapsed": _echoing(10_000, 838, expiration=0),
    "metadata-faults": _echoing(10_000, 838, **{f"{place}{'x' * 60}": 1 for place in range(32)}),
    "metadata-reply-to": _echoing(10_000, 838, reply_to=BILLING),
    "metadata-refused": _echoing(10_000, 838, scenarioKey="no-such-scenario"),
    "forged-headers": _headers(_FORGED),
    "forged-deaths": _headers({**_FORGED, "x-death": _DEATHS}),
    "denied-request": lambda number: Hostile(_flat(number, REFUSED_ALWAYS), must_end=False),
    "gateway-404": _answered("gateway-answers-404"),
    "gateway-403": _answered("gateway-answers-403"),
    "gateway-451": _answered("gateway-answers-451"),
}
