"""Hostile and slow clients of the receiver: refused, without an event, and without an effect on valid pushes."""

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_reports_faults import push_until_taken
from tests.support.broker import VirtualHost, user
from tests.support.receiver import RIGHTS, TOKEN, Receiver, a_report, receiving

VALID: Final = json.dumps({"results": [a_report("hostile")]}).encode()
LARGEST: Final = 4 * 2**20
BOMB: Final = (
    "<!DOCTYPE a [<!ENTITY a0 'aaaaaaaaaa'>"
    + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 9))
    + "]><a><results><result><messageId>&a8;</messageId></result></results></a>"
).encode()


def a_request(
    body: bytes = VALID,
    *headers: str,
    path: str = f"/reports/{TOKEN}",
    content_type: str = "application/json",
    length: bool = True,
    line: str = "",
) -> bytes:
    """Write a request by hand."""
    lines = [line or f"POST {path} HTTP/1.1", "host: a"]
    lines += [f"content-type: {content_type}"] if content_type else []
    lines += [*headers, *([f"content-length: {len(body)}"] if length else [])]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def in_xml(text: bytes, **fields: str) -> bytes:
    return a_request(text, content_type=fields.get("content_type", "application/xml"))


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


HOSTILE: Final[dict[str, tuple[bytes, set[int]]]] = {
    "json nested deeply": (a_request(b'{"results":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), {400}),
    "xml nested deeply": (in_xml(b"<a>" * 100_000 + b"</a>" * 100_000), {400}),
    "entity bomb": (in_xml(BOMB), {400}),
    "external entity": (in_xml(b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'), {400}),
    "xml namespace bomb": (
        in_xml(b'<a xmlns="' + b"n" * 90_000 + b'"><results>' + b"<b/>" * 50_000 + b"</results></a>"),
        {400},
    ),
    "endless xml comment": (in_xml(b"<a><!--" + b"x" * 1_000_000), {400}),
    "many elements": (in_xml(b"<a><results>" + b"<b/>" * 900_000 + b"</results></a>"), {413}),
    "many values": (a_request(b'{"results":[' + b"1," * 1_500_000 + b"1]}"), {413}),
    "many names": (a_request(b'{"results":[{' + b",".join(b'"%d":1' % n for n in range(300_000)) + b"}]}"), {413}),
    "one byte too long": (a_request(b" " * (LARGEST + 1)), {413}),
    "a length that is too large": (a_request(b"x", "content-length: 99999999999", length=False), {413}),
    "a length beyond all numbers": (a_request(b"x", "content-length: " + "9" * 4000, length=False), {400, 413}),
    "chunks that are too long": (
        a_request(chunked(*[b" " * 60_000] * 80), "transfer-encoding: chunked", length=False),
        {413},
    ),
    "two lengths": (a_request(VALID, "content-length: 1"), {400}),
    "a length that is negative": (a_request(VALID, "content-length: -1", length=False), {400}),
    "a length and chunks": (
        a_request(chunked(VALID), "transfer-encoding: chunked", "content-length: 5", length=False),
        {400},
    ),
    "chunks in http 1.0": (
        a_request(chunked(VALID), "transfer-encoding: chunked", length=False, line=f"POST /reports/{TOKEN} HTTP/1.0"),
        {400},
    ),
    "a chunk size that is none, behind a wrong token": (
        a_request(b"zz\r\n", "transfer-encoding: chunked", length=False, path="/reports/wrong"),
        {400},
    ),
    "a chunk that is longer than it says": (
        a_request(b"5\r\n" + VALID, "transfer-encoding: chunked", length=False),
        {400},
    ),
    "two transfer encodings": (
        a_request(chunked(VALID), "transfer-encoding: gzip, chunked", length=False),
        {400},
    ),
    "data behind the json": (a_request(VALID + VALID), {400}),
    "a length that is too short": (a_request(VALID, "content-length: 10", length=False), {400}),
    "data behind the xml": (in_xml(b"<a><results><b/></results></a><a/>"), {400}),
    "a null byte in xml": (in_xml(b"<a><results>\0</results></a>"), {400}),
    "an undeclared namespace": (in_xml(b"<x:a><results/></x:a>"), {400}),
    "a parameter entity": (in_xml(b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:1/"> %p;]><a/>'), {400}),
    "ebcdic": (in_xml("<?xml version='1.0' encoding='cp037'?><a/>".encode("cp037")), {400}),
    "two content types": (a_request(VALID, "content-type: application/xml"), {415}),
    "a chunk size that is none": (
        a_request(b"zz\r\n{}\r\n0\r\n\r\n", "transfer-encoding: chunked", length=False),
        {400},
    ),
    "gzip": (a_request(gzip.compress(VALID), "content-encoding: gzip"), {415}),
    "no content type": (a_request(content_type=""), {415}),
    "text": (a_request(content_type="text/plain"), {415}),
    "a form": (a_request(b"results=1", content_type="application/x-www-form-urlencoded"), {415}),
    "json called xml": (in_xml(VALID), {400}),
    "xml called json": (a_request(b"<omniReportsResponse><results/></omniReportsResponse>"), {400}),
    "utf-16 json": (a_request(VALID.decode().encode("utf-16")), {400}),
    "not utf-8": (a_request(VALID.replace(b"hostile", b"host\xffile")), {400}),
    "unknown charset": (in_xml(b"<a/>", content_type="application/xml; charset=utf-7"), {400}),
    "empty body": (a_request(b""), {400}),
    "null": (a_request(b"null"), {400}),
    "a list": (a_request(b"[]"), {400}),
    "no results": (a_request(b'{"results":[]}'), {400}),
    "results that are none": (a_request(b'{"results":{"a":1}}'), {400}),
    "results of wrong shapes": (a_request(b'{"results":[1,"a",null,[],{},{"messageId":{}}]}'), {400}),
    "an infinite number": (a_request(b'{"results":[{"messageId":"a","price":Infinity}]}'), {400}),
    "a number of many digits": (a_request(b'{"results":[' + b"9" * 100_000 + b"]}"), {400}),
    "another token": (a_request(path="/reports/0123456789abcdefgh"), {404}),
    "a token in another case": (a_request(path=f"/reports/{TOKEN.upper()}"), {404}),
    "a path beside the token": (a_request(path=f"/reports/{TOKEN}/../{TOKEN}"), {404}),
    "another path": (a_request(path="/metrics"), {404}),
    "GET": (a_request(b"", line=f"GET /reports/{TOKEN} HTTP/1.1"), {404}),
    "a long path": (a_request(path="/reports/" + "x" * 10_000), {404}),
    "a large head": (a_request(VALID, "x: " + "y" * 100_000), {400}),
    "no http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n", {400}),
}


@pytest.fixture
async def receiver(stage: Stage, vhost: VirtualHost, tmp_path: Path) -> AsyncIterator[Receiver]:
    with user(vhost, **RIGHTS) as url:
        async with receiving(tmp_path / "receiver", url) as receiver:
            yield receiver
            assert TOKEN not in receiver.process.text
            assert stage.url


async def exchange(port: int, data: bytes) -> int | None:
    """Send bytes and give the status of the answer; None where there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n")
                found = re.match(rb"HTTP/1\.1 (\d+)", head)
                return int(found[1]) if found else None
        return None
    finally:
        writer.close()


@pytest.mark.once
async def test_a_hostile_push_is_refused_and_the_next_valid_one_succeeds(stage: Stage, receiver: Receiver) -> None:
    wrong = {}
    for number, (name, (data, statuses)) in enumerate(HOSTILE.items()):
        status = await exchange(receiver.port, data)
        if status not in statuses:
            wrong[name] = status
        assert await receiver.push(a_report(f"valid-{number}")) == 200, name
    assert wrong == {}
    await stage.until(lambda: len(stage.events) >= len(HOSTILE))
    assert {event.subject for event in stage.events} == {f"valid-{number}" for number in range(len(HOSTILE))}
    assert len(HOSTILE) >= 30
    assert rss(receiver) < 150 * 2**20
    assert [line for line in receiver.process.lines() if line["level"] in {"error", "warning"}] == []


def rss(receiver: Receiver) -> int:
    """Give the highest resident memory that the process has had, in bytes."""
    text = Path(f"/proc/{receiver.process.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found
    return int(found[1]) * 1024


@contextlib.asynccontextmanager
async def opened(port: int, count: int, begin: bytes = b"") -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Open connections and begin something on each."""
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begin)
            writers.append(writer)
        yield writers
    finally:
        for writer in writers:
            writer.transport.abort()


async def trickle(writers: list[asyncio.StreamWriter], byte: bytes) -> None:
    while True:
        for writer in writers:
            if not writer.is_closing():
                writer.write(byte)
        await asyncio.sleep(0.2)


@pytest.mark.once
@pytest.mark.long
@pytest.mark.timeout(180)
async def test_valid_pushes_succeed_beside_idle_and_trickling_connections(stage: Stage, receiver: Receiver) -> None:
    """Of the trickling ones, half have the token and half never end their head."""
    body = a_request(b"", "content-length: 100000", length=False)
    async with (
        opened(receiver.port, 2000),
        opened(receiver.port, 100, body) as bodies,
        opened(receiver.port, 100, b"POST / HTTP/1.1\r\nx: ") as heads,
    ):
        trickling = [asyncio.create_task(trickle(bodies, b" ")), asyncio.create_task(trickle(heads, b"y"))]
        for push in range(100):
            assert await receiver.push(*[a_report(f"m-{push}-{number}") for number in range(10)]) == 200
        assert (await receiver.process.get("/readyz"))[0] == 200
        for task in trickling:
            task.cancel()
    await stage.until(lambda: len({event.subject for event in stage.events}) == 1000)
    assert rss(receiver) < 150 * 2**20


@pytest.mark.once
@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_hundred_pushes_of_sixty_reports_at_once_all_become_events(stage: Stage, receiver: Receiver) -> None:
    before = (await receiver.process.metrics())["process_cpu_seconds_total"]
    pushes = [[f"m-{push}-{number}" for number in range(60)] for push in range(100)]
    names = {name for push in pushes for name in push}
    attempts = await asyncio.gather(*(push_until_taken(lambda: receiver, push) for push in pushes))
    spent = (await receiver.process.metrics())["process_cpu_seconds_total"] - before
    await stage.until(lambda: {event.subject for event in stage.events} == names, within=120)
    assert len({event.body["id"] for event in stage.events}) == len(names)
    assert rss(receiver) < 150 * 2**20
    assert spent / (60 * sum(attempts)) < 0.001
