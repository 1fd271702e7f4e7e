"""WhatsApp: a template, or what a person who wrote within a day may be sent freely.

Source: the vendor's specification; the length of a text from its WhatsApp API. The specification marks `text`,
`mediaTemplateData` and every field of a header as required; its own examples leave them out, and so may you.
"""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from service.core.omni.channel.step import Step, Text, Url
from service.core.omni.model import Strict

Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
MediaUrl = Annotated[Url, Field(max_length=2048)]


class TemplateHeader(Strict):
    """The header of a template: a text, a document, an image, a video or a place."""

    text_placeholder: Text | None = None
    document_url: MediaUrl | None = None
    document_filename: Text | None = None
    image_url: MediaUrl | None = None
    video_url: MediaUrl | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None


class TemplateBody(Strict):
    """The body's placeholders, in order; there may be none."""

    placeholders: tuple[Text, ...]


class TemplateButton(Strict):
    """What fills a button."""

    url_placeholder: Annotated[str, Field(max_length=1500)] | None = None
    quick_reply_payload: Annotated[str, Field(max_length=128)] | None = None


class MediaTemplateData(Strict):
    """What fills a template with a header or buttons."""

    header: TemplateHeader | None = None
    body: TemplateBody
    buttons: tuple[TemplateButton, ...] | None = None


class ContactAddress(Strict):
    """An address on a contact's card."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None
    country_code: str | None = None
    type: Literal["HOME", "WORK"] | None = None


class ContactEmail(Strict):
    """An e-mail address on a contact's card."""

    email: str | None = None
    type: Literal["HOME", "WORK"] | None = None


class ContactName(Strict):
    """A contact's name."""

    first_name: Text
    formatted_name: Text
    last_name: str | None = None
    middle_name: str | None = None
    name_suffix: str | None = None
    name_prefix: str | None = None


class Organization(Strict):
    """Where a contact works."""

    company: str | None = None
    department: str | None = None
    title: str | None = None


class ContactPhone(Strict):
    """A number on a contact's card, as it should be shown."""

    phone: str | None = None
    type: Literal["CELL", "MAIN", "IPHONE", "HOME", "WORK"] | None = None
    wa_id: str | None = None


class ContactUrl(Strict):
    """An address on the web on a contact's card."""

    url: str | None = None
    type: Literal["HOME", "WORK"] | None = None


def _day(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise PydanticCustomError("day", "must be a date, such as 1990-12-31") from None


class Contact(Strict):
    """A contact's card; `birthday` as YYYY-MM-DD."""

    name: ContactName
    addresses: tuple[ContactAddress, ...] | None = None
    birthday: Annotated[str, AfterValidator(_day)] | None = None
    emails: tuple[ContactEmail, ...] | None = None
    org: Organization | None = None
    phones: tuple[ContactPhone, ...] | None = None
    urls: tuple[ContactUrl, ...] | None = None


class WhatsApp(Step):
    """A text (which also captions a file), a template, a file, a place, or contacts."""

    text: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    template_name: Text | None = None
    template_namespace: Text | None = None
    template_data: tuple[Text, ...] | None = None
    media_template_data: MediaTemplateData | None = None
    language: Text | None = None
    file_url: MediaUrl | None = None
    image_url: MediaUrl | None = None
    audio_url: MediaUrl | None = None
    video_url: MediaUrl | None = None
    location_name: Annotated[str, Field(max_length=1000)] | None = None
    address: Annotated[str, Field(max_length=1000)] | None = None
    longitude: Longitude | None = None
    latitude: Latitude | None = None
    preview_url: bool | None = None
    contacts: Annotated[tuple[Contact, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise PydanticCustomError("place", "latitude and longitude go together")
        media = (self.file_url, self.image_url, self.audio_url, self.video_url)
        if not any((self.text, self.template_name, *media, self.contacts)) and self.latitude is None:
            raise PydanticCustomError(
                "whatsapp_content", "needs one of text, templateName, a file's URL, latitude and longitude, contacts"
            )
        return self
