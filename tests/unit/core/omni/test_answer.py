import json

import pytest
from pydantic import ValidationError

from service.core.omni.answer import DamagedAnswer, OmniAnswer
from service.core.omni.status import Status


def test_an_answer_is_read_whole() -> None:
    answer = OmniAnswer.model_validate_json(
        json.dumps(
            {
                "bulkId": "bulk-1",
                "messages": [
                    {
                        "to": {"phoneNumber": "41793026727", "emailAddress": "email@example.com"},
                        "status": {
                            "groupId": 5,
                            "groupName": "REJECTED",
                            "id": 6,
                            "name": "REJECTED_NETWORK",
                            "description": "Network is forbidden",
                            "action": "Contact account manager",
                        },
                        "messageId": "m-1",
                    }
                ],
            }
        )
    )

    (message,) = answer.messages
    assert answer.bulk_id == "bulk-1"
    assert message.message_id == "m-1"
    assert message.to is not None
    assert message.to.phone_number == "41793026727"
    assert message.to.email_address == "email@example.com"
    assert message.status == Status(
        group_id=5,
        group_name="REJECTED",
        id=6,
        name="REJECTED_NETWORK",
        description="Network is forbidden",
        action="Contact account manager",
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"messages": []},
        {"messages": [{"status": {"groupId": 1}}]},
        {"messages": [{"status": {"groupId": 77, "groupName": "NEVER_SEEN", "id": 4711}, "to": {}}]},
        {"messages": [{"status": {"groupId": 1, "colour": "blue"}, "to": {"telepathy": "x"}, "price": 1}], "eta": 5},
    ],
)
def test_unknown_and_missing_fields_of_an_answer_are_ignored(answer: object) -> None:
    assert OmniAnswer.model_validate_json(json.dumps(answer)) is not None


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (None, None),
        ("fine", None),
        (5, None),
        ([], None),
        ({}, None),
        ({"status": {}}, None),
        ({"status": {"groupId": "many"}}, None),
        ({"messageId": {}, "status": {"groupId": 1}}, None),
        ({"messageId": "m-1"}, "m-1"),
        ({"messageId": "m-1", "status": 5}, "m-1"),
        ({"messageId": "m-1", "status": {"groupId": 1}, "to": "nobody"}, "m-1"),
        ({"messageId": 1, "status": {"groupId": 1}, "to": {"phoneNumber": {}}}, "1"),
    ],
)
def test_of_an_entry_that_cannot_be_read_the_id_is_kept_and_its_neighbours_count(
    entry: object, name: str | None
) -> None:
    neighbour = {"messageId": "m-2", "status": {"groupId": 1}}

    unread, read = DamagedAnswer.model_validate_json(json.dumps({"messages": [entry, neighbour]})).messages

    assert (unread.status, unread.message_id) == (None, name)
    assert read.message_id == "m-2"
    assert read.status is not None


@pytest.mark.parametrize("answer", [{}, {"messages": None}, {"messages": {}}, {"messages": "none"}, [], None])
def test_without_messages_it_is_no_answer(answer: object) -> None:
    with pytest.raises(ValidationError):
        OmniAnswer.model_validate_json(json.dumps(answer))
