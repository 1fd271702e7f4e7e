"""How far `omni-relay send` has come, in a file beside the requests, so that an interrupted run can be continued.

The file holds the number of rows that the broker has confirmed, in the order of the input, and single rows behind them.
It names the input by a digest, so that rows of another input are never left out. A run that ends properly deletes it.
"""

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final, Self

from service.cli.rows import Source
from service.core.value import dataclass

_CHUNK: Final = 2**20
_RESERVED: Final = 2**14
"""Bytes that the file has from its beginning on: a disk that gets full later does not keep it from being written."""


class ProgressError(Exception):
    """The file cannot be used. The text says what to do."""


@dataclass(slots=True)
class Progress:
    """The confirmed rows of one input."""

    path: Path
    descriptor: int
    digest: str
    run: uuid.UUID
    """Of it and a row's number the row's id is made, the same in each continuation."""
    rows: int = 0
    """Rows of the input, once they have been checked; 0 before."""
    sent: int = 0
    """So many rows from the beginning."""
    besides: frozenset[int] = frozenset()
    """Rows behind those, by number from 0."""

    @classmethod
    def open(cls, path: Path, digest: str) -> Self:
        """Open the file, or begin it. Raises `ProgressError`."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ProgressError(
                f"{path} cannot be written ({error.strerror}): name another place with --progress-file"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise ProgressError(f"{path} is in use: another omni-relay send is sending these requests") from None
        progress = cls(path, descriptor, digest, uuid.uuid4())
        text = os.pread(descriptor, _CHUNK, 0)
        if text.strip():
            progress._read(text)
        else:
            progress._reserve()
        return progress

    def _reserve(self) -> None:
        try:
            _write(self.descriptor, b" " * _RESERVED)
        except OSError as error:
            self.finish()
            raise ProgressError(
                f"{self.path} cannot be written ({error.strerror}): name another place with --progress-file"
            ) from None

    def _read(self, text: bytes) -> None:
        advice = f"delete {self.path} to send all rows, or restore the requests to continue"
        try:
            read = json.loads(text)
            digest, self.rows, self.sent = str(read["input"]), int(read["rows"]), int(read["sent"])
            self.run, self.besides = uuid.UUID(read["run"]), frozenset(map(int, read["besides"]))
        except (ValueError, TypeError, KeyError):
            self.close()
            raise ProgressError(f"{self.path} is not the record of an interrupted omni-relay send: {advice}") from None
        if digest != self.digest:
            self.close()
            raise ProgressError(f"{self.path} is of other requests or options: {advice}")

    def record(self, confirmed: Collection[int]) -> None:
        """Add rows that the broker has confirmed, and write the file. Raises `ProgressError` if that fails."""
        besides = {*self.besides, *confirmed}
        while self.sent in besides:
            besides.remove(self.sent)
            self.sent += 1
        self.besides = frozenset(besides)
        record = {
            "input": self.digest,
            "run": str(self.run),
            "rows": self.rows,
            "sent": self.sent,
            "besides": sorted(besides),
        }
        text = json.dumps(record).encode() + b"\n"
        # Not shorter than before, so that the file is one record at each moment: spaces fill the rest.
        try:
            _write(self.descriptor, text.ljust(os.fstat(self.descriptor).st_size))
        except OSError as error:
            raise ProgressError(
                f"{self.path} cannot be written ({error.strerror}). The last {len(confirmed)} rows may be missing in "
                "it: they would be sent again, with the same ids"
            ) from None

    @property
    def count(self) -> int:
        """The number of confirmed rows."""
        return self.sent + len(self.besides)

    def is_sent(self, number: int) -> bool:
        """Return whether the broker has confirmed a row."""
        return number < self.sent or number in self.besides

    def close(self) -> None:
        """Keep the file for a continuation."""
        os.close(self.descriptor)

    def finish(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
        self.close()


def _write(descriptor: int, text: bytes) -> None:
    """Write the beginning of a file as a whole. Raises `OSError`."""
    written = 0
    while written < len(text):  # a disk that gets full takes a part
        written += os.pwrite(descriptor, text[written:], written)


def digest_of(sources: Iterable[Source], *options: str) -> str:
    """Compute the digest of an input: of the contents of its files, and of options that change the requests."""
    whole = hashlib.sha256(json.dumps(options).encode())
    for source in sources:
        with source.path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
