"""Which encoding a body is in, and the body as text.

XML  a byte order mark wins over the charset of the content type, and that over the XML declaration (RFC 7303, 3). A
     document with neither is UTF-16 or UTF-32 if its first bytes say so (XML 1.0, appendix F), else what it declares,
     else UTF-8. A declaration that cannot be true is ignored: .NET declares UTF-16 in bodies that are written in UTF-8.
JSON is UTF-8 (RFC 8259, 8.1), with or without a byte order mark. It has no charset parameter (section 11).

A text is never read as another than was meant: bytes that do not fit the encoding are an error that names it. Only
names of a closed list are repeated, since a producer's text may be personal data.

A third of this file is the tables of names; they would be harder to follow elsewhere.
"""

import codecs
import re
from collections.abc import Iterator
from encodings.aliases import aliases
from typing import Final, Literal

from service.core.value import dataclass

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf_8"),
    (codecs.BOM_UTF32_LE, "utf_32_le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf_32_be"),
    (codecs.BOM_UTF16_LE, "utf_16_le"),
    (codecs.BOM_UTF16_BE, "utf_16_be"),
)
_WIDE: Final = {
    "utf_16": ("utf_16_le", "utf_16_be"),
    "utf_16_le": ("utf_16_le",),
    "utf_16_be": ("utf_16_be",),
    "utf_32": ("utf_32_le", "utf_32_be"),
    "utf_32_le": ("utf_32_le",),
    "utf_32_be": ("utf_32_be",),
}
"""Encodings of two and four bytes a unit, and as which of them each may be read."""
_WINDOWS: Final = tuple(f"cp{number}" for number in range(1250, 1259))
_ISO: Final = frozenset({"latin_1", *(f"iso8859_{number}" for number in (*range(2, 12), *range(13, 17)))})
_DOS: Final = tuple(f"cp{number}" for number in (437, 850, 852, 855, 857, 858, 862, 864, 866, 869, 874, 1125))
_CYRILLIC: Final = ("koi8_r", "koi8_u", "koi8_t", "kz1048", "ptcp154", "mac_cyrillic")
_ASIAN: Final = (
    *("cp932", "euc_jp", "euc_jis_2004", "iso2022_jp", "iso2022_jp_2", "shift_jis", "shift_jis_2004"),
    *("cp949", "euc_kr", "iso2022_kr", "johab", "cp950", "big5", "big5hkscs"),
    *("gb2312", "gbk", "gb18030", "hz", "tis_620"),
)
_NARROW: Final = ("utf_8", "ascii", "mac_roman", "mac_latin2", "mac_greek", "mac_turkish")
_HARMLESS: Final = frozenset({"utf_8", "ascii"})
"""Codecs that cannot read UTF-8 as another text."""
_READ: Final = frozenset({*_NARROW, *_WINDOWS, *_ISO, *_DOS, *_CYRILLIC, *_ASIAN, *_WIDE})
_ALIASES: Final = {
    **aliases,
    **{codec: codec for codec in aliases.values()},
    **{name: name for name in _READ},
    **{name.replace("cp", "windows_"): name for name in _WINDOWS},
    "iso_10646_ucs_2": "utf_16",
    "ucs_2": "utf_16",
    "iso_10646_ucs_4": "utf_32",
    "ucs_4": "utf_32",
}
"""Codecs by each of their names. A dictionary: `codecs.lookup` would remember every name that it is asked for."""
_SHOWN: Final = {"latin_1": "ISO-8859-1", "ascii": "US-ASCII"}

_PARAMETER: Final = re.compile(r""";[ \t]*charset[ \t]*=[ \t]*["']?([^"'; \t]+)""", re.IGNORECASE)
_DECLARED: Final = re.compile(rb"""<\?xml\s[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
_ESCAPE: Final = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u(?![dD][89a-fA-F])|[^u])")
"""An escape of JSON that stands for a character. No possessive quantifier: Python 3.11.2 has a bug there."""
_HALF_PAIR: Final = re.compile(rb"\\u[dD]")
"""Half of a surrogate pair, where all such escapes are removed."""
_CONTROL: Final = re.compile("[\x80-\x9f]")
_SLICE: Final = 2**16
_BEGIN: Final = 4
_GZIP: Final = b"\x1f\x8b"

Source = Literal["its byte order mark", "the content type", "its first bytes", "the XML declaration", ""]


class EncodingError(ValueError):
    """A body cannot be read as text. The message names the encoding, and never what the body holds."""


@dataclass(frozen=True, slots=True)
class Charset:
    """The encoding of a body."""

    codec: str
    """Its name in Python."""
    source: Source
    """Where it is declared; empty if it is assumed."""
    start: int = 0
    """Where the text begins: after the byte order mark."""

    @property
    def is_utf8(self) -> bool:
        """Whether it is UTF-8."""
        return self.codec == "utf_8"

    def undecodable(self) -> EncodingError:
        """Build the error for a body that is not in it."""
        why = f"which {self.source} names" if self.source else "which is assumed where no charset is named"
        return EncodingError(f"cannot be decoded as {_shown(self.codec)}, {why}")


def charset_parameter(content_type: str | None) -> str | None:
    """Return the charset parameter of a content type."""
    found = _PARAMETER.search(content_type or "")
    return found and found[1]


def charset_of_xml(body: bytes, named: str | None) -> Charset:
    """Determine the encoding of an XML document. `named`: by its content type. Raises `EncodingError`."""
    if mark := _mark(body):
        return mark
    wide = wide_codec(body)
    if named is not None:
        codec = _codec(named, "the content type")
        allowed = _WIDE.get(codec)
        if allowed is None and wide is None:
            return _checked(body, Charset(codec, "the content type"))
        if wide is None or allowed is None or wide not in allowed:
            raise Charset(codec, "the content type").undecodable()
        return Charset(wide, "the content type")
    if wide is not None:
        return Charset(wide, "its first bytes")
    declared = _DECLARED.match(body)
    codec = _codec(declared[1].decode(), "the XML declaration") if declared else "utf_8"
    if codec in _WIDE or not declared:
        return Charset("utf_8", "")
    return _checked(body, Charset(codec, "the XML declaration"))


def _checked(body: bytes, charset: Charset) -> Charset:
    """Return a charset, unless a document in UTF-8 would be read in it as another text. Raises `EncodingError`.

    Many charsets can read UTF-8, and give "Ã¼", "├╝" or "眉" for an "ü". The other way round, a text in one of them is
    valid UTF-8 only by chance, if it has two or three letters that are not ASCII. Which of both is meant is not clear
    then, so that is refused too.
    """
    if charset.codec in _HARMLESS or body.isascii():
        return charset
    try:
        check_decodable(body, Charset("utf_8", ""))
    except EncodingError:
        return charset
    raise EncodingError(f"is in UTF-8, and not in {_shown(charset.codec)} as {charset.source} says")


def decoded(body: bytes, charset: Charset, size: int = _SLICE) -> Iterator[str]:
    """Decode a body in slices of `size` bytes. Raises `EncodingError`."""
    decoder = codecs.getincrementaldecoder(charset.codec)()
    for start in range(charset.start, len(body) + size, size):
        try:
            text = decoder.decode(body[start : start + size], start >= len(body))
        except UnicodeError:
            raise charset.undecodable() from None
        if charset.codec in _ISO and _CONTROL.search(text):
            # No text contains these controls: it is another encoding, most often windows-1252.
            raise EncodingError(f"has bytes that are not letters in {_shown(charset.codec)}: is it windows-1252?")
        yield text


def check_decodable(body: bytes, charset: Charset) -> None:
    """Raise `EncodingError` if a body is not in an encoding."""
    for _ in decoded(body, charset):
        pass


def xml_text(body: bytes, named: str | None) -> str:
    """Decode an XML document whole. Raises `EncodingError`."""
    return "".join(decoded(body, charset_of_xml(body, named)))


def wide_codec(body: bytes) -> str | None:
    """Recognise UTF-16 and UTF-32 without a mark by their zero bytes: JSON and XML begin with characters of ASCII."""
    first = body[:_BEGIN]
    match [byte == 0 for byte in first]:
        case [True, True, True, False]:
            return "utf_32_be"
        case [False, True, True, True]:
            return "utf_32_le"
        case [True, False, *_]:
            return "utf_16_be"
        case [False, True, *_]:
            return "utf_16_le"
        case _:
            return None


def without_mark(body: bytes) -> bytes:
    """Remove the byte order mark of UTF-8."""
    return body.removeprefix(codecs.BOM_UTF8)


def json_error(body: bytes) -> str | None:
    """Describe a body that is no JSON; None if only the JSON parser can describe it."""
    mark = _mark(body)
    wide = mark.codec if mark and not mark.is_utf8 else wide_codec(body)
    if wide is not None:
        return f"must be JSON in UTF-8, not in {_shown(wide).removesuffix('-LE').removesuffix('-BE')}"
    if body.startswith(_GZIP):
        return "is compressed: its content encoding must be gzip"
    try:
        check_decodable(body, Charset("utf_8", ""))
    except EncodingError as error:
        return f"must be JSON in UTF-8: it {error}"
    if _HALF_PAIR.search(body) and _HALF_PAIR.search(_ESCAPE.sub(b" ", body)):
        return "has half of a surrogate pair: \\ud83d without its other half, such as \\ude00"
    if not body.strip():
        return "is empty"
    return "must be JSON; the content type of XML is application/xml" if body.lstrip()[:1] == b"<" else None


def to_utf8(body: bytes, content_type: str | None) -> bytes:
    """Convert any answer to UTF-8 without a mark. If its encoding is not known, it stays as it is."""
    if body.isascii() and b"\x00" not in body[:_BEGIN]:
        return body
    charset = _mark(body) or _unmarked(body, content_type)
    try:
        return body if charset is None else "".join(decoded(body, charset)).encode()
    except EncodingError:
        return body


def _unmarked(body: bytes, content_type: str | None) -> Charset | None:
    if wide := wide_codec(body):
        return Charset(wide, "its first bytes")
    try:
        check_decodable(body, Charset("utf_8", ""))
    except EncodingError:
        named = charset_parameter(content_type)
        try:
            return None if named is None else Charset(_codec(named, "the content type"), "the content type")
        except EncodingError:
            return None
    return None


def _mark(body: bytes) -> Charset | None:
    for mark, codec in _MARKS:
        if body.startswith(mark):
            return Charset(codec, "its byte order mark", len(mark))
    return None


def _codec(name: str, source: Source) -> str:
    codec = _ALIASES.get(name.lower().replace("-", "_").replace(" ", "_"))
    if codec in _READ:
        return codec
    shown = f"{_shown(codec)}, which is not read" if codec else "a charset that is not known"
    raise EncodingError(f"is in {shown}, as {source} says: use UTF-8")


def _shown(codec: str) -> str:
    """Return the usual name of a codec."""
    if codec.startswith("cp125"):
        return f"windows-{codec[2:]}"
    return _SHOWN.get(codec) or codec.replace("iso8859", "iso_8859").replace("_", "-").upper()
