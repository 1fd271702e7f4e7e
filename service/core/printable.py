"""Text from outside, made safe for a terminal.

A terminal obeys some characters: escape sequences move the cursor, set the title or the clipboard, and directional
formatting (U+202A to U+202E, U+2066 to U+2069) shows text in another order. Characters that Python does not call
printable are never written: controls (C0, DEL, C1), formatting, line and paragraph separators, and unassigned ones.
"""

import unicodedata


def printable(text: str) -> str:
    """Return the text on one line, with a space for each character that a terminal might obey."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def printable_json(text: str) -> str:
    """Return a JSON text on one line, with an escape for each such character, so that it has the same meaning.

    Characters below U+0020 occur only between the values of JSON, as white space (RFC 8259, section 2).
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character < " ":
        return " "
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index : index + 2].hex()}" for index in range(0, len(units), 2))


def name_of(character: str) -> str:
    """Name a character of a value that must not be repeated: `U+200B ZERO WIDTH SPACE`. Controls have no name."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
