import pytest
from pydantic_core import ErrorDetails

from service.core.request.body import RequestBody, shape_faults
from service.core.request.faults import MAX_FAULTS, bounded, by_destination
from service.core.request.request import Fault
from tests.support.builder import a_body, a_destination, parsed

BUBBLE = {"type": "BUBBLE", "body": {"layout": "VERTICAL", "contents": [{"type": "TEXT"}]}}
BOTH = "is required, unless phoneNumber or emailAddress names one recipient"


@pytest.mark.parametrize(
    "present",
    [
        {"destinations", "sms"},
        {"destinations", "sms", "viber", "email"},
        {"destinations", "text"},
        {"destinations", "text", "mailSubject"},
        {"phoneNumber", "sms"},
        {"emailAddress", "messageId", "text"},
        {"phoneNumber", "emailAddress", "text", "requestId", "metadata"},
    ],
)
def test_each_shape_is_right_by_itself(present: set[str]) -> None:
    assert shape_faults(present) == []


@pytest.mark.parametrize(
    ("present", "faults"),
    [
        ({"destinations", "phoneNumber", "sms"}, [Fault("phoneNumber", "cannot stand beside destinations")]),
        ({"destinations", "emailAddress", "sms"}, [Fault("emailAddress", "cannot stand beside destinations")]),
        ({"destinations", "messageId", "sms"}, [Fault("messageId", "cannot stand beside destinations")]),
        ({"destinations", "text", "viber"}, [Fault("text", "cannot stand beside viber")]),
        ({"destinations", "mailSubject", "email"}, [Fault("mailSubject", "cannot stand beside email")]),
        ({"text"}, [Fault("destinations", BOTH)]),
        ({"messageId", "text"}, [Fault("destinations", BOTH)]),
    ],
)
def test_shapes_cannot_be_mixed_nor_leave_out_to_whom(present: set[str], faults: list[Fault]) -> None:
    assert shape_faults(present) == faults


@pytest.mark.parametrize("present", [{"destinations"}, {"destinations", "mailSubject"}, {"phoneNumber", "bulkId"}])
def test_there_must_be_something_to_say(present: set[str]) -> None:
    (fault,) = shape_faults(present)

    assert fault.path == "$"
    assert fault.message.startswith("names no content: give text, or at least one of sms, ")


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"unheardOf": 1}, "unheardOf", "is not a field of a send request"),
        ({"sms": {}}, "sms.text", "is required"),
        ({"sms": {"text": 5}}, "sms.text", "should be a valid string"),
        ({"sms": {"text": "x", "flash": True}}, "sms.flash", "is not an option of OMNI: use the SMS API"),
        (
            {"sms": {"text": "x", "language": {"languageCode": "DE"}}},
            "sms.language.languageCode",
            "should be 'NONE', 'TR', 'ES', 'PT' or 'AUTODETECT'",
        ),
        ({"requestId": ""}, "requestId", "must have 1 to 200 characters and at most 255 bytes"),
        ({"bulkId": "x" * 101}, "bulkId", "should have at most 100 characters"),
        ({"x" * 300: 1}, "x" * 200, "is not a field of a send request"),
        ({"UPPER": 1}, "UPPER", "is not a field of a send request"),
        (
            {"line": {"type": "FLEX", "altText": "x", "contents": BUBBLE}},
            "line.contents.body.contents[0].text",
            "is required",
        ),
    ],
)
def test_a_fault_has_its_path_and_what_is_allowed_instead(changes: dict[str, object], path: str, message: str) -> None:
    (rejection,) = parsed(a_body(changes)).rejections

    assert rejection.faults == (Fault(path, message),)


def test_the_type_by_which_a_part_was_chosen_is_no_part_of_its_path() -> None:
    shared, _ = by_destination(
        [{"type": "missing", "loc": ("line", "contents", "BUBBLE"), "msg": "Field required", "input": None}]
    )

    assert shared == [Fault("line.contents", "is required")]


def test_faults_of_one_destination_are_separate_from_shared_ones() -> None:
    shared, own = by_destination(
        [
            {"type": "missing", "loc": ("destinations", 2, "to"), "msg": "Field required", "input": None},
            {"type": "extra_forbidden", "loc": ("from",), "msg": "Extra inputs", "input": None},
            {"type": "model_type", "loc": (), "msg": "Input should be an object", "input": None},
        ]
    )

    assert own == {2: [Fault("destinations[2].to", "is required")]}
    assert shared == [
        Fault("from", "is not an option of OMNI: the sender stands in the scenario's step"),
        Fault("$", "should be an object"),
    ]


def test_a_list_of_nothing_but_wrong_items_is_not_also_called_too_short() -> None:
    """The parser drops each wrong item, and then misses it."""
    short: ErrorDetails = {"type": "too_short", "loc": ("destinations",), "msg": "Tuple should be longer", "input": []}
    wrong: ErrorDetails = {"type": "missing", "loc": ("destinations", 0, "to"), "msg": "Field required", "input": {}}

    assert by_destination([short]) == ([Fault("destinations", "should be longer")], {})
    assert by_destination([wrong, short]) == ([], {0: [Fault("destinations[0].to", "is required")]})
    (rejection,) = parsed(a_body(destinations=[a_destination("1")])).rejections
    assert [fault.path for fault in rejection.faults] == ["destinations[0].to.phoneNumber"]


def test_faults_beyond_the_bound_are_counted() -> None:
    faults = tuple(Fault(str(number), "x") for number in range(MAX_FAULTS + 2))

    assert bounded(faults[:MAX_FAULTS]) == faults[:MAX_FAULTS]
    assert bounded(faults) == (*faults[:MAX_FAULTS], Fault("$", "has 2 more faults"))


def test_every_field_that_is_no_option_of_omni_is_indeed_none() -> None:
    """Else the message would lie."""
    known = {field.alias for field in RequestBody.model_fields.values()}

    for name in ("from", "sender", "replyTo", "html", "attachments", "tracking", "flash", "telegram", "scenarios"):
        assert name not in known
        (rejection,) = parsed(a_body({name: "x"})).rejections
        assert rejection.faults[0].message.startswith("is not an option of OMNI: ")
