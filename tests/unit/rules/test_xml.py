import json
from dataclasses import replace

import pytest
from hypothesis import given
from pydantic import BaseModel

from service.rules.xml import XmlError, write_xml, xml_to_json
from service.words.body import RequestBody
from tests.support.builder import a_body, a_delivery, a_destination, parsed
from tests.unit.strategy import bodies, law

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
        ("<text>5</text>", {"text": "5"}),
        ("<notify> true </notify>", {"notify": True}),
        ("<notify>perhaps</notify>", {"notify": "perhaps"}),
        ("<sms><validityPeriod>90</validityPeriod></sms>", {"sms": {"validityPeriod": 90}}),
        ("<sms><validityPeriod>soon</validityPeriod></sms>", {"sms": {"validityPeriod": "soon"}}),
        ("<whatsApp><latitude>46.5</latitude></whatsApp>", {"whatsApp": {"latitude": 46.5}}),
        ("<whatsApp><latitude>north</latitude></whatsApp>", {"whatsApp": {"latitude": "north"}}),
        ("<metadata><tenant>acme</tenant><empty/></metadata>", {"metadata": {"tenant": "acme", "empty": ""}}),
        ("<unheardOf>1</unheardOf>", {"unheardOf": "1"}),
        ('<x:text xmlns:x="urn:x">a</x:text>', {"text": "a"}),
    ],
)
def test_an_element_is_read_as_the_model_has_it(inner: str, meaning: object) -> None:
    assert read(f"<request>{inner}</request>") == meaning


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ("", "not well-formed"),
        ("<request>", "not well-formed"),
        ("<order/>", "root element request"),
        ('<!DOCTYPE r [<!ENTITY a "x">]><request><text>&a;</text></request>', "document type or entities"),
        ('<!DOCTYPE r SYSTEM "file:///etc/passwd"><request/>', "document type or entities"),
        ("<request><text>a</text><text>b</text></request>", "gives text twice"),
        ("<request><sesame>a</sesame><sesame>b</sesame></request>", "gives an element twice"),
        ("<request><destinations><to/></destinations></request>", "may hold only destination in destinations"),
    ],
)
def test_a_document_that_is_not_what_it_should_be_is_refused(document: str, fault: str) -> None:
    with pytest.raises(XmlError, match=fault) as caught:
        read(document)
    assert "sesame" not in str(caught.value)


class Node(BaseModel):
    """A model that may nest without end, as the boxes of a Flex Message do."""

    inner: "Node | None" = None


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

    assert [(fault.path, fault.message) for fault in reading.faults] == [("$", "XML is not well-formed")]


@pytest.mark.parametrize("value", [{"text": "a\x00b"}, {"text": "\ufffe"}, {"1st": "x"}, {"a b": "x"}])
def test_what_xml_cannot_say_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(XmlError, match="XML has none for"):
        write_xml("request", value)


@law
@given(body=bodies)
def test_what_is_written_in_xml_means_what_it_meant_in_json(body: dict[str, object]) -> None:
    try:
        document = write_xml("request", body)
    except XmlError:
        return

    assert parsed(replace(a_delivery(document), content_type="application/xml")) == parsed(body)
