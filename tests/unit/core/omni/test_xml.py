import json
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from pydantic import BaseModel

from service.core.omni.content import Content
from service.core.omni.xml import XmlError, xml_to_json
from service.core.omni.xml_writing import write_xml
from service.core.request.body import RequestBody
from service.core.request.request import Fault
from tests.support.builder import a_body, a_delivery, a_destination, parsed
from tests.unit.strategy import law, spoken_bodies

ROOTS = frozenset({"request"})


def read(document: str) -> object:
    return json.loads(xml_to_json(document.encode(), RequestBody, ROOTS))


@pytest.mark.parametrize("item", ["destination", "destinations"])
def test_a_list_holds_its_items_in_the_singular_or_named_like_itself(item: str) -> None:
    to = "<to><phoneNumber>41793026727</phoneNumber></to>"

    assert read(f"<request><destinations><{item}>{to}</{item}></destinations></request>") == {
        "destinations": [{"to": {"phoneNumber": "41793026727"}}]
    }


@pytest.mark.parametrize(
    ("inner", "meaning"),
    [
        ("<text> a &amp; b </text>", {"text": " a & b "}),
        ("<text/>", {"text": ""}),
        ("\n  <sms>\n    <text> a\n</text>\t</sms>\n", {"sms": {"text": " a\n"}}),
        ("<text>5</text>", {"text": "5"}),
        ("<notify> true </notify>", {"notify": True}),
        ("<notify>perhaps</notify>", {"notify": "perhaps"}),
        ("<sms><validityPeriod>90</validityPeriod></sms>", {"sms": {"validityPeriod": 90}}),
        ("<sms><validityPeriod>soon</validityPeriod></sms>", {"sms": {"validityPeriod": "soon"}}),
        ("<whatsApp><latitude>46.5</latitude></whatsApp>", {"whatsApp": {"latitude": 46.5}}),
        ("<whatsApp><latitude>north</latitude></whatsApp>", {"whatsApp": {"latitude": "north"}}),
        ("<metadata><tenant>acme</tenant><empty/></metadata>", {"metadata": {"tenant": "acme", "empty": ""}}),
        ("<unheardOf>1</unheardOf>", {"unheardOf": ""}),
        ('<unheardOf of="us"><b>2</b> <b>3</b></unheardOf>', {"unheardOf": ""}),
        ('<x:text xmlns:x="urn:x">a</x:text>', {"text": "a"}),
    ],
)
def test_an_element_is_read_as_the_model_has_it(inner: str, meaning: object) -> None:
    assert read(f"<request>{inner}</request>") == meaning


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "must be XML that is well-formed"),
        ("<request>", "must be XML that is well-formed"),
        ("<order/>", "must be XML with the root element request"),
        (
            '<!DOCTYPE r [<!ENTITY a "x">]><request><text>&a;</text></request>',
            "must be XML without document types and entities",
        ),
        ('<!DOCTYPE r SYSTEM "file:///etc/passwd"><request/>', "must be XML without document types and entities"),
    ],
)
def test_an_invalid_document_is_refused(document: str, message: str) -> None:
    with pytest.raises(XmlError) as caught:
        read(document)
    assert (caught.value.path, caught.value.message, str(caught.value)) == ("", message, message)


@pytest.mark.parametrize(
    ("inner", "path", "message"),
    [
        ("sesame", "", "must hold XML elements, not a text"),
        ("<text>x</text> sesame", "", "must hold XML elements, not a text"),
        ("<sms>sesame<text>x</text></sms>", "sms", "must hold XML elements, not a text"),
        ("<text>a</text><text>b</text>", "text", "is given twice"),
        ("<sms><text>a</text><text>b</text></sms>", "sms.text", "is given twice"),
        ("<metadata><a>1</a><a>2</a></metadata>", "metadata.a", "is given twice"),
        ("<unheardOf/><unheardOf/>", "unheardOf", "is given twice"),
        ("<text>x<b>sesame</b>z</text>", "text", "must hold a text, not XML elements"),
        ("<metadata><a><b>sesame</b></a></metadata>", "metadata.a", "must hold a text, not XML elements"),
        ('<text lang="sesame">x</text>', "text", "must have no XML attributes"),
        ('<sms sesame="x"/>', "sms", "must have no XML attributes"),
        ("<destinations><to/></destinations>", "destinations", "may hold only elements named destination"),
        (
            "<destinations><destination/><destination><to>sesame</to></destination></destinations>",
            "destinations[1].to",
            "must hold XML elements, not a text",
        ),
    ],
)
def test_content_that_xml_parsers_ignore_is_refused_with_its_path(inner: str, path: str, message: str) -> None:
    with pytest.raises(XmlError) as caught:
        read(f"<request>{inner}</request>")

    assert (caught.value.path, caught.value.message) == (path, message)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("<a>" * 1000, "must be XML with the root element request"),
        ("<request><text>" + "<a>" * 1000, "must hold a text, not XML elements"),
        ("<request><a>" + "<a>" * 1000, "is nested too deeply"),
        ("<request><a>" + "<b/>" * 100_000, "must have at most 100,000 values"),
        (f"<request {'a' * 300_000}", "has a tag, comment or instruction that is too long"),
        (f"<request><!--{'a' * 300_000}", "has a tag, comment or instruction that is too long"),
        (f"<request><?a {'a' * 300_000}", "has a tag, comment or instruction that is too long"),
        (f"<request><{'a' * 501}/>", "has a name that is too long"),
        (f"<request xmlns='{'u' * 501}'/>", "has a name that is too long"),
    ],
)
def test_reading_stops_at_the_first_violation_although_none_of_these_is_well_formed(
    document: str, message: str
) -> None:
    with pytest.raises(XmlError) as caught:
        read(document)
    assert caught.value.message == message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_a_document_is_read_in_slices_whatever_encodes_it(encoding: str) -> None:
    text = "é\n" * 200_000
    document = f"<request><text>{text}</text></request>".encode(encoding)
    charset = None if encoding.startswith("utf") else encoding

    assert json.loads(xml_to_json(document, RequestBody, ROOTS, charset)) == {"text": text}


@pytest.mark.parametrize(
    ("inner", "meaning"),
    [
        ("<requestId>\n  order-1\n </requestId>", {"requestId": "order-1"}),
        ("<messageId>\tm-1 </messageId>", {"messageId": "m-1"}),
        ("<bulkId> b </bulkId>", {"bulkId": "b"}),
        ("<scenarioKey>\r\n AD9E01A5 \r\n</scenarioKey>", {"scenarioKey": "AD9E01A5"}),
        ("<phoneNumber>\n41793026727\n</phoneNumber>", {"phoneNumber": "41793026727"}),
        ("<emailAddress>\n  a@example.com\n</emailAddress>", {"emailAddress": "a@example.com"}),
        ("<sendAt>\n 2026-11-22T10:52:15Z\n</sendAt>", {"sendAt": "2026-11-22T10:52:15Z"}),
        ("<expiresAt> 2026-11-22T10:52:15Z </expiresAt>", {"expiresAt": "2026-11-22T10:52:15Z"}),
        ("<onUnknown> park\n</onUnknown>", {"onUnknown": "park"}),
        ("<notifyUrl> https://example.com/x </notifyUrl>", {"notifyUrl": "https://example.com/x"}),
        ("<notify>\n true\n</notify>", {"notify": True}),
        ("<sms><validityPeriod>\n 90 </validityPeriod></sms>", {"sms": {"validityPeriod": 90}}),
        ("<sms><transliteration> ALL </transliteration></sms>", {"sms": {"transliteration": "ALL"}}),
        (
            "<sms><language><languageCode> TR </languageCode></language></sms>",
            {"sms": {"language": {"languageCode": "TR"}}},
        ),
        ("<whatsApp><latitude> 46.5\n</latitude></whatsApp>", {"whatsApp": {"latitude": 46.5}}),
        ("<whatsApp><previewUrl> false </previewUrl></whatsApp>", {"whatsApp": {"previewUrl": False}}),
        ("<requestId>\u00a0x</requestId>", {"requestId": "\u00a0x"}),  # no white space of XML
        ("<requestId>a b</requestId>", {"requestId": "a b"}),
        # Texts stay as they are
        ("<text>\n a \n</text>", {"text": "\n a \n"}),
        ("<sms><text> a </text></sms>", {"sms": {"text": " a "}}),
        ("<mailSubject> a </mailSubject>", {"mailSubject": " a "}),
        ("<callbackData> a </callbackData>", {"callbackData": " a "}),
        ("<metadata><tenantId> a </tenantId></metadata>", {"metadata": {"tenantId": " a "}}),
        ("<viber><buttonText> a </buttonText></viber>", {"viber": {"buttonText": " a "}}),
        (
            "<whatsApp><templateData><templateData> a </templateData></templateData></whatsApp>",
            {"whatsApp": {"templateData": [" a "]}},
        ),
    ],
)
def test_white_space_is_removed_around_values_that_are_no_text(inner: str, meaning: object) -> None:
    assert read(f"<request>{inner}</request>") == meaning


def within(annotation: object) -> list[object]:
    """List an annotation and all that it is made of."""
    return [annotation, *(inner for one in get_args(annotation) for inner in within(one))]


def test_no_number_or_truth_value_of_a_channel_is_read_as_a_text_whatever_its_field_is_called() -> None:
    """A field such as `previewUrl` is called like an address, and is none."""
    texts: dict[object, str] = {bool: "true", int: "1", float: "1"}
    scalars = {
        (channel.alias, field.alias, texts[kind])
        for channel in Content.model_fields.values()
        for model in get_args(channel.annotation)
        if isinstance(model, type) and issubclass(model, BaseModel)
        for field in model.model_fields.values()
        for kind in within(field.annotation)
        if kind in texts
    }

    assert len(scalars) >= 15
    for channel, name, text in scalars:
        document = f"<request><{channel}><{name}>{text}</{name}></{channel}></request>"
        assert read(document) == {channel: {name: text == "true" or 1}}, name


def test_attributes_of_the_root_are_refused_but_for_its_namespace() -> None:
    with pytest.raises(XmlError, match="attributes"):
        read('<request sesame="1"/>')
    assert read('<request xmlns="urn:x"><text>a</text></request>') == {"text": "a"}


class Node(BaseModel):
    """A model that may nest without end, as the boxes of a Flex Message do."""

    inner: "Node | None" = None


@pytest.mark.parametrize("item", ["contents", "content"])
def test_a_flex_message_is_read_through_its_boxes(item: str) -> None:
    component = f"<{item}><type>TEXT</type><text>x</text><wrap>true</wrap><maxLines>2</maxLines></{item}>"
    box = f"<body><layout>VERTICAL</layout><contents>{component}</contents></body>"
    line = f"<type>FLEX</type><altText>x</altText><contents><type>BUBBLE</type>{box}</contents>"

    assert read(f"<request><line>{line}</line></request>") == {
        "line": {
            "type": "FLEX",
            "altText": "x",
            "contents": {
                "type": "BUBBLE",
                "body": {
                    "layout": "VERTICAL",
                    "contents": [{"type": "TEXT", "text": "x", "wrap": True, "maxLines": 2}],
                },
            },
        }
    }


def test_a_document_nested_without_end_is_refused() -> None:
    def nested(levels: int) -> bytes:
        return b"<node>" + b"<inner>" * levels + b"</inner>" * levels + b"</node>"

    assert xml_to_json(nested(60), Node, frozenset({"node"})).count(b"inner") == 60
    with pytest.raises(XmlError, match="nested too deeply"):
        xml_to_json(nested(61), Node, frozenset({"node"}))


@pytest.mark.parametrize("kind", ["application/xml", "text/xml; charset=utf-8"])
def test_a_request_in_xml_is_a_request(kind: str) -> None:
    document = write_xml("request", a_body(destinations=[a_destination(message_id="m-1")], notify=False))

    reading = parsed(replace(a_delivery(document), content_type=kind))

    assert reading.request is not None
    assert reading == parsed(a_body(destinations=[a_destination(message_id="m-1")], notify=False))


def test_a_document_that_is_none_names_nothing() -> None:
    reading = parsed(replace(a_delivery(b"<request"), content_type="application/xml"))

    assert reading.faults == (Fault("$", "must be XML that is well-formed"),)


def test_a_fault_in_a_document_names_its_path() -> None:
    document = b"<request><sms><text>x</text><text>y</text></sms></request>"

    reading = parsed(replace(a_delivery(document), content_type="application/xml"))

    assert reading.faults == (Fault("sms.text", "is given twice"),)


def test_an_empty_document_is_refused_for_its_missing_fields() -> None:
    reading = parsed(replace(a_delivery(b"<request/>"), content_type="application/xml"))

    assert [fault.path for fault in reading.faults] == ["destinations", "$"]


@pytest.mark.parametrize("value", [{"text": "a\x00b"}, {"text": "\ufffe"}, {"1st": "x"}, {"a b": "x"}])
def test_a_value_that_xml_cannot_express_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(XmlError, match="XML has none for"):
        write_xml("request", value)


@law
@given(body=spoken_bodies)
def test_written_xml_has_the_meaning_of_its_json(body: dict[str, object]) -> None:
    document = write_xml("request", body)

    assert parsed(replace(a_delivery(document), content_type="application/xml")) == parsed(body)


@pytest.mark.parametrize(
    ("number", "written"), [(1e-05, "0.00001"), (-73.5, "-73.5"), (0.1 + 0.2, "0.30000000000000004")]
)
def test_a_number_is_written_out_and_read_as_it_was(number: float, written: str) -> None:
    document = write_xml("request", {"whatsApp": {"latitude": number}})

    assert document.decode() == f"<request><whatsApp><latitude>{written}</latitude></whatsApp></request>"
    assert read(document.decode()) == {"whatsApp": {"latitude": number}}
