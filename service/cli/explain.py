"""`omni-relay explain`: shows how the worker would process one request. It makes no connection."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from service.adapters.settings import Settings
from service.cli.options import reads_settings, settings
from service.core.delivery import Delivery
from service.core.omni.channel.sms import MAX_PARTS
from service.core.request.body import LONGEST
from service.core.request.decoding import read_content_encoding
from service.core.result.explanation import Explanation, content_type_of, explain, visible
from service.worker.app import message_policy

_STANDARD_INPUT: Final = "-"
_MOST_NAMED: Final = 10
_UNIT: Final = {"gsm7": "septet", "national": "septet", "ucs2": "UTF-16 unit"}


def explain_file(settings: Settings, file: str, content_type: str | None, *, as_json: bool) -> int:
    """Print the explanation of the request in a file; return the exit status, 1 if some part would not be posted."""
    body = _read(file)
    delivery = Delivery(
        body if len(body) <= LONGEST else b"",
        content_type or content_type_of(file, body),
        content_encoding=read_content_encoding("gzip" if file.lower().endswith(".gz") else None),
        is_too_long=len(body) > LONGEST,
    )
    now = datetime.now(UTC)
    policy = message_policy(settings)
    if policy.notify_url is not None:
        policy = replace(policy, notify_url=f"{settings.reports_url}/***")  # a token is not for a screen
    found = explain(delivery, policy, now, as_xml=settings.omni_format == "xml")
    if as_json:
        click.echo(json.dumps(found.document()).replace("\x7f", "\\u007f"))
    else:
        for line in explanation_lines(found, now):
            click.echo(line)
    return int(found.is_refused)


def _read(file: str) -> bytes:
    if file == _STANDARD_INPUT:
        return sys.stdin.buffer.read(LONGEST + 1)
    with Path(file).open("rb") as opened:
        return opened.read(LONGEST + 1)


def explanation_lines(found: Explanation, now: datetime) -> Iterator[str]:
    """Yield an explanation in lines of text. `visible` removes a producer's control characters."""
    name = f"request {visible(found.request_id)}" if found.request_id else "request without an id"
    yield f"{name}: {_count(found)}"
    if found.request_id is None:
        yield "  Give it a requestId, or an AMQP message_id: without one a redelivery cannot be recognised,"
        yield "  and ids that are made for its messages differ each time."
    yield from _refusals(found)
    for section in (_calls(found), _addresses(found), _sms(found), _schedule(found, now)):
        for place, line in enumerate(section):
            yield from [""] if place == 0 else []
            yield line


def _refusals(found: Explanation) -> Iterator[str]:
    for fault in found.faults:
        yield f"REFUSED  {visible(fault.path)}  {visible(fault.message)}"
    for rejection in found.rejections:
        yield f"REFUSED  message {visible(rejection.message_id)}{_to(rejection.to)}"
        for fault in rejection.faults:
            yield f"  {visible(fault.path)}  {visible(fault.message)}"
    if found.is_late:
        yield "EXPIRED  its deadline has passed: nothing would be posted"


def _calls(found: Explanation) -> Iterator[str]:
    for number, call in enumerate(found.calls, 1):
        yield f"call {number} of {len(found.calls)}: POST /omni/1/advanced"
        for line in json.dumps(json.loads(call), indent=2, ensure_ascii=False).split("\n"):
            yield f"  {visible(line)}"


def _addresses(found: Explanation) -> Iterator[str]:
    if found.messages:
        yield "to"
    for message in found.messages:
        yield f"  message {visible(message.message_id)}{_to(message.to)}"


def _count(found: Explanation) -> str:
    if found.faults:
        return "refused as a whole"
    if not found.messages:
        return "refused" if found.rejections else "not posted"
    posted = f"{_number(len(found.messages), 'message')} in {_number(len(found.calls), 'call')}"
    return f"{posted}, {len(found.rejections)} refused" if found.rejections else posted


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _to(addresses: Mapping[str, str]) -> str:
    return "".join(f"  {name} {visible(address)}" for name, address in addresses.items())


def _sms(found: Explanation) -> Iterator[str]:
    if found.sms is None:
        return
    encoding, texts, units = found.sms
    count = f"{_number(len(texts), 'part')} of at most {MAX_PARTS}"
    yield f"SMS: {encoding}, {_number(sum(units), _UNIT[encoding])}, {count}"
    for number, (text, taken) in enumerate(zip(texts, units, strict=True), 1):
        yield f"  {number:>2}  {taken:>3}  {visible(json.dumps(text, ensure_ascii=False))}"
    if found.sms_outside:
        named = ", ".join(f"{visible(one)} (U+{ord(one):04X})" for one in found.sms_outside[:_MOST_NAMED])
        more = " and others" if len(found.sms_outside) > _MOST_NAMED else ""
        yield f"  not in the GSM alphabet: {named}{more}"


def _schedule(found: Explanation, now: datetime) -> Iterator[str]:
    if not found.max_attempts:
        return
    yield "schedule"
    if found.send_at is None:
        yield "  sendAt     none: OMNI sends at once"
    else:
        holder = "the relay holds it" if found.is_held else "OMNI keeps it"
        yield f"  sendAt     {_moment(found.send_at, now)}: {holder} until then"
    waits = timedelta(seconds=round(found.retry_seconds))
    yield f"  attempts   at most {found.max_attempts}, with at most {waits} of delays between them"
    if found.expires_at is None:
        yield "  expiresAt  none"
    else:
        yield f"  expiresAt  {_moment(found.expires_at, now)}: no attempt from then on"
    source = "the request" if found.is_own_policy else "RELAY_UNKNOWN_POLICY"
    yield f"  onUnknown  {found.on_unknown}, as {source} says"


def _moment(moment: datetime, now: datetime) -> str:
    ahead = timedelta(seconds=round(abs((moment - now).total_seconds())))
    return f"{moment.isoformat(timespec='milliseconds')} ({f'in {ahead}' if moment > now else f'{ahead} ago'})"


@click.command("explain", epilog="Example: omni-relay explain order.json")
@reads_settings
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), default="-")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.option("--content-type", help="As the request is published. By default the name or the content decides.")
def command(file: str, as_json: bool, content_type: str | None) -> None:  # noqa: FBT001 - click passes it by name
    """Show how the request in FILE, or in standard input, would be processed. Nothing is sent.

    Prints each fault, each call as it would be posted, the addresses, the parts of the SMS, schedule and deadline.
    Exit status 1 if some part of it would not be posted.
    """
    sys.exit(explain_file(settings(), file, content_type, as_json=as_json))
