import json

import pytest
from pydantic import ValidationError

from service.core.omni.channel.sms import FITS_ALWAYS
from service.core.request.body import MAX_DESTINATIONS, SIMPLE, RequestBody, is_request_id
from tests.support.builder import a_body, a_destination


@pytest.mark.parametrize("value", ["x", "order-8812", "x" * 200, "é" * 127, " ", "0"])
def test_a_request_id_has_1_to_200_characters_and_fits_an_amqp_short_string(value: str) -> None:
    assert is_request_id(value)
    assert RequestBody.model_validate({"requestId": value}).request_id == value


@pytest.mark.parametrize("value", ["", "x" * 201, "é" * 128, "☎" * 86])
def test_a_longer_one_or_none_is_a_fault(value: str) -> None:
    assert not is_request_id(value)
    with pytest.raises(ValidationError, match="1 to 200 characters and at most 255 bytes"):
        RequestBody.model_validate({"requestId": value})


@pytest.mark.parametrize("value", [None, 5, b"x", ["x"], {}, "\ud800"])
def test_only_text_names_a_request(value: object) -> None:
    assert not is_request_id(value)


@pytest.mark.parametrize(
    "metadata", [{}, {"tenant": "acme"}, {"": ""}, {"k": "x" * 4095}, {"k" * 4096: ""}, {"k": "é" * 2047}]
)
def test_metadata_is_a_flat_object_of_strings_up_to_4_kib(metadata: dict[str, str]) -> None:
    assert RequestBody.model_validate({"metadata": metadata}).metadata == metadata


@pytest.mark.parametrize(
    "metadata", [{"k": "x" * 4096}, {"k": "é" * 2048}, {"k": 1}, {"k": None}, {"k": {}}, {"k": ["x"]}, [], "x"]
)
def test_other_metadata_is_a_fault(metadata: object) -> None:
    with pytest.raises(ValidationError):
        RequestBody.model_validate({"metadata": metadata})


@pytest.mark.no_cover
def test_one_request_names_up_to_ten_thousand_people() -> None:
    people = [a_destination()] * MAX_DESTINATIONS

    assert RequestBody.model_validate_json(_json(people)).destinations
    with pytest.raises(ValidationError, match="at most 10000"):
        RequestBody.model_validate_json(_json([*people, a_destination()]))
    with pytest.raises(ValidationError, match="at least 1"):
        RequestBody.model_validate_json(_json([]))


def _json(people: list[dict[str, object]]) -> str:
    return json.dumps(a_body(destinations=people))


@pytest.mark.parametrize("letter", ["x", "ß", "字", "0", "½", "\U0001d4b3"])
@pytest.mark.parametrize("rest", ["", "_" * (FITS_ALWAYS - 1), "\U0001f600" * (FITS_ALWAYS - 1)])
def test_a_text_that_is_accepted_without_building_each_content_suits_each_channel(letter: str, rest: str) -> None:
    text = rest + letter

    assert RequestBody.model_validate({"text": text}).text == text
    assert [channel(text=text).text for channel in SIMPLE] == [text] * len(SIMPLE)


@pytest.mark.parametrize("policy", ["resend", "park"])
def test_a_request_may_have_its_own_policy_for_ambiguous_attempts(policy: str) -> None:
    assert RequestBody.model_validate({"onUnknown": policy}).on_unknown == policy


@pytest.mark.parametrize("policy", ["", "RESEND", "drop", True])
def test_there_are_only_two_such_policies(policy: object) -> None:
    with pytest.raises(ValidationError):
        RequestBody.model_validate({"onUnknown": policy})


@pytest.mark.parametrize(
    "field",
    [
        "from",
        "flash",
        "html",
        "attachments",
        "applicationId",
        "telegram",
        "rcs",
        "deliveryTimeWindow",
        "scenarios",
        "phone",
        "requestid",
        "sendat",
        "Text",
    ],
)
def test_a_field_omni_does_not_have_is_a_fault(field: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        RequestBody.model_validate({field: "x"})
