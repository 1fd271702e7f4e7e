"""In which encoding a body is read: a table of bodies, each with the source of what must come of it.

Sources by their short names:

7303    RFC 7303, XML Media Types: section 3 (a byte order mark, then the charset parameter, then the declaration)
XML     Extensible Markup Language 1.0: 4.3.3 (encodings), appendix F (without any of these)
8259    RFC 8259, JSON: 8.1 (UTF-8, a mark may be ignored), 4 (names are unique), 11 (no charset parameter)
9110    RFC 9110, HTTP: 5.6.6 (white space around parameters)
1952    RFC 1952, gzip
.NET    System.Xml: a StringWriter declares UTF-16 whatever the string is written in afterwards
kombu   the messaging library of Celery, which writes `content_encoding: utf-8`; so does Spring AMQP
relay   the contract of this relay: what it does not read is refused by its name
"""

import codecs
import gzip
import json
import zlib
from encodings.aliases import aliases
from typing import Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.delivery import Delivery
from service.core.omni.charset import to_utf8, wide_codec
from service.core.request.body import LONGEST
from service.core.request.decoding import decompress, decompressed_size, finished, memory_of, read_content_encoding
from service.core.request.identification import is_identified
from service.core.request.parsing import is_small, parse
from service.core.request.request import Fault
from tests.support.builder import a_body, a_delivery, a_history, parsed
from tests.unit.strategy import law

TEXT: Final = "Grüezi, 5 €"
LATIN: Final = "Grüezi, 5 Fr."
JSON: Final = "application/json"
XML: Final = "application/xml"


def xml(text: str = TEXT, declared: str = "") -> str:
    declaration = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    return f"{declaration}<request><phoneNumber>41793026727</phoneNumber><sms><text>{text}</text></sms></request>"


def a_json(text: str = TEXT) -> str:
    return json.dumps({"phoneNumber": "41793026727", "sms": {"text": text}}, ensure_ascii=False)


def utf16(text: str, endian: str = "le") -> bytes:
    """Encode with a byte order mark."""
    mark = codecs.BOM_UTF16_LE if endian == "le" else codecs.BOM_UTF16_BE
    return mark + text.encode(f"utf-16-{endian}")


class Row(NamedTuple):
    """A body, its content type, the text that is posted or why it is refused, and the source of that."""

    body: bytes
    content_type: str | None
    posted: str | None
    refused: str
    source: str
    content_encoding: str | None = None


def is_read(body: bytes, content_type: str | None, source: str, text: str = TEXT, encoding: str | None = None) -> Row:
    return Row(body, content_type, text, "", source, encoding)


def is_refused(body: bytes, content_type: str | None, source: str, message: str, encoding: str | None = None) -> Row:
    return Row(body, content_type, None, message, source, encoding)


def undecodable(name: str, source: str = "") -> str:
    why = f"which {source} names" if source else "which is assumed where no charset is named"
    return f"cannot be decoded as {name}, {why}"


TYPE, MARK, DECLARATION = "the content type", "its byte order mark", "the XML declaration"
NOT_UTF8: Final = "must be JSON in UTF-8: it " + undecodable("UTF-8")
HALF: Final = r"has half of a surrogate pair: \ud83d without its other half, such as \ude00"
BROKEN: Final = "must be whole gzip of one member, as its content encoding says"
GZIP_OR_NONE: Final = "send it with gzip, or without one"
WELL_FORMED: Final = "must be XML that is well-formed"

ROWS: Final[dict[str, Row]] = {
    # XML: a byte order mark, then the charset parameter, then the declaration
    "no encoding named": is_read(xml().encode(), XML, "XML, 4.3.3"),
    "declared UTF-8": is_read(xml(declared="UTF-8").encode(), XML, "XML, 4.3.3"),
    "declared ISO-8859-1": is_read(xml(LATIN, "ISO-8859-1").encode("latin-1"), XML, "XML, 4.3.3", LATIN),
    "declared windows-1252": is_read(xml(declared="windows-1252").encode("cp1252"), XML, "XML, 4.3.3"),
    "declared ISO-8859-15": is_read(xml(declared="ISO-8859-15").encode("iso8859-15"), XML, "XML, 4.3.3"),
    "declared in single quotes": is_read(
        xml(declared="ISO-8859-15").replace('"', "'").encode("iso8859-15"), XML, "XML, 2.8"
    ),
    "declared with standalone": is_read(
        xml(declared="ISO-8859-15").replace("?>", " standalone='yes'?>").encode("iso8859-15"), XML, "XML, 2.9"
    ),
    "charset over declaration": is_read(xml(declared="ISO-8859-1").encode(), f"{XML}; charset=utf-8", "7303, 3"),
    "charset over declaration, windows": is_read(
        xml(declared="UTF-8").encode("cp1252"), f"{XML}; charset=windows-1252", "7303, 3"
    ),
    "charset in quotes": is_read(xml(declared="ISO-8859-1").encode(), 'text/xml;charset="UTF-8"', "7303, 3"),
    "charset after a tab": is_read(xml().encode("cp1252"), f"{XML};\tcharset\t=\twindows-1252", "9110, 5.6.6"),
    "charset in capitals": is_read(xml(declared="ISO-8859-1").encode(), f"{XML}; CHARSET=UTF-8", "7303, 3"),
    "charset after another parameter": is_read(
        xml().encode("cp1252"), f"{XML}; version=1; charset=windows-1252", "7303, 3"
    ),
    "mark over declaration": is_read(xml(declared="ISO-8859-1").encode("utf-8-sig"), XML, "7303, 3.2"),
    "mark over charset": is_read(xml().encode("utf-8-sig"), f"{XML}; charset=iso-8859-1", "7303, 3.2"),
    "mark of UTF-16 over charset": is_read(
        utf16(xml(declared="ISO-8859-1")), f"{XML}; charset=iso-8859-1", "7303, 3.2"
    ),
    "mark of UTF-16": is_read(utf16(xml()), XML, "XML, 4.3.3"),
    "mark of UTF-16, big-endian": is_read(utf16(xml(), "be"), XML, "XML, 4.3.3"),
    "mark of UTF-32": is_read(codecs.BOM_UTF32_LE + xml().encode("utf-32-le"), XML, "XML, appendix F"),
    "charset utf-16 and a mark": is_read(utf16(xml()), f"{XML}; charset=utf-16", "7303, 3.3"),
    "charset utf-16 without a mark": is_read(xml().encode("utf-16-le"), f"{XML}; charset=utf-16", "7303, 3.3"),
    "charset utf-16be": is_read(xml().encode("utf-16-be"), f"{XML}; charset=utf-16be", "7303, 3.3"),
    "UTF-16 without a mark": is_read(xml().encode("utf-16-le"), XML, "XML, appendix F"),
    "UTF-16 that declares UTF-8": is_read(xml(declared="UTF-8").encode("utf-16-be"), XML, "XML, appendix F"),
    "UTF-32 without a mark": is_read(xml().encode("utf-32-be"), XML, "XML, appendix F"),
    "UTF-32, little-endian": is_read(xml().encode("utf-32-le"), XML, "XML, appendix F"),
    "UTF-8 that declares UTF-16": is_read(xml(declared="utf-16").encode(), XML, ".NET"),
    "UTF-8 with a mark that declares UTF-16": is_read(xml(declared="utf-16").encode("utf-8-sig"), XML, ".NET"),
    "UTF-8 that declares UTF-16, with charset": is_read(
        xml(declared="utf-16").encode(), f"{XML}; charset=utf-8", ".NET; 7303, 3"
    ),
    "UTF-8 that declares ISO-10646-UCS-2": is_read(xml(declared="ISO-10646-UCS-2").encode(), XML, "XML, 4.3.3"),
    "charset shift_jis": is_read(xml("これ").encode("sjis"), f"{XML}; charset=Shift_JIS", "7303, 3", "これ"),
    "declared GB18030": is_read(xml("漢字", "GB18030").encode("gb18030"), XML, "XML, 4.3.3", "漢字"),
    "declared Big5": is_read(xml("漢字", "Big5").encode("big5"), XML, "XML, 4.3.3", "漢字"),
    "declared EUC-KR": is_read(xml("한글", "EUC-KR").encode("euc-kr"), XML, "XML, 4.3.3", "한글"),
    "declared ISO-2022-JP": is_read(xml("これ", "ISO-2022-JP").encode("iso2022-jp"), XML, "XML, 4.3.3", "これ"),
    "declared KOI8-R": is_read(xml("Привет", "KOI8-R").encode("koi8-r"), XML, "XML, 4.3.3", "Привет"),
    "declared ISO-8859-9": is_read(xml("Şimdi", "ISO-8859-9").encode("iso8859-9"), XML, "XML, 4.3.3", "Şimdi"),
    "declared US-ASCII": is_read(xml("Hello", "US-ASCII").encode(), XML, "XML, 4.3.3", "Hello"),
    "references in ASCII": is_read(xml("Gr&#252;ezi, 5 &#x20AC;", "US-ASCII").encode(), XML, "XML, 4.1"),
    # XML that is refused
    "not UTF-8": is_refused(xml().encode("cp1252"), XML, "XML, 4.3.3", undecodable("UTF-8")),
    "declared UTF-8, but not": is_refused(
        xml(declared="UTF-8").encode("cp1252"), XML, "XML, 4.3.3", undecodable("UTF-8", DECLARATION)
    ),
    "charset utf-8, but not": is_refused(
        xml(declared="windows-1252").encode("cp1252"), f"{XML}; charset=utf-8", "7303, 3", undecodable("UTF-8", TYPE)
    ),
    "declares UTF-16, and is not even UTF-8": is_refused(
        xml(declared="utf-16").encode("cp1252"), XML, ".NET", undecodable("UTF-8")
    ),
    "charset us-ascii, but not": is_refused(
        xml().encode(), f"{XML}; charset=us-ascii", "7303, 3", undecodable("US-ASCII", TYPE)
    ),
    "charset utf-16, but UTF-8": is_refused(
        xml().encode(), f"{XML}; charset=utf-16", "7303, 3", undecodable("UTF-16", TYPE)
    ),
    "charset utf-16be, but little-endian": is_refused(
        xml().encode("utf-16-le"), f"{XML}; charset=utf-16be", "7303, 3", undecodable("UTF-16-BE", TYPE)
    ),
    "charset utf-8, but UTF-16": is_refused(
        xml().encode("utf-16-le"), f"{XML}; charset=utf-8", "7303, 3", undecodable("UTF-8", TYPE)
    ),
    "charset utf-32, but UTF-16": is_refused(
        xml().encode("utf-16-le"), f"{XML}; charset=utf-32", "7303, 3", undecodable("UTF-32", TYPE)
    ),
    "half a character at the end": is_refused(utf16(xml())[:-1], XML, "XML, 4.3.3", undecodable("UTF-16-LE", MARK)),
    "half of a surrogate pair": is_refused(
        utf16(xml("|")).replace("|".encode("utf-16-le"), b"\x3d\xd8"), XML, "XML, 2.2", undecodable("UTF-16-LE", MARK)
    ),
    "a byte that windows-1252 does not have": is_refused(
        xml("|", "windows-1252").encode().replace(b"|", b"\x81"), XML, "XML, 4.3.3",
        undecodable("windows-1252", DECLARATION),
    ),
    "declared ISO-8859-1, but windows-1252": is_refused(
        xml(declared="ISO-8859-1").encode("cp1252"), XML, "relay: never another text than was meant",
        "has bytes that are not letters in ISO-8859-1: is it windows-1252?",
    ),
    "charset iso-8859-1, but UTF-8": is_refused(
        xml(LATIN, "UTF-8").encode(), f"{XML}; charset=iso-8859-1", "relay: never another text than was meant",
        "is in UTF-8, and not in ISO-8859-1 as the content type says",
    ),
    "declared windows-1252, but UTF-8": is_refused(
        xml(declared="windows-1252").encode(), XML, "relay: never another text than was meant",
        "is in UTF-8, and not in windows-1252 as the XML declaration says",
    ),
    "declared KOI8-R, but UTF-8": is_refused(
        xml("Привет", "KOI8-R").encode(), XML, "relay: never another text than was meant",
        "is in UTF-8, and not in KOI8-R as the XML declaration says",
    ),
    "charset gbk, but UTF-8": is_refused(
        xml("你好").encode(), f"{XML}; charset=GBK", "relay: never another text than was meant",
        "is in UTF-8, and not in GBK as the content type says",
    ),
    "charset iso-8859-1 and ASCII": is_read(
        xml("Hello", "UTF-8").encode(), f"{XML}; charset=iso-8859-1", "7303, 3", "Hello"
    ),
    "charset utf-7": is_refused(
        xml().encode("utf-7"), f"{XML}; charset=utf-7", "relay",
        "is in UTF-7, which is not read, as the content type says: use UTF-8",
    ),
    "declared EBCDIC": is_refused(
        xml(declared="cp037").encode(), XML, "relay",
        "is in CP037, which is not read, as the XML declaration says: use UTF-8",
    ),
    "charset of nobody": is_refused(
        xml().encode(), f"{XML}; charset=klingon", "relay",
        "is in a charset that is not known, as the content type says: use UTF-8",
    ),
    "charset that is a codec of bytes": is_refused(
        xml().encode(), f"{XML}; charset=base64", "relay",
        "is in BASE64-CODEC, which is not read, as the content type says: use UTF-8",
    ),
    "declared by nobody": is_refused(
        xml(declared="klingon").encode(), XML, "relay",
        "is in a charset that is not known, as the XML declaration says: use UTF-8",
    ),
    "a character that XML has none for": is_refused(xml("a\x01b").encode(), XML, "XML, 2.2", WELL_FORMED),
    "well encoded, badly formed": is_refused(xml()[:-1].encode("cp1252"), f"{XML}; charset=cp1252", "XML", WELL_FORMED),
    "XML that is JSON": is_refused(
        a_json().encode(), XML, "relay", "must be XML; the content type of JSON is application/json"
    ),
    # JSON
    "JSON": is_read(a_json().encode(), JSON, "8259, 8.1"),
    "JSON without a content type": is_read(a_json().encode(), None, "relay"),
    "JSON with escapes": is_read(json.dumps(json.loads(a_json())).encode(), JSON, "8259, 7"),
    "JSON with a mark": is_read(a_json().encode("utf-8-sig"), JSON, "8259, 8.1"),
    "JSON with a mark and without a content type": is_read(a_json().encode("utf-8-sig"), None, "8259, 8.1"),
    "JSON with space before it": is_read(b"\r\n\t " + a_json().encode(), JSON, "8259, 2"),
    "JSON with a charset": is_read(a_json().encode(), f"{JSON}; charset=utf-8", "8259, 11"),
    "JSON with another charset": is_read(a_json().encode(), f"{JSON}; charset=iso-8859-1", "8259, 11"),
    "JSON in UTF-16": is_refused(
        a_json().encode("utf-16-le"), JSON, "relay; 8259, 8.1", "must be JSON in UTF-8, not in UTF-16"
    ),
    "JSON in UTF-16, big-endian": is_refused(
        a_json().encode("utf-16-be"), JSON, "relay", "must be JSON in UTF-8, not in UTF-16"
    ),
    "JSON in UTF-16 with a mark": is_refused(
        utf16(a_json()), f"{JSON}; charset=utf-16", "relay", "must be JSON in UTF-8, not in UTF-16"
    ),
    "JSON in UTF-16 with the other mark": is_refused(
        utf16(a_json(), "be"), JSON, "relay", "must be JSON in UTF-8, not in UTF-16"
    ),
    "JSON in UTF-32": is_refused(a_json().encode("utf-32"), JSON, "relay", "must be JSON in UTF-8, not in UTF-32"),
    "JSON in windows-1252": is_refused(a_json().encode("cp1252"), JSON, "8259, 8.1", NOT_UTF8),
    "JSON in UTF-8 that is cut": is_refused(a_json().encode()[:-5], JSON, "8259, 8.1", NOT_UTF8),
    "JSON with a surrogate pair": is_read(
        a_json("|").encode().replace(b"|", rb"\ud83d\ude00"), JSON, "8259, 7", "😀"
    ),
    "JSON with what only looks like half a pair": is_read(
        a_json("|").encode().replace(b"|", rb"\\ud83d"), JSON, "8259, 7", r"\ud83d"
    ),
    **{
        f"JSON with half a surrogate pair: {half.decode()}": is_refused(
            a_json("|").encode().replace(b"|", half), JSON, "8259, 8.2; as JavaScript cuts a text", HALF
        )
        for half in (rb"\ud83d", rb"\uD83D x", rb"\ude00", rb"\ud83d\ud83d\ude00", rb"\\\ud83d", rb"\ud83d\u0041")
    },
    "JSON with an escape of no character": is_refused(
        a_json("|").encode().replace(b"|", rb"\u00g0"), JSON, "8259, 7",
        "Invalid JSON: invalid escape at line 1 column 53",
    ),
    "JSON that is XML": is_refused(
        xml().encode(), JSON, "relay", "must be JSON; the content type of XML is application/xml"
    ),
    "JSON of nothing": is_refused(b"", JSON, "8259, 2", "is empty"),
    "JSON of space": is_refused(b" \n", JSON, "8259, 2", "is empty"),
    "JSON of a mark": is_refused(codecs.BOM_UTF8, JSON, "8259, 2", "is empty"),
    "JSON that is compressed, without a word": is_refused(
        gzip.compress(a_json().encode()), JSON, "relay", "is compressed: its content encoding must be gzip"
    ),
    # Content encodings
    "gzip": is_read(gzip.compress(a_json().encode()), JSON, "1952", encoding="gzip"),
    "x-gzip in capitals": is_read(gzip.compress(a_json().encode()), JSON, "1952", encoding=" X-GZIP "),
    "gzip of XML": is_read(
        gzip.compress(xml(declared="windows-1252").encode("cp1252")), XML, "1952", encoding="gzip"
    ),
    "gzip of JSON with a mark": is_read(
        gzip.compress(a_json().encode("utf-8-sig")), JSON, "1952; 8259, 8.1", encoding="gzip"
    ),
    "gzip of JSON in UTF-16": is_refused(
        gzip.compress(utf16(a_json())), JSON, "relay", "must be JSON in UTF-8, not in UTF-16", encoding="gzip"
    ),
    "utf-8": is_read(a_json().encode(), JSON, "kombu", encoding="utf-8"),
    "UTF-8": is_read(a_json().encode(), JSON, "kombu", encoding="UTF-8"),
    "identity": is_read(a_json().encode(), JSON, "relay", encoding="identity"),
    "no encoding": is_read(a_json().encode(), JSON, "relay", encoding=""),
    **{
        f"content encoding {name}": is_refused(
            a_json().encode(), JSON, "relay", f"has the content encoding {name}: {GZIP_OR_NONE}", name
        )
        for name in ("deflate", "br", "zstd", "compress", "lz4", "snappy", "bzip2", "base64", "utf-16", "iso-8859-1")
    },
    "content encoding of nobody": is_refused(
        a_json().encode(), JSON, "relay",
        f"has a content encoding that is not known: {GZIP_OR_NONE}", encoding="sesame",
    ),
    "two content encodings": is_refused(
        gzip.compress(a_json().encode()), JSON, "relay",
        f"has a content encoding that is not known: {GZIP_OR_NONE}", encoding="gzip, gzip",
    ),
    "gzip that is none": is_refused(a_json().encode(), JSON, "1952", BROKEN, encoding="gzip"),
    "half a gzip": is_refused(gzip.compress(a_json().encode())[:-9], JSON, "1952", BROKEN, encoding="gzip"),
    "gzip of nothing": is_refused(b"", JSON, "1952", BROKEN, encoding="gzip"),
    "gzip of two members": is_refused(
        gzip.compress(b"{") + gzip.compress(a_json().encode()[1:]), JSON, "relay", BROKEN, encoding="gzip"
    ),
    "zlib called gzip": is_refused(zlib.compress(a_json().encode()), JSON, "1952", BROKEN, encoding="gzip"),
    "gzip with a wrong checksum": is_refused(
        gzip.compress(a_json().encode())[:-8] + b"\x00" * 4 + gzip.compress(a_json().encode())[-4:], JSON, "1952",
        BROKEN, encoding="gzip",
    ),
    "gzip that hides its length": is_refused(
        gzip.compress(a_json("x" * 3000).encode())[:-4] + b"\x01\x00\x00\x00", JSON, "1952", BROKEN, encoding="gzip"
    ),
    "gzip of more than a request": is_refused(
        gzip.compress(b" " * 2**23), JSON, "relay", "must have at most 4 MiB", encoding="gzip"
    ),
}  # fmt: skip


def delivered(row: Row) -> Delivery:
    encoding = read_content_encoding(row.content_encoding)
    return Delivery(row.body, row.content_type, content_encoding=encoding)


def in_steps(delivery: Delivery) -> object:
    return finished(parse(delivery, a_history(), lambda: "made-up", large=0))


def test_a_body_is_read_in_its_encoding_or_refused_by_name() -> None:
    read = {name: parsed(delivered(row)) for name, row in ROWS.items()}

    assert {
        name: one.request and one.request.content.sms and one.request.content.sms.text for name, one in read.items()
    } == {name: row.posted for name, row in ROWS.items()}
    assert {name: one.faults for name, one in read.items()} == {
        name: (Fault("$", row.refused),) if row.refused else () for name, row in ROWS.items()
    }


def test_a_large_body_is_read_in_the_same_way() -> None:
    assert [name for name, row in ROWS.items() if in_steps(delivered(row)) != parsed(delivered(row))] == []


def test_utf8_is_read_as_another_text_in_no_charset_that_a_producer_may_name() -> None:
    wrong = {
        (charset, text, sms.text)
        for charset in {"iso_8859_1", "cp1252", *aliases.values()}
        for text in (LATIN, TEXT, "Привет", "你好", "ｱﾒ", "สวัสดี")
        for delivery in (
            Delivery(xml(text, "UTF-8").encode(), f"{XML};\tcharset={charset}"),
            Delivery(xml(text, charset).encode(), XML),
        )
        if (request := parsed(delivery).request) and (sms := request.content.sms) and sms.text != text
    }

    assert wrong == set()


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) >= 40


def test_a_request_has_its_name_in_whatever_encoding() -> None:
    named = b'{"requestId":"order-1"}'

    assert is_identified(Delivery(named))
    assert is_identified(Delivery(codecs.BOM_UTF8 + named))
    assert is_identified(Delivery(gzip.compress(named), content_encoding="gzip"))
    assert is_identified(Delivery(utf16("<request><requestId> r </requestId></request>"), XML))
    assert not is_identified(Delivery(utf16('{"requestId":"order-1"}')))


# JSON names that are given twice


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"phoneNumber":"41793026727","text":"a","text":"b"}', "text"),
        ('{"phoneNumber":"41793026727","phoneNumber":"41793026728","text":"a"}', "phoneNumber"),
        ('{"phoneNumber":"41793026727","text":"a","te\\u0078t":"b"}', "text"),
        ('{"phoneNumber" : "41793026727", "sms" : {"text" : "a", "text" :"b"}}', "sms.text"),
        ('{"phoneNumber":"41793026727","sms":{"text":"a"},"sms":{"text":"a"}}', "sms"),
        ('{"phoneNumber":"41793026727","text":"say \\"text\\":","metadata":{"a":"1","a":"1"}}', "metadata.a"),
        ('{"phoneNumber":"41793026727","text":"a","metadata":{"":"1","":"2"}}', "metadata."),
        ('{"phoneNumber":"41793026727","push":{"customPayload":{"a":[{"b":1,"b":2}]}}}', "push.customPayload.a[0].b"),
        ('{"phoneNumber":"41793026727","push":{"customPayload":{"a":{":b":1,":b":2}}}}', "push.customPayload.a.:b"),
        (
            '{"phoneNumber":"41793026727","text":"x","metadata":{"v":"x",":b":"2",":b":"3"}}',
            "metadata.:b",
        ),
    ],
)  # fmt: skip
def test_a_name_given_twice_is_a_fault_at_its_path(body: str, path: str, *, large: bool) -> None:
    """Source: RFC 8259, 4: names should be unique, and what a reader makes of others is unpredictable."""
    delivery = a_delivery(body.encode())
    reading = in_steps(delivery) if large else parsed(delivery)

    assert [rejection.faults for rejection in reading.rejections] == [(Fault(path, "is given twice"),)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("large", [False, True])
def test_of_many_destinations_only_the_one_with_a_name_given_twice_is_rejected(*, large: bool) -> None:
    body = (
        '{"requestId":"r","text":"a","destinations":[{"to":{"phoneNumber":"41793026727"},"messageId":"m-1"},'
        '{"to":{"phoneNumber":"41793026728","phoneNumber":"1"},"messageId":"m-2","messageId":"m-3"},'
        '{"to":{"phoneNumber":"41793026729"},"messageId":"m-4"}]}'
    )
    delivery = a_delivery(body.encode())
    reading = finished(parse(delivery, a_history(), str, large=0)) if large else parsed(delivery)

    assert reading.request is not None
    assert reading.request.message_ids == ("m-1", "m-4")
    (rejection,) = reading.rejections
    assert {(fault.path, fault.message) for fault in rejection.faults} >= {
        ("destinations[1].messageId", "is given twice"),
        ("destinations[1].to.phoneNumber", "is given twice"),
    }


def test_a_wrong_destination_with_a_name_given_twice_has_both_faults() -> None:
    body = b'{"text":"a","destinations":[{"to":{"phoneNumber":"x","phoneNumber":"y"}}]}'
    reported = [["should", "x"]]
    for reading in (parsed(a_delivery(body)), in_steps(a_delivery(body))):
        (rejection,) = reading.rejections  # type: ignore[attr-defined]
        reported.append([fault.message for fault in rejection.faults])

    assert reported[1] == reported[2]
    assert reported[1][-1] == "is given twice"
    assert len(reported[1]) == 2


def test_the_names_given_twice_in_one_object_are_bounded() -> None:
    names = ",".join(f'"n{number}":"1","n{number}":"2"' for number in range(100))
    body = f'{{"phoneNumber":"41793026727","text":"a","metadata":{{{names}}}}}'.encode()

    (rejection,) = parsed(a_delivery(body)).rejections

    assert len(rejection.faults) == 32


@pytest.mark.parametrize(
    "body",
    [
        '{"phoneNumber":"41793026727","sms":{"text":"a"},"viber":{"text":"a"}}',
        '{"phoneNumber":"41793026727","sms":{"text":"{\\"text\\":1,\\"text\\":2}"}}',
        '{"phoneNumber":"41793026727","text":"a\\\\"}',
        '{"phoneNumber":"41793026727","text":"text"}',
        '{"phoneNumber":"41793026727","text":"\\u00e9","mailSubject":"\\u00e9"}',
        '{"phoneNumber":"41793026727","push":{"customPayload":{"a":1e999999,"b":' + "9" * 5000 + "}}}",
    ],
)
def test_the_same_name_in_different_objects_is_none_that_is_given_twice(body: str) -> None:
    reading = parsed(a_delivery(body.encode()))

    assert "is given twice" not in {fault.message for one in reading.rejections for fault in one.faults}


def a_tree(pairs: list[tuple[str, object]]) -> str:
    """Write an object with the pairs as they are."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}"


texts = st.text(st.sampled_from('ab":\\,{é'), max_size=3)
trees: st.SearchStrategy[tuple[str, bool]] = st.recursive(
    texts.map(lambda text: (json.dumps(text), False)),
    lambda inner: st.lists(st.tuples(texts, inner), max_size=3).map(
        lambda pairs: (
            a_tree([(name, value) for name, (value, _) in pairs]),
            len({name for name, _ in pairs}) < len(pairs) or any(twice for _, (_, twice) in pairs),
        )
    ),
    max_leaves=6,
)


@law
@given(tree=trees)
def test_in_any_json_a_name_given_twice_is_found_and_no_other(tree: tuple[str, bool]) -> None:
    written, twice = tree
    body = f'{{"phoneNumber":"41793026727","push":{{"customPayload":{{"k":{written}}}}}}}'.encode()

    reading = parsed(a_delivery(body))

    assert bool(reading.rejections) is twice


# Compression


def test_a_compressed_body_counts_with_its_real_size() -> None:
    small, large = gzip.compress(b"{}"), gzip.compress(json.dumps(a_body(sms={"text": "x" * 40_000})).encode())

    assert is_small(Delivery(small, content_encoding="gzip"))
    assert not is_small(Delivery(large, content_encoding="gzip"))
    assert is_small(Delivery(large, content_encoding="br"))
    assert memory_of(Delivery(large, content_encoding="gzip")) > 40_000
    zeros = gzip.compress(b" " * 2**23)
    assert memory_of(Delivery(zeros, content_encoding="gzip")) == len(zeros) + LONGEST
    assert memory_of(Delivery(b"\xff" * 100, content_encoding="gzip")) == 100
    assert decompressed_size(Delivery(b"12345")) == 5


def test_a_large_compressed_body_is_read_in_steps() -> None:
    body = json.dumps(a_body(metadata={str(number): "x" * 30 for number in range(99)})).encode()
    steps = decompress(Delivery(gzip.compress(body, 0) * 1, content_encoding="gzip"))

    assert finished(steps) == body


def test_a_body_that_was_too_long_to_be_kept_is_not_decompressed() -> None:
    reading = parsed(Delivery(b"", content_encoding="gzip", is_too_long=True))

    assert reading.faults == (Fault("$", "must have at most 4 MiB"),)


# What OMNI answers


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"{}", None, "{}"),
        ("é".encode(), None, "é"),
        ("é".encode("utf-8-sig"), None, "é"),
        (utf16("é"), None, "é"),
        ("<é".encode("utf-16-be"), None, "<é"),
        ("{}".encode("utf-16-le"), None, "{}"),
        ("é".encode("cp1252"), "application/json; charset=windows-1252", "é"),
        ("é".encode("latin-1"), "application/json;charset=ISO-8859-1", "é"),
    ],
)
def test_an_answer_is_read_in_its_encoding(body: bytes, content_type: str | None, text: str) -> None:
    assert to_utf8(body, content_type).decode() == text


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff", None),
        (b"\xff", "application/json; charset=klingon"),
        (b"\xff", "application/json; charset=us-ascii"),
        (codecs.BOM_UTF16_LE + b"\x00", None),
    ],
)
def test_an_undecodable_body_stays_as_it_is(body: bytes, content_type: str | None) -> None:
    assert to_utf8(body, content_type) == body


@pytest.mark.parametrize(
    ("body", "codec"),
    [(b"", None), (b"{", None), (b"{}", None), (b"{\x00", "utf_16_le"), (b"\x00{", "utf_16_be"), (b"\x00\x00", None)],
)
def test_zero_bytes_reveal_wide_encodings(body: bytes, codec: str | None) -> None:
    assert wide_codec(body) == codec


@law
@given(
    body=st.binary(max_size=60),
    content_type=st.sampled_from([JSON, XML, f"{XML}; charset=utf-16", f"{XML}; charset=gbk"]),
)
def test_any_bytes_can_be_parsed(body: bytes, content_type: str) -> None:
    reading = finished(parse(Delivery(body, content_type), a_history(), lambda: "made-up"))

    assert reading.request is None
    assert reading.faults
    assert to_utf8(body, content_type) is not None
