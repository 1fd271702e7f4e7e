import json

import pytest
from pydantic import ValidationError

from service.words.omni.answer import OmniAnswer
from service.words.omni.status import Status


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

    assert answer.bulk_id == "bulk-1"
    assert answer.messages[0].message_id == "m-1"
    assert answer.messages[0].to is not None
    assert answer.messages[0].to.phone_number == "41793026727"
    assert answer.messages[0].to.email_address == "email@example.com"
    assert answer.messages[0].status == Status(
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
def test_what_is_unknown_or_left_out_does_no_harm(answer: object) -> None:
    assert OmniAnswer.model_validate_json(json.dumps(answer)) is not None


@pytest.mark.parametrize(
    "answer", [{}, {"messages": None}, {"messages": [{}]}, {"messages": [{"status": {}}]}, {"messages": {}}, [], None]
)
def test_without_messages_and_their_status_it_is_no_answer(answer: object) -> None:
    with pytest.raises(ValidationError):
        OmniAnswer.model_validate_json(json.dumps(answer))
