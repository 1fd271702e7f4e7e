"""Whether an address that OMNI repeats is one of the addresses of a message.

OMNI repeats addresses in its answer to a call (an object that names each kind) and in its logs (one text: the address
of the step that the entry is about). Source: the vendor's specification, `To` and `OmniLog`.
"""

import re
from collections.abc import Mapping
from typing import Final

from service.core.omni.answer import SentTo
from service.core.omni.destination import ADDRESSES

_NOT_DIGITS: Final = re.compile(r"[^0-9]", re.ASCII)
_PHONE: Final = re.compile(r"[+]?[0-9][0-9 ().-]{3,22}", re.ASCII)


def repeats(sent: SentTo, to: Mapping[str, str]) -> bool:
    """Return whether an entry of an answer, which has our message id, is about a message to `to`.

    The specification requires no address in the answer, and its examples always have every one that was posted. So:

    * an entry with some of those that were posted, or without any, is about the message;
    * an entry with another address is about another message that has the same id;
    * an address of a kind that was not posted is ignored beside one that was: OMNI may know more of a person.
    """
    pairs = (
        (sent.phone_number, to.get("phoneNumber")),
        (sent.email_address, to.get("emailAddress")),
        (sent.push_registration_id, to.get("pushRegistrationId")),
        (sent.whats_app_user_id, to.get("whatsAppUserId")),
    )
    listed = [(theirs, ours) for theirs, ours in pairs if theirs]
    posted = [_is_same(theirs, ours) for theirs, ours in listed if ours is not None]
    return all(posted) if posted else not listed


def is_logged_for(logged: str | None, to: Mapping[str, str]) -> bool:
    """Return whether a log entry with our message id is about a message to `to`.

    * An entry has the address of one step. Push, LINE and others have ids of their own, which OMNI may find by a phone
      number, and the other way round. With such an id, or without an address, the message id alone decides.
    * An entry with another phone number or e-mail address than the posted one is about another person's message.
    """
    if not logged or logged.isspace():
        return True
    phone, email, *others = map(to.get, ADDRESSES)
    ids = tuple([one for one in others if one is not None])
    if "@" in logged:
        own = email
    elif _PHONE.fullmatch(logged.strip()):
        own = phone
    else:
        return logged.strip() in ids or bool(phone or email)
    return _is_same(logged, own) if own is not None else bool(ids)


def _is_same(theirs: str, ours: str) -> bool:
    """Compare e-mail addresses in any letter case, and phone numbers with or without a leading plus or zeros."""
    return theirs == ours or _plain(theirs) == _plain(ours)


def _plain(address: str) -> str:
    address = address.strip()
    if _PHONE.fullmatch(address):
        return _NOT_DIGITS.sub("", address).removeprefix("00")
    return address.casefold()
