from service.core.omni.status import Status


def test_a_status_is_rendered_completely_with_null_for_missing_fields() -> None:
    """Readers of events find every field, whatever OMNI left out."""
    assert Status(group_id=1).model_dump(by_alias=True) == {
        "groupId": 1,
        "groupName": None,
        "id": None,
        "name": None,
        "description": None,
        "action": None,
    }
