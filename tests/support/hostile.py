"""Bodies that are cheap to send and expensive to read. Each is a function, since most are some MiB long."""

import gzip
from collections.abc import Callable
from typing import Final

from service.core.request.body import MAX_BODY, MAX_DESTINATIONS

METADATA: Final = "m" * 4000


def filled(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """Repeat a unit until a body is as long as it may be."""
    return start + unit * ((MAX_BODY - len(start) - len(end)) // len(unit)) + end


def counted(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """Do the same with a unit that holds a number of eight digits, another each time."""
    count = (MAX_BODY - len(start) - len(end)) // (len(unit) + 4)
    return start + b"".join(unit % number for number in range(count)) + end


def to(destination: str, count: int = MAX_DESTINATIONS) -> bytes:
    """Write a request to many destinations, in each of which `#` stands for its number."""
    people = ",".join(destination.replace("#", str(number)) for number in range(count))
    return f'{{"requestId":"r","sms":{{"text":"x"}},"destinations":[{people}]}}'.encode()


def _fields(count: int, length: int) -> str:
    return ",".join(f'"{number:0{length}}":1' for number in range(count))


_LABELS: Final = ".".join(["\u00fc" * 18] * 6)
_ONE: Final = b'{"destinations":[{}],'

JSON: Final[dict[str, Callable[[], bytes]]] = {
    "destinations": lambda: to('{"to":{"phoneNumber":"41793026727"}}'),
    "destinations with names": lambda: to('{"to":{"phoneNumber":"41793026727"},"messageId":"m-#"}'),
    "destinations with the same name": lambda: to('{"to":{"phoneNumber":"41793026727"},"messageId":"m"}'),
    "wrong destinations": lambda: to('{"to":{"phoneNumber":"x#"},"messageId":"m-#"}'),
    "wrong destinations with long names": lambda: to(f'{{"{"x" * 330}#":1,"to":{{"{"y" * 40}#":1}}}}'),
    "wrong destinations with many names": lambda: to(f"{{{_fields(6, 50)}}}"),
    "wrong destinations with long addresses": lambda: to(f'{{"to":{{"phoneNumber":"{"9" * 370}"}}}}'),
    "unusual addresses": lambda: to(
        f'{{"to":{{"emailAddress":"u@{_LABELS}#.com","phoneNumber":"+44 (0)207946#"}}}}', 1000
    ),
    "a few kilobytes of faults": lambda: b'{"destinations":[' + b"1," * 16_000 + b"1]}",
    "a few kilobytes of empty destinations": lambda: to("{}", 9_000),
    "a few kilobytes of wrong components": lambda: (
        b'{"destinations":[{}],"line":{"type":"FLEX","altText":"x","contents":{"type":"BUBBLE","body":'
        b'{"layout":"VERTICAL","contents":[%s]}}}}' % b",".join([b"1"] * 14_000)
    ),
    "empty destinations": lambda: to("{}"),
    "more destinations than may be": lambda: b'{"destinations":[' + b",".join([b"1"] * 79_000) + b"]}",
    "one destination with many names": lambda: to(f"{{{_fields(70_000, 50)}}}", 1),
    "many names": lambda: b'{"destinations":[{}],%s}' % _fields(70_000, 50).encode(),
    "long names that all destinations share": lambda: (
        to('{"to":{"phoneNumber":"41793026727"}}')[:-1] + f",{_fields(4_900, 500)}}}".encode()
    ),
    "metadata": lambda: b'{"destinations":[{}],"metadata":{%s}}' % _fields(70_000, 50).encode(),
    "components": lambda: (
        b'{"destinations":[{}],"line":{"type":"FLEX","altText":"x","contents":{"type":"BUBBLE","body":'
        b'{"layout":"VERTICAL","contents":[%s]}}}}' % b",".join([b'{"type":"BUTTON"}'] * 2400)
    ),
    "a name given many times": lambda: b'{"destinations":[{}],"metadata":{%s}}' % b",".join([b'"a":1'] * 79_000),
    "many names given twice": lambda: (
        b'{"destinations":[{}],"metadata":{%s,%s}}' % ((_fields(39_000, 40).encode(),) * 2)
    ),
    "destinations with names given twice": lambda: to(
        '{"to":{"phoneNumber":"41793026727"},"messageId":"m","messageId":"m-#"}'
    ),
    "destinations of names given twice": lambda: to('{"to":{"a":1,"a":2,"b":1,"b":2,"c":1,"c":2}}', 8000),
    "lists": lambda: filled(b"[", b"[" * 150 + b"]" * 150 + b",", b"1]"),
    "opening brackets": lambda: filled(b"", b"["),
    "objects in objects": lambda: filled(b"", b'{"a":'),
    "texts": lambda: filled(b'{"destinations":[', b'"",', b'""]}'),
    "quotes": lambda: filled(b'{"a":' + b"," * 80_001, b'"'),
    "a text": lambda: filled(_ONE + b'"text":"', b"a", b'"}'),
    "a text of commas": lambda: filled(_ONE + b'"text":"', b",", b'"}'),
    "a text of escapes": lambda: filled(_ONE + b'"text":"', b"\\u0001", b'"}'),
    "a text of wide characters": lambda: filled(_ONE + b'"text":"', b"\xf0\x9f\x98\x80", b'"}'),
    "a whole number": lambda: filled(b'{"destinations":', b"1", b"}"),
    "a fraction": lambda: filled(b'{"destinations":1.', b"1", b"}"),
}

_DESTINATION: Final = b"<destination><to><phoneNumber>41793026727</phoneNumber></to></destination>"

XML: Final[dict[str, Callable[[], bytes]]] = {
    "open tags": lambda: b"<a>" * 1_398_101,
    "open tags in a request": lambda: filled(b"<request>", b"<a>"),
    "open tags in UTF-16": lambda: ("<request>" + "<a>" * 690_000).encode("utf-16"),
    "empty elements": lambda: filled(b"<request><a>", b"<b/>"),
    "elements with other names": lambda: counted(b"<request><a>", b"<b%08d/>"),
    "destinations": lambda: filled(b"<request><destinations>", _DESTINATION, b"</destinations></request>"),
    "as many destinations as may be": lambda: (
        b"<request><text>x</text><destinations>%s</destinations></request>" % (_DESTINATION * MAX_DESTINATIONS)
    ),
    "metadata": lambda: counted(b"<request><metadata>", b"<b%08d/>"),
    "attributes": lambda: counted(b"<request><x ", b'a%08d="" ', b"/></request>"),
    "attributes of many elements": lambda: counted(
        b"<request><x>", b"<y " + b"".join(b'a%d="" ' % number for number in range(1000)) + b"b%08d='' />"
    ),
    "a long attribute": lambda: filled(b'<request x="', b"x", b'"/>'),
    "namespaces": lambda: counted(b"<request ", b'xmlns:a%08d="u" ', b"/>"),
    "a long namespace": lambda: filled(b'<request><a xmlns="' + b"u" * 60_000 + b'">', b"<b/>"),
    "a long name": lambda: filled(b"<request><", b"b", b"/></request>"),
    "comments": lambda: filled(b"<request>", b"<!---->", b"</request>"),
    "a long comment": lambda: filled(b"<request><!--", b"x", b"--></request>"),
    "comments before the root": lambda: filled(b"", b"<!---->", b"<request/>"),
    "instructions": lambda: filled(b"<request>", b"<?x?>", b"</request>"),
    "a long instruction": lambda: filled(b"<request><?x ", b"x", b"?></request>"),
    "sections": lambda: filled(b"<request><text>", b"<![CDATA[x]]>", b"</text></request>"),
    "a long section": lambda: filled(b"<request><text><![CDATA[", b"x", b"]]></text></request>"),
    "references": lambda: filled(b"<request><text>", b"&#10;", b"</text></request>"),
    "line feeds": lambda: filled(b"<request><text>", b"\n", b"</text></request>"),
    "quotes": lambda: filled(b"<request><text>", b'"', b"</text></request>"),
    "wide characters": lambda: filled(b"<request><text>", b"\xf0\x9f\x98\x80", b"</text></request>"),
    "another charset": lambda: filled(b'<?xml version="1.0" encoding="cp1252"?><request><text>', b"\xe9"),
    "another charset of several bytes": lambda: filled(
        b'<?xml version="1.0" encoding="gb18030"?><request><text>', "漢".encode("gb18030")
    ),
    "open tags in UTF-32": lambda: ("<request>" + "<a>" * 340_000).encode("utf-32"),
    "text that is not decoded to its end": lambda: filled(b"<request><text>", b"x", b"\xff"),
    "a document type": lambda: filled(b"<!DOCTYPE r [", b" "),
}


GZIP: Final[dict[str, Callable[[], bytes]]] = {
    "zeros": lambda: gzip.compress(bytes(MAX_BODY)),
    "more zeros than a request has": lambda: gzip.compress(bytes(100 * MAX_BODY)),
    "more zeros than it says": lambda: gzip.compress(bytes(100 * MAX_BODY))[:-4] + MAX_BODY.to_bytes(4, "little"),
    "members": lambda: gzip.compress(b"") * 200_000,
    "destinations": lambda: gzip.compress(to('{"to":{"phoneNumber":"41793026727"},"messageId":"m-#"}')),
    "nothing compressed": lambda: gzip.compress(filled(_ONE + b'"text":"', b"a", b'"}')[2**16 :], 0),
}
