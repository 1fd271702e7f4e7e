"""E-mail addresses: a local part and a domain, without a name, brackets or anything around them.

Sources: RFC 5321 (4.1.2 syntax, 4.5.3.1 lengths), RFC 6531 (UTF-8), RFC 5891 (names of domains in other scripts).
Only the form is checked: neither the existence of the account nor that of the domain.

Plain ASCII addresses are matched here. The library email-validator reads all others. It is imported when one comes.
"""

import re
import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from service.core.printable import name_of

MAX_ADDRESS: Final = 254
"""Octets. Source: RFC 3696, erratum 1690."""

_MAX_LOCAL: Final = 64

_ATOM: Final = r"[A-Za-z0-9_!#$%&'*+\-/=?^`{|}~]+"
_LABEL: Final = r"(?!..--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_RESERVED: Final = "arpa|invalid|local|localhost|onion"
_PLAIN: Final = re.compile(
    rf"(?=[^@]{{1,{_MAX_LOCAL}}}@){_ATOM}(?:\.{_ATOM})*"
    rf"@(?:{_LABEL}\.)+(?!(?:{_RESERVED})\Z){_LABEL}(?<=[A-Za-z])",
    re.IGNORECASE,
)
"""A plain address. The library checks all others, such as those with labels `xn--…` or reserved names."""

_FORM: Final = "must be an e-mail address, such as name@example.com"
_LOST: Final = "\ufffd"
"""REPLACEMENT CHARACTER: a decoder writes it for bytes that it cannot read."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
"""Unicode categories of characters that are invisible, or not allowed in an address."""


def is_plain_email_address(written: str) -> bool:
    """Return whether an address is checked without the library."""
    return _PLAIN.fullmatch(written) is not None


def email_address(written: str) -> str:
    """Return an e-mail address as it is posted: the producer's, in Unicode's composed form (NFC)."""
    return written if _PLAIN.fullmatch(written) else _read(written)


EmailAddress = Annotated[str, Field(max_length=MAX_ADDRESS), AfterValidator(email_address)]


def _read(written: str) -> str:
    # The library checks the length too, after a millisecond of work. It accepts the replacement character, which stands
    # for one that was lost on the way: such an address was never meant.
    if len(written.encode(errors="replace")) > MAX_ADDRESS or _LOST in written:
        raise _fault(written)
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415 - few addresses need it

    try:
        read = validate_email(
            written,
            allow_quoted_local=True,
            check_deliverability=False,
            test_environment=True,  # .test is for tests, and the sandbox is for those
            strict=True,
        )
    except (EmailNotValidError, UnicodeError):
        raise _fault(written) from None
    local, _, domain = written.rpartition("@")
    domain = domain if domain.isascii() else read.domain
    if "." not in domain or len(local) > _MAX_LOCAL:  # the library does not count quotes
        raise _fault(written)
    return f"{unicodedata.normalize('NFC', local)}@{domain}"


def _fault(written: str) -> PydanticCustomError:
    """Describe the usual causes. The library's own texts may repeat parts of the address."""
    return PydanticCustomError("email_address", "{form}{reason}", {"form": _FORM, "reason": _reason(written)})


def _reason(written: str) -> str:
    if written.strip() != written:
        return ", without space around it"
    hidden = next(
        (one for one in written if one == _LOST or (one != " " and unicodedata.category(one) in _HIDDEN)), None
    )
    if hidden is not None:
        return f": it has a {name_of(hidden)}"
    if written.casefold().startswith("mailto:"):
        return ", without mailto:"
    if "<" in written or ">" in written:
        return ", without a name or angle brackets"
    if "," in written or ";" in written:
        return ": one address, without a comma or semicolon"
    return ""
