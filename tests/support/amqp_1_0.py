"""A producer that speaks AMQP 1.0, as far as publishing takes. RabbitMQ 4 takes it on the same port as AMQP 0.9.1.

Such a producer can set properties that RabbitMQ refuses in AMQP 0.9.1, such as the literal reply-to
`amq.rabbitmq.reply-to`. Encodings are those of the OASIS standard AMQP 1.0, part 1, sections 1.2 and 1.6.
"""

import asyncio
import struct
from collections.abc import Mapping
from typing import Final

_AMQP, _SASL = 0, 1
_NULL: Final = b"\x40"
_TRUE, _FALSE = b"\x41", b"\x42"
_SECONDS: Final = 10.0


def _string(text: str) -> bytes:
    value = text.encode()
    return b"\xb1" + struct.pack(">I", len(value)) + value


def _symbol(text: str) -> bytes:
    return b"\xb3" + struct.pack(">I", len(text)) + text.encode("ascii")


def _binary(value: bytes) -> bytes:
    return b"\xb0" + struct.pack(">I", len(value)) + value


def _uint(value: int) -> bytes:
    return b"\x70" + struct.pack(">I", value)


def _described(code: int, *fields: bytes) -> bytes:
    content = b"".join(fields)
    return b"\x00\x53" + bytes([code]) + b"\xd0" + struct.pack(">II", len(content) + 4, len(fields)) + content


def _map(entries: Mapping[str, str | int | bool], *, keys_are_symbols: bool) -> bytes:
    content = b"".join(
        (_symbol(name) if keys_are_symbols else _string(name)) + _value(value) for name, value in entries.items()
    )
    return b"\xd1" + struct.pack(">II", len(content) + 4, 2 * len(entries)) + content


def _value(value: str | int | bool) -> bytes:  # noqa: FBT001 - a value of any kind
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    return _string(value) if isinstance(value, str) else b"\x81" + struct.pack(">q", value)


async def publish(  # noqa: PLR0913 - properties of a message, each given by its name
    port: int,
    body: bytes,
    *,
    vhost: str = "/",
    content_type: str = "application/json",
    message_id: str,
    reply_to: str | None = None,
    address: str = "/exchanges/omni.requests/send",
    annotations: Mapping[str, str | int | bool] | None = None,
    headers: Mapping[str, str | int | bool] | None = None,
) -> None:
    """Publish one message; return when the broker has settled it. Raises `ConnectionError` if it refuses."""
    async with asyncio.timeout(_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            client = _Client(reader, writer)
            await client.open(vhost)
            await client.attach(address)
            properties = _described(
                0x73,
                _string(message_id),
                _NULL,
                _NULL,
                _NULL,
                _NULL if reply_to is None else _string(reply_to),
                _NULL,
                _symbol(content_type),
            )
            noted = b"\x00\x53\x72" + _map(annotations or {}, keys_are_symbols=True)
            applied = b"\x00\x53\x74" + _map(headers or {}, keys_are_symbols=False)
            data = b"\x00\x53\x75" + _binary(body)
            await client.transfer(_described(0x70, _TRUE) + noted + properties + applied + data)
        finally:
            writer.close()


class _Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def open(self, vhost: str) -> None:
        self._writer.write(b"AMQP\x03\x01\x00\x00")
        await self._reader.readexactly(8)
        await self._expect(0x40)
        self._send(_described(0x41, _symbol("PLAIN"), _binary(b"\0guest\0guest")), kind=_SASL)
        await self._expect(0x44)
        self._writer.write(b"AMQP\x00\x01\x00\x00")
        await self._reader.readexactly(8)
        self._send(_described(0x10, _string("producer"), _string(f"vhost:{vhost}")))
        await self._expect(0x10)
        self._send(_described(0x11, _NULL, _uint(0), _uint(100), _uint(100)))
        await self._expect(0x11)

    async def attach(self, address: str) -> None:
        source, target = _described(0x28), _described(0x29, _string(address))
        sender = (_string("sender"), _uint(0), _FALSE, _NULL, _NULL, source, target, _NULL, _NULL, _uint(0))
        self._send(_described(0x12, *sender))
        await self._expect(0x13)  # the broker gives credit

    async def transfer(self, message: bytes) -> None:
        self._send(_described(0x14, _uint(0), _uint(0), _binary(b"1"), _uint(0), _FALSE) + message)
        await self._expect(0x15)

    def _send(self, performative: bytes, kind: int = _AMQP) -> None:
        self._writer.write(struct.pack(">IBBH", len(performative) + 8, 2, kind, 0) + performative)

    async def _expect(self, code: int) -> None:
        """Read frames up to one of that kind. Raises `ConnectionError` where the broker ends what we began."""
        while True:
            size, offset, _, _ = struct.unpack(">IBBH", await self._reader.readexactly(8))
            body = (await self._reader.readexactly(size - 8))[offset * 4 - 8 :]
            if body[:2] != b"\x00\x53":
                continue  # a heartbeat, or nothing that is for us
            if body[2] == code:
                return
            if body[2] in (0x16, 0x17, 0x18):
                raise ConnectionResetError(f"the broker refused it: {body!r}")
