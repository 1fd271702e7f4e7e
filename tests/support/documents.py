"""The documents, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = (".github", "deploy", "service", "tests")
PAGES: Final = (ROOT / "README.md", *(page for name in FOLDERS for page in sorted((ROOT / name).rglob("*.md"))))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Find each block of shell commands, with what stands before it."""
    text = text_of(page)
    for found in re.finditer(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield found[1].replace("\\\n", ""), text[: found.start()].rstrip().rpartition("\n\n")[2]


def inline(page: Path) -> list[str]:
    """Find everything that is marked as code within a line."""
    plain = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", plain)


def commands_of(line: str) -> Iterator[list[str]]:
    """Take a line of a shell apart into its commands; redirections and assignments are left out."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    reader.commenters = "#"
    command: list[str] = []
    tokens = iter(reader)
    for token in tokens:
        if set(token) <= set("|&;"):
            yield command
            command = []
        elif set(token) <= set("<>"):
            next(tokens)
        elif command or not re.match(r"[A-Z_]+=", token):
            command.append(token)
    yield command
