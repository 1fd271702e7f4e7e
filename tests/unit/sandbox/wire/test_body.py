import pytest

from service.sandbox.wire.body import UnreadableError, read
from service.sandbox.wire.format import Format


def test_xml_becomes_the_document_that_the_same_request_has_in_json() -> None:
    xml = """<r:request xmlns:r="urn:x" ignored="yes"><!-- a remark -->
      <r:destinations><r:destination><r:to><r:phoneNumber>1</r:phoneNumber></r:to></r:destination></r:destinations>
      <sms><text> two  words </text><validityPeriod> 5 </validityPeriod></sms>
      <viber><text/><isPromotional>true</isPromotional></viber>
      <whatsApp><templateData>a</templateData><templateData>b</templateData><templateData>c</templateData></whatsApp>
      <notify>maybe</notify>
    </r:request>"""

    assert read(xml.encode(), Format.XML) == {
        "destinations": [{"to": {"phoneNumber": "1"}}],
        "sms": {"text": " two  words ", "validityPeriod": 5},
        "viber": {"text": "", "isPromotional": True},
        "whatsApp": {"templateData": ["a", "b", "c"]},
        "notify": "maybe",
    }


@pytest.mark.parametrize("item", ["destination", "destinations"])
def test_destinations_are_a_list_for_any_number_and_name_of_items(item: str) -> None:
    one = f"<{item}><to><phoneNumber>1</phoneNumber></to></{item}>"

    for count in range(4):
        document = read(f"<request><destinations>{one * count}</destinations></request>".encode(), Format.XML)
        assert document["destinations"] == [{"to": {"phoneNumber": "1"}}] * count


def test_wrapped_items_are_a_list_in_both_spellings() -> None:
    old = """<request><whatsApp>
      <templateData><templateData>a</templateData></templateData>
      <mediaTemplateData><body><placeholders><placeholder/><placeholder>b</placeholder></placeholders></body>
      <buttons><button><urlPlaceholder>u</urlPlaceholder></button></buttons></mediaTemplateData>
      <contacts><contact><emails><email><email>e</email></email></emails></contact></contacts>
      <latitude>-5.5</latitude></whatsApp></request>"""
    new = old
    for item, wrapper in {"placeholder": "placeholders", "button": "buttons", "contact": "contacts"}.items():
        new = new.replace(f"<{item}>", f"<{wrapper}>").replace(f"</{item}>", f"</{wrapper}>")
    new = new.replace("<placeholder/>", "<placeholders/>")
    new = new.replace("<email><email>e</email></email>", "<emails><email>e</email></emails>")

    expected = {
        "whatsApp": {
            "templateData": ["a"],
            "mediaTemplateData": {"body": {"placeholders": ["", "b"]}, "buttons": [{"urlPlaceholder": "u"}]},
            "contacts": [{"emails": [{"email": "e"}]}],
            "latitude": -5.5,
        }
    }
    assert read(old.encode(), Format.XML) == expected
    assert read(new.encode(), Format.XML) == expected


def test_a_map_with_the_name_of_a_list_stays_a_map() -> None:
    xml = "<request><vKontakte><templateData><one>1</one><two>2</two></templateData></vKontakte></request>"

    assert read(xml.encode(), Format.XML) == {"vKontakte": {"templateData": {"one": "1", "two": "2"}}}


@pytest.mark.parametrize("number", ["5.0", "1_000", "\u0665", "9" * 5000, "", "five"])
def test_other_notations_of_numbers_stay_text(number: str) -> None:
    xml = f"<request><sms><validityPeriod>{number}</validityPeriod></sms></request>"

    assert read(xml.encode(), Format.XML) == {"sms": {"validityPeriod": number}}


def test_json_has_a_depth_limit() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    assert read(nested(63), Format.JSON)
    with pytest.raises(UnreadableError, match="deep"):
        read(nested(65), Format.JSON)
