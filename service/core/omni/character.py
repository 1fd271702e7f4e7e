"""How a message names one character of a value that it must not repeat: by its code point and its Unicode name."""

import unicodedata


def name_of(character: str) -> str:
    """Name a character, such as `U+200B ZERO WIDTH SPACE`. Controls have no name; their code point is enough."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
