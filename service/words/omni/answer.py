"""The bodies OMNI answers with: read leniently, since the vendor may add fields at any time."""

from service.words.omni.model import Lenient
from service.words.omni.status import Status


class SentTo(Lenient):
    """The addresses as OMNI repeats them."""

    phone_number: str | None = None
    email_address: str | None = None
    push_registration_id: str | None = None
    whats_app_user_id: str | None = None


class SentMessage(Lenient):
    """One message of the answer."""

    to: SentTo | None = None
    status: Status
    message_id: str | None = None


class OmniAnswer(Lenient):
    """The answer to a call that OMNI took. `bulk_id` comes only where there were several destinations."""

    bulk_id: str | None = None
    messages: tuple[SentMessage, ...]
