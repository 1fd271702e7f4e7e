"""How an e-mail address is read: tables of what is written, what becomes of it, and the authority for it.

The addresses of the tests of isemail (Dominic Sayers, BSD licence), which other validators use too, are in
`isemail.tsv`: isemail's own diagnosis, and the address as JSON.
"""

import json
from pathlib import Path
from typing import Final

import email_validator
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from service.core.omni.destination import To
from service.core.omni.email_address import email_address
from tests.unit.strategy import law

ATEXT: Final = "RFC 5321, 4.1.2: atext"
DOT: Final = "RFC 5321, 4.1.2: a dot only between atoms"
DOMAIN: Final = "RFC 5321, 4.1.2 and RFC 1123, 2.1: letters, digits, and hyphens within"
LENGTH: Final = "RFC 5321, 4.5.3.1"
LABEL: Final = "RFC 1035, 2.3.1: a label has at most 63 octets"
QUOTED: Final = "RFC 5321, 4.1.2: Quoted-string"
RFC3696: Final = "RFC 3696, 3: examples"
UTF8: Final = "RFC 6531, 3.3: UTF-8"
IDN: Final = "RFC 5891: internationalised names"
NFC: Final = "RFC 6532, 3.1: NFC"
ISSUE_3772: Final = "pydantic issue 3772"
VALIDATOR_JS: Final = "validator.js, test of isEmail"
VALIDATOR: Final = "email-validator, tests/test_syntax.py"
CONTROLS: Final = "RFC 5321, 4.1.2: no controls"
FORMATS: Final = "RFC 6531, 3.3 and RFC 5892: no format characters"
RESERVED: Final = "RFC 6761 and RFC 6762: reserved names"
LITERAL: Final = "RFC 5321, 4.1.3: address literals are for experts; no provider takes them"

A64: Final = "a" * 64
A63: Final = "a" * 63

TAKEN: Final = [
    ("email@example.com", "the vendor's specification"),
    ("a@b.co", ATEXT),
    ("x@x.au", VALIDATOR_JS),
    ("first.last@example.com", DOT),
    ("first.middle.last@mail.example.co.uk", DOT),
    ("user+tag@example.com", "RFC 5233: subaddresses"),
    ("user+mailbox/department=shipping@example.com", RFC3696),
    ("customer/department=shipping@example.com", RFC3696),
    ("$A12345@example.com", RFC3696),
    ("!def!xyz%abc@example.com", RFC3696),
    ("_somename@example.com", RFC3696),
    ("o'brien@example.ie", ATEXT),
    ("o'brien+x@example.com", ATEXT),
    ("!#$%&'*+-/=?^_`.{|}~@example.com", VALIDATOR),
    ("{}@example.com", ATEXT),
    ("-@example.com", ATEXT),
    ("-a-@example.com", ATEXT),
    ("=@example.com", ATEXT),
    ("1234567890@example.com", ATEXT),
    ("0@example.com", ATEXT),
    ("UPPER.Case@EXAMPLE.COM", "RFC 5321, 2.4: the case of a local part is its own"),
    ("abc@1337.com", VALIDATOR_JS),
    ("abc@123.example.com", DOMAIN),
    ("abc@a-b.example.com", DOMAIN),
    ("abc@a--b.example.com", DOMAIN),
    ("abc@x.y.z.example.museum", DOMAIN),
    ("abc@example.photography", DOMAIN),
    (f"{A64}@example.com", LENGTH + ".1: 64 octets"),
    (f"a@{A63}.com", LABEL),
    (f"{A64}@{A63}.com", VALIDATOR_JS),
    (f"{A64}@{A63}.{A63}.{'a' * 57}.com", LENGTH + ".3: 254 octets"),
    ("test|123@example.com", VALIDATOR_JS),
    ("some.name.midd.leNa.me.and.locality+extension@GoogleMail.com", VALIDATOR_JS),
    ("a@test.test", "RFC 2606: for tests, and the sandbox is for those"),
    ("a@b.example", "RFC 2606: for documentation"),
    ("abc@xn--exmple-cua.com", IDN + "; as it came"),
    ("abc@xn--80ajglhfv.xn--j1aef", VALIDATOR),
    ("xn--abc@example.com", "isemail: a local part is no domain"),
    # Quoted local parts
    ('"abc"@example.com', QUOTED),
    ('"abc def"@example.com', RFC3696 + ", erratum 246"),
    ('"abc@def"@example.com', RFC3696),
    ('"Fred Bloggs"@example.com', RFC3696),
    ('"Joe.\\\\Blow"@example.com', RFC3696),
    ('"a..b"@example.com', QUOTED),
    ('"a\\"b"@example.com', QUOTED),
    ('"a,b"@example.com', QUOTED),
    ('"<a>"@example.com', QUOTED),
    ('"."@example.com', QUOTED),
    ('"\u00fc x"@example.com', UTF8),
    # UTF-8 local parts
    ("j\u00f6rg@example.com", UTF8),
    ("\u00f1o\u00f1\u00f3@example.com", VALIDATOR),
    ("\u6211\u8cb7@example.com", VALIDATOR),
    ("\u7532\u6590\u9ed2\u5ddd\u65e5\u672c@example.com", VALIDATOR),
    ("\u044e\u0437\u0435\u0440@example.com", UTF8),
    ("\u03b9\u03c9\u03ac\u03bd\u03bd\u03b7\u03c2@example.com", UTF8),
    ("\u0930\u093e\u092e@example.com", UTF8),
    ("\u05d3\u05d5\u05d0\u05dc@example.com", UTF8),
    ("\u0645\u0633\u062a\u062e\u062f\u0645@example.com", UTF8),
    ("\U0001f600@example.com", UTF8 + "; emoji are symbols"),
    # Domains in other scripts
    ("hans@m\u00fcller.com", IDN),
    ("\u00fcml\u00e4\u00fct@ex\u00e4mple.ch", IDN),
    ("a@stra\u00dfe.de", IDN + ": \u00df is a letter of its own"),
    ("jeff@\u81fa\u7db2\u4e2d\u5fc3.tw", VALIDATOR),
    ("\u4f0a\u662d\u5091@\u90f5\u4ef6.\u5546\u52d9", VALIDATOR),
    ("\u044e\u0437\u0435\u0440@\u0435\u043a\u0437\u0430\u043c\u043f\u043b.\u043a\u043e\u043c", VALIDATOR),
    ("\u03b8\u03c3\u03b5\u03c1@\u03b5\u03c7\u03b1\u03bc\u03c0\u03bb\u03b5.\u03c8\u03bf\u03bc", VALIDATOR),
    ("\u0930\u093e\u092e@\u092e\u094b\u0939\u0928.\u0908\u0928\u094d\u092b\u094b", VALIDATOR),
    ("a@\u4f8b\u5b50.\u5e7f\u544a", IDN),
]

CHANGED: Final = [
    ("a@EX\u00c4MPLE.ch", "a@ex\u00e4mple.ch", IDN + ": lower case"),
    ("a@\uff45\uff58ample.com", "a@example.com", "UTS 46: full-width letters"),
    ("a@example\u3002com", "a@example.com", "UTS 46: the ideographic full stop separates labels"),
    ("a@example\uff0ecom", "a@example.com", "UTS 46: the full-width full stop separates labels"),
    ("jo\u0308rg@example.com", "j\u00f6rg@example.com", NFC),
    ("a@exa\u0308mple.ch", "a@ex\u00e4mple.ch", NFC),
    ("s\u0323\u0307@example.com", "\u1e69@example.com", VALIDATOR),
]

PLAIN: Final = "must be an e-mail address, such as name@example.com"
BRACKETS: Final = "without a name or angle brackets"
ONE: Final = "one address, without a comma or semicolon"
MAILTO: Final = "without mailto:"
SPACE: Final = "without space around it"

REFUSED: Final = [
    # What stands around an address
    ("<a@example.com>", BRACKETS, ATEXT),
    ("a@example.com>", BRACKETS, ATEXT),
    ("<a@example.com", BRACKETS, ATEXT),
    ("Ann <a@example.com>", BRACKETS, "RFC 5322, 3.4: a name is for a header"),
    ('"Ann" <a@example.com>', BRACKETS, "RFC 5322, 3.4: a name is for a header"),
    ("Ann<a@example.com>", BRACKETS, "RFC 5322, 3.4: a name is for a header"),
    ("mailto:a@example.com", MAILTO, "RFC 6068: a URI is no address"),
    ("MAILTO:a@example.com", MAILTO, "RFC 6068: a URI is no address"),
    ("mailto:<a@example.com>", MAILTO, "RFC 6068: a URI is no address"),
    ("a@example.com,", ONE, ATEXT),
    ("a@example.com;", ONE, ATEXT),
    (",a@example.com", ONE, ATEXT),
    ("a@example.com,b@example.com", ONE, ATEXT),
    ("a@example.com; b@example.com", ONE, ATEXT),
    ("a,b@example.com", ONE, ATEXT),
    (" a@example.com", SPACE, ATEXT),
    ("a@example.com ", SPACE, ATEXT),
    ("a@example.com\n", SPACE, VALIDATOR),
    ("\ta@example.com", SPACE, ATEXT),
    ("\r\na@example.com", SPACE, CONTROLS),
    ("\u00a0a@example.com", SPACE, VALIDATOR_JS),
    ("a@example.com\u3000", SPACE, VALIDATOR_JS),
    ("(Ann) a@example.com", PLAIN, "RFC 5322, 3.2.2: a comment is for a header"),
    ("a@example.com (Ann)", PLAIN, "RFC 5322, 3.2.2: a comment is for a header"),
    # What cannot be seen
    ("\u200ba@example.com", "U+200B ZERO WIDTH SPACE", ISSUE_3772),
    ("j\ufffdrg@example.com", "U+FFFD REPLACEMENT CHARACTER", "Unicode: it stands for a character that was lost"),
    ("a@b\ufffdcher.example", "U+FFFD REPLACEMENT CHARACTER", "Unicode"),
    ("a@example.com\u200b", "U+200B ZERO WIDTH SPACE", ISSUE_3772),
    ("a\u200b@example.com", "U+200B ZERO WIDTH SPACE", FORMATS),
    ("a@exam\u200bple.com", "U+200B ZERO WIDTH SPACE", FORMATS + "; UTS 46 would drop it without a word"),
    ("a@example.com\u202c", "U+202C POP DIRECTIONAL FORMATTING", FORMATS),
    ("\u202aa@example.com", "U+202A LEFT-TO-RIGHT EMBEDDING", FORMATS),
    ("a\u202e@example.com", "U+202E RIGHT-TO-LEFT OVERRIDE", FORMATS),
    ("\ufeffa@example.com", "U+FEFF ZERO WIDTH NO-BREAK SPACE", FORMATS),
    ("a\u2060@example.com", "U+2060 WORD JOINER", FORMATS),
    ("a\u200d@example.com", "U+200D ZERO WIDTH JOINER", FORMATS),
    ("a\u00ad@example.com", "U+00AD SOFT HYPHEN", FORMATS),
    ("a@ex\u00adample.com", "U+00AD SOFT HYPHEN", FORMATS + "; UTS 46 would drop it without a word"),
    ("a\x00@example.com", "U+0000", CONTROLS),
    ("\x00a@example.com", "U+0000", CONTROLS),
    ("a@example.com\x00", "U+0000", CONTROLS),
    ("a\x01@example.com", "U+0001", CONTROLS),
    ("a\x7f@example.com", "U+007F", CONTROLS),
    ("a@example.com\x7f", "U+007F", CONTROLS),
    ("a\x1f@example.com", "U+001F", CONTROLS),
    ("a\x85b@example.com", "U+0085", CONTROLS),
    ("a\nb@example.com", "U+000A", CONTROLS + ", or a header could be added"),
    ("a@example.com\nbcc:b@example.com", "U+000A", CONTROLS + ", or a header could be added"),
    ('"a\nb"@example.com', "U+000A", CONTROLS),
    ("a\u2028b@example.com", "U+2028 LINE SEPARATOR", VALIDATOR),
    ("a\u2005b@example.com", "U+2005 FOUR-PER-EM SPACE", VALIDATOR),
    ("a\ue000@example.com", "U+E000", VALIDATOR + ": private use"),
    ("a\ufdef@example.com", "U+FDEF", VALIDATOR + ": not assigned"),
    ("a@te\u00a0st.com", "U+00A0 NO-BREAK SPACE", VALIDATOR_JS),
    # No address
    ("", PLAIN, ATEXT),
    ("@", PLAIN, ATEXT),
    ("email", PLAIN, ATEXT),
    ("example.com", PLAIN, ATEXT),
    ("@example.com", PLAIN, ATEXT),
    ("email@", PLAIN, DOMAIN),
    ("email@@example.com", PLAIN, ATEXT),
    ("a@b@example.com", PLAIN, ATEXT),
    ("41793026727", PLAIN, ATEXT),
    ("a\uff20example.com", PLAIN, VALIDATOR + ": full-width at sign"),
    # Local parts
    (".a@example.com", PLAIN, DOT),
    ("a.@example.com", PLAIN, DOT + "; some old Japanese mailboxes had one"),
    ("a..b@example.com", PLAIN, DOT + "; some old Japanese mailboxes had two"),
    (".@example.com", PLAIN, DOT),
    ("a b@example.com", PLAIN, ATEXT),
    ("a(b@example.com", PLAIN, ATEXT),
    ("a[b@example.com", PLAIN, ATEXT),
    ("a:b@example.com", PLAIN, ATEXT),
    ("a\\b@example.com", PLAIN, ATEXT),
    ("a\\@b@example.com", PLAIN, RFC3696 + ", erratum 246: only in quotes"),
    ('a"b@example.com', PLAIN, ATEXT),
    ('"a@example.com', PLAIN, QUOTED),
    ('"a"b@example.com', PLAIN, QUOTED),
    ('a."b".c@example.com', PLAIN, VALIDATOR + ": an obsolete form"),
    ('""@example.com', PLAIN, VALIDATOR + ": an empty mailbox"),
    (f"a{A64}@example.com", PLAIN, LENGTH + ".1: 64 octets"),
    ("\u0300@example.com", PLAIN, VALIDATOR + ": a combining mark alone"),
    ("a\u037eb@example.com", PLAIN, VALIDATOR + ": normalised, it is a semicolon"),
    # Domains
    ("email@example", PLAIN, "ICANN: no mail to names without a dot"),
    ("email@localhost", PLAIN, RESERVED),
    ("email@test", PLAIN, RESERVED),
    ("email@.com", PLAIN, DOMAIN),
    ("email@.example.com", PLAIN, DOMAIN),
    ("email@example.", PLAIN, DOMAIN),
    ("email@example.com.", PLAIN, DOMAIN),
    ("email@example..com", PLAIN, DOMAIN),
    ("email@-example.com", PLAIN, DOMAIN),
    ("email@example-.com", PLAIN, DOMAIN),
    ("email@example.-com", PLAIN, DOMAIN),
    ("email@example.com-", PLAIN, DOMAIN),
    ("email@my_store.example.com", PLAIN, DOMAIN),
    ("email@exa mple.com", PLAIN, DOMAIN),
    ("email@example!.com", PLAIN, DOMAIN),
    ("email@example.com/path", PLAIN, DOMAIN),
    ("email@example.com:25", PLAIN, DOMAIN),
    ("email@example.com?subject=x", PLAIN, DOMAIN),
    ("email@exa'mple.com", PLAIN, DOMAIN),
    ("email@example.123", PLAIN, VALIDATOR + ": all top-level names end with a letter"),
    ("email@192.0.2.1", PLAIN, VALIDATOR_JS),
    ("email@[192.0.2.1]", PLAIN, LITERAL),
    ("email@[IPv6:2001:db8::1]", PLAIN, LITERAL),
    ("email@ab--cd.com", PLAIN, IDN + ": no such label but Punycode"),
    ("email@xn--0.com", PLAIN, IDN + ": not Punycode"),
    ("email@xn--zzzz.ch", PLAIN, IDN + ": not Punycode"),
    ("email@\u2488wouldbeinvalid.com", PLAIN, VALIDATOR),
    ("email@\u037e.com", PLAIN, VALIDATOR),
    ("username@example.com\u00a9", PLAIN, VALIDATOR_JS),
    ("username@example.com\ufffd", PLAIN, VALIDATOR_JS),
    ("email@host.local", PLAIN, RESERVED),
    ("email@host.localhost", PLAIN, RESERVED),
    ("email@HOST.LOCAL", PLAIN, RESERVED),
    ("email@example.invalid", PLAIN, RESERVED),
    ("email@example.onion", PLAIN, RESERVED),
    ("email@2.0.192.in-addr.arpa", PLAIN, RESERVED),
    (f"a@{A64}.com", PLAIN, LABEL),
    (f"a@{A63}.{A63}.{A63}.{A63}.com", "at most 254 characters", LENGTH),
    (f"{A64}@{A63}.{A63}.{'a' * 58}.com", "at most 254 characters", LENGTH + ".3"),
    ("\u00fc" * 60 + f"@{A63}.{A63}.example.com", PLAIN, LENGTH + ".3: octets, not characters"),
]

ISEMAIL: Final = [
    (diagnosis, json.loads(written))
    for diagnosis, _, written in (
        line.partition("\t") for line in Path(__file__).with_name("isemail.tsv").read_text().splitlines()
    )
]
DIFFERENCES: Final = {
    "test@io": "is refused: a name without a dot takes no mail (ICANN)",
    '""@iana.org': "is refused: an empty mailbox",
    '"test\\\u00a9"@iana.org': "is taken: RFC 6531 came after isemail",
}
"""Addresses about which the relay differs from isemail on purpose."""


def read(written: str) -> str | None:
    """Give what is posted, or nothing of what is refused."""
    try:
        return To.model_validate({"emailAddress": written}).email_address
    except ValidationError:
        return None


def cause(written: str) -> str:
    """Give the only fault of an address; nothing if it is posted."""
    try:
        To.model_validate({"emailAddress": written})
    except ValidationError as refused:
        (error,) = refused.errors()
        return error["msg"]
    return ""


def test_an_address_is_posted_as_it_came() -> None:
    assert [row for row in TAKEN if read(row[0]) != row[0]] == []


def test_unicode_is_posted_in_its_normal_form() -> None:
    assert [row for row in CHANGED if read(row[0]) != row[1] or read(row[1]) != row[1]] == []


def test_an_invalid_address_is_refused_with_its_cause() -> None:
    assert [(row, cause(row[0])) for row in REFUSED if not cause(row[0]) or row[1] not in cause(row[0])] == []


def test_no_fault_repeats_the_address() -> None:
    long = [written for written, *_ in REFUSED if len(written) > 5]

    assert [written for written in long if written in cause(written).replace("name@example.com", "")] == []


def test_isemail_is_followed_but_for_literals_comments_and_obsolete_forms() -> None:
    valid = {written for diagnosis, written in ISEMAIL if diagnosis in {"VALID", "RFC5321_QUOTEDSTRING"}}
    taken = valid ^ set(DIFFERENCES)

    wrong = [written for _, written in ISEMAIL if read(written) != (written if written in taken else None)]

    assert wrong == []


def test_the_tables_are_as_long_as_they_claim() -> None:
    assert len({written for written, *_ in (*TAKEN, *CHANGED, *REFUSED)}) >= 150
    assert len(ISEMAIL) > 140


@pytest.mark.parametrize("value", [5, True, ["a@example.com"], {}])
def test_an_address_is_a_string(value: object) -> None:
    with pytest.raises(ValidationError):
        To.model_validate({"emailAddress": value})


@law
@given(
    st.from_regex(r"[a-z0-9.+'<>\"_-]{1,9}@([a-z0-9-]{1,5}\.){1,3}([a-z0-9-]{1,5}|local|test)", fullmatch=True)
    | st.text("ab.@-'\u00fc\u0308\u3002\u200b", max_size=20)
)
def test_an_address_accepted_without_the_library_is_accepted_by_it(written: str) -> None:
    try:
        posted = email_address(written)
    except PydanticCustomError:
        return
    email_validator.validate_email(
        posted, allow_quoted_local=True, check_deliverability=False, test_environment=True, strict=True
    )
    assert email_address(posted) == posted
