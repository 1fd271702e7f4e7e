"""Certificates of an authority of one's own, and servers that have one."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


def certificate(directory: Path, name: str = "localhost") -> tuple[Path, Path]:
    """Make a certificate that is its own authority, for a host's name; give the files of certificate and key."""
    files = directory / f"{name}.pem", directory / f"{name}.key"
    kind = ("-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    about = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-out", files[0], "-keyout", files[1])
    subprocess.run(["openssl", "req", *kind, *about], check=True, capture_output=True, timeout=30)  # noqa: S607
    return files


def signed_certificate(directory: Path, name: str, authority: tuple[Path, Path]) -> tuple[Path, Path]:
    """Make a certificate signed by an authority, for a host's or a client's name; return the files of both parts."""
    files = directory / f"{name}.pem", directory / f"{name}.key"
    kind = ("-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    by = ("-CA", authority[0], "-CAkey", authority[1], "-addext", "basicConstraints=critical,CA:FALSE")
    about = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-out", files[0], "-keyout", files[1])
    subprocess.run(["openssl", "req", *kind, *by, *about], check=True, capture_output=True, timeout=30)  # noqa: S607
    return files


def server_of(files: tuple[Path, Path]) -> ssl.SSLContext:
    """Make a server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


@asynccontextmanager
async def forwarded(port: int, context: ssl.SSLContext | None, *, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Pass on to a port of 127.0.0.1 what arrives at another one, which is given; over TLS if there is a context."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, behind = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, behind), pump(upstream, writer))

    async with await asyncio.start_server(serve, host, 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]
