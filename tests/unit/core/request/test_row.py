import json
from typing import Final

import pytest
from hypothesis import given

from service.core.request.row import ColumnError, merged, read_columns, row_value
from tests.unit.strategy import bodies, law

PHONE: Final = "41793026727"


def value(names: str, *cells: str) -> object:
    return row_value(read_columns(names.split(",")), cells)


@pytest.mark.parametrize(
    ("names", "cells", "read"),
    [
        ("phoneNumber,sms.text", (PHONE, "x"), {"phoneNumber": PHONE, "sms": {"text": "x"}}),
        (" phoneNumber ,sms.text", (PHONE, " x\n"), {"phoneNumber": PHONE, "sms": {"text": " x\n"}}),
        ("requestId,text", ("", "x"), {"text": "x"}),
        ("requestId,text", (" \u00a0", "x"), {"text": "x"}),
        ("requestId,text,mailSubject", ("r",), {"requestId": "r"}),
        ("requestId,,", ("r", "", " "), {"requestId": "r"}),
        ("sms.validityPeriod", (" 5 ",), {"sms": {"validityPeriod": 5}}),
        ("sms.validityPeriod", ("soon",), {"sms": {"validityPeriod": "soon"}}),
        ("notify", ("true",), {"notify": True}),
        ("notify", ("yes",), {"notify": "yes"}),
        ("whatsApp.latitude", ("47.5",), {"whatsApp": {"latitude": 47.5}}),
        ("sms.validityPeriodTimeUnit", (" HOURS ",), {"sms": {"validityPeriodTimeUnit": "HOURS"}}),
        ("metadata.tenant,metadata.2", ("a", "1"), {"metadata": {"tenant": "a", "2": "1"}}),
        ("metadata", ('{"a": "b"}',), {"metadata": {"a": "b"}}),
        ("metadata", ("{a",), {"metadata": "{a"}),
        ("whatsApp.templateData.1,whatsApp.templateData.0", ("b", "a"), {"whatsApp": {"templateData": ["a", "b"]}}),
        ("whatsApp.templateData.0,whatsApp.templateData.1", ("", "b"), {"whatsApp": {"templateData": ["b"]}}),
        ("destinations.0.to.phoneNumber", (PHONE,), {"destinations": [{"to": {"phoneNumber": PHONE}}]}),
        ("destinations.x", ("y",), {"destinations": {"x": "y"}}),
        ("unheardOf.of.this", ("x",), {"unheardOf": {"of": {"this": "x"}}}),
    ],
)
def test_a_cell_is_the_field_that_its_column_names(names: str, cells: tuple[str, ...], read: object) -> None:
    assert value(names, *cells) == read


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("", "has no header"),
        (" ,", "has no header"),
        ("text,text", "has two columns named text"),
        ("sms,sms.text", "has a column sms.text inside another one, sms"),
        ("sms..text", r"has a column sms\.\.text: a name is missing"),
        (".text", "a name is missing"),
        ("a" + ".a" * 100, "no request is nested so deeply"),
    ],
)
def test_a_header_that_is_ambiguous_is_a_fault(names: str, message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        value(names)


@pytest.mark.parametrize("names", ["text", "text,"])
def test_a_value_without_a_column_is_a_fault(names: str) -> None:
    with pytest.raises(ColumnError, match="has a value in column 2, which has no name"):
        value(names, "x", "y")


def test_a_row_wins_over_the_template_field_by_field() -> None:
    template = {"sms": {"text": "a", "validityPeriod": 1}, "metadata": {"a": "1"}, "destinations": [1, 2]}
    row = {"sms": {"text": "b"}, "metadata": {"b": "2"}, "destinations": [3], "viber": {"text": "c"}}

    assert merged(template, row) == {
        "sms": {"text": "b", "validityPeriod": 1},
        "metadata": {"a": "1", "b": "2"},
        "destinations": [3],
        "viber": {"text": "c"},
    }
    assert merged({"sms": {"text": "a"}}, {"sms": None}) == {"sms": None}
    assert template["sms"] == {"text": "a", "validityPeriod": 1}


@law
@given(body=bodies)
def test_a_table_with_one_row_says_what_json_says(body: dict[str, object]) -> None:
    """Of fields that are no texts: around those of closed lists white space is removed, and an empty one is absent."""
    fields = {name: one for name, one in body.items() if not isinstance(one, str)}

    columns = read_columns(["text", *fields])
    assert row_value(columns, ["", *(json.dumps(one) for one in fields.values())]) == fields
