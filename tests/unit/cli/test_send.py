import json
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from service.cli.rows import Format, Row, Source, read_rows
from service.cli.send_check import Input, InputError
from service.cli.send_progress import Progress, ProgressError, digest_of
from service.core.request.body import LONGEST

PHONE: Final = "41793026727"
NAME: Final = "Expecting property name enclosed in double quotes"
SHAPE: Final = "must hold a text, not XML elements"
TOO_LONG: Final = "is longer than 5 MiB, which no request may be"
EXCEL: Final = (
    'phoneNumber;sms.text;metadata.name\r\n41793026727;"Zeile 1\r\nZeile ""2""";Grüezi\r\n\r\n41793026728;x;\r\n'
)
READ: Final[list[object]] = [
    {"phoneNumber": PHONE, "sms": {"text": 'Zeile 1\r\nZeile "2"'}, "metadata": {"name": "Grüezi"}},
    {"phoneNumber": "41793026728", "sms": {"text": "x"}},
]


def rows(folder: Path, content: str | bytes, name: str = "f", format_: Format | None = None) -> list[Row]:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_rows(Source("f", file), format_))


def values(found: list[Row]) -> list[object]:
    assert [row.fault for row in found if row.fault] == []
    return [row.value for row in found]


def faults(found: list[Row]) -> list[str]:
    return [f"{row.place}: {row.fault}" for row in found if row.fault]


@pytest.mark.parametrize(
    ("text", "requests"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('{\n  "a": 1\n}\n', [{"a": 1}]),
        ('[{"a": 1}, {"b": 2}]', [{"a": 1}, {"b": 2}]),
        ("[]", []),
        (" [\n5 ,12\n] \n", [5, 12]),
        ('{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ('\n{"a": 1}\r\n\n  {"b": 2}\n\n', [{"a": 1}, {"b": 2}]),
        ('{"text": "Grüezi ☎"}', [{"text": "Grüezi ☎"}]),
        ('{"text": "a\u2028b"}\n{"text": "c\u0085d"}', [{"text": "a\u2028b"}, {"text": "c\u0085d"}]),
        ("5", [5]),
        ('"text"', ["text"]),
    ],
)
def test_json_is_a_request_or_a_list_or_a_request_a_line(tmp_path: Path, text: str, requests: list[object]) -> None:
    assert values(rows(tmp_path, text)) == requests


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f: is empty"),
        (" \n\t\n", "f: is empty"),
        ("nonsense", "f, line 1: Expecting value: line 1 column 1 (char 0)"),
        ('{"a": 1', "f, line 1: Expecting ',' delimiter: line 1 column 8 (char 7)"),
        ('{"a": 1,\n "a": 2}', 'f, line 1: "a" is given twice'),
        (r'[{"b": {"\u001b": 1, "\u001b": 2}}]', r'f, line 1: "\u001b" is given twice'),
        ('[1,\n{"a": 1, "a": 2},\n3]', 'f, line 2: "a" is given twice'),
        ("[1\n 2]", "f, line 2: is not JSON: a comma or the end of the list is missing"),
        ("[1,\n", "f, line 2: is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[1]\n\n2", "f, line 3: has something behind the end of the list"),
        ("[" * 200_000, "f, line 1: is nested too deeply"),
        ('{"a": 1}\n{"b": \n', "f, line 2: is neither JSON nor JSON Lines: Expecting value: line 2 column 1 (char 7)"),
        (
            '\n{"a": 1}\n\n{"b"}',
            "f, line 4: is neither JSON nor JSON Lines: Expecting ':' delimiter: line 1 column 5 (char 4)",
        ),
        ("5\n" + "[" * 200_000, "f, line 2: is neither JSON nor JSON Lines: is nested too deeply"),
    ],
)
def test_what_is_no_json_is_reported_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert faults(rows(tmp_path, text)) == [message]


def test_lines_behind_a_faulty_one_are_read(tmp_path: Path) -> None:
    found = rows(tmp_path, '{"a"}\n{"b": 2}\n')

    assert [row.value for row in found] == [None, {"b": 2}]


def test_a_list_longer_than_the_buffer_is_read_item_by_item(tmp_path: Path) -> None:
    items = [{"text": f"{number} " + "x" * (number * 37 % 9000)} for number in range(200)]
    found = rows(tmp_path, json.dumps(items, indent=1))

    assert values(found) == items
    assert found[-1].place == f"f, line {199 * 3 + 2}"


@pytest.mark.parametrize("start", ["[", '{"a": 1}\n'])
def test_an_item_longer_than_any_request_is_a_fault_and_is_not_collected(tmp_path: Path, start: str) -> None:
    (fault,) = faults(rows(tmp_path, f'{start}{{"text": "{"x" * (2 * LONGEST)}"}}'))

    assert TOO_LONG in fault


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_file_is_read_in_the_encodings_that_programs_write(tmp_path: Path, encoding: str) -> None:
    assert values(rows(tmp_path, '{"text": "Grüezi"}'.encode(encoding))) == [{"text": "Grüezi"}]
    assert values(rows(tmp_path, EXCEL.encode(encoding), "f.csv")) == READ


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    assert faults(rows(tmp_path, '{"text": "Grüezi"}'.encode("latin-1"))) == ["f: is not in UTF-8"]
    assert faults(rows(tmp_path, EXCEL.encode("latin-1"), "f.csv")) == [
        "f: is not in UTF-8. In Excel, save it as CSV UTF-8"
    ]


# CSV


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
def test_csv_is_read_as_excel_writes_it(tmp_path: Path, delimiter: str) -> None:
    found = rows(tmp_path, EXCEL.replace(";", delimiter), "f.csv")

    assert values(found) == READ
    assert [row.place for row in found] == ["f, line 2", "f, line 5"]


def test_a_line_that_names_the_delimiter_is_no_header(tmp_path: Path) -> None:
    found = rows(tmp_path, "sep=|\r\nphoneNumber|text\r\n1|x\r\n", "f.csv")

    assert values(found) == [{"phoneNumber": "1", "text": "x"}]
    assert found[0].place == "f, line 3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text\nx,y\n", "f, line 2: has a value in column 2, which has no name"),
        ("text,text\nx,y\n", "f, line 1: has two columns named text"),
        ('text\nx\n"y\n', "f, line 3: is not CSV: unexpected end of data. Is a quotation mark missing?"),
        ('text\n"x"y\n', "f, line 2: is not CSV: ',' expected after '\"'. Is a quotation mark missing?"),
    ],
)
def test_what_is_no_csv_is_reported_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert faults(rows(tmp_path, text, "f.csv")) == [message]


def test_rows_behind_a_faulty_one_are_read(tmp_path: Path) -> None:
    assert [row.value for row in rows(tmp_path, "text\nx,y\nz\n", "f.csv")] == [None, {"text": "z"}]


# XML


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_xml_is_a_request_or_holds_requests(tmp_path: Path, encoding: str) -> None:
    declared = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\n'
    one = "<request><phoneNumber>41793026727</phoneNumber><sms><text>Gr&lt;ü&gt;ezi</text></sms></request>"
    read = {"phoneNumber": PHONE, "sms": {"text": "Gr<ü>ezi"}}

    assert values(rows(tmp_path, f"{declared}{one}".encode(encoding))) == [read]
    several = rows(tmp_path, f"{declared}<requests>\n{one}\n<request/>{one}\n</requests>\n".encode(encoding))
    assert values(several) == [read, {}, read]
    assert [row.place for row in several] == ["f, line 3", "f, line 4", "f, line 4"]


def test_many_requests_in_xml_are_read_one_by_one(tmp_path: Path) -> None:
    document = "".join(f"<request><text>{'x' * (number * 37 % 9000)}{number}</text></request>" for number in range(99))

    found = values(rows(tmp_path, f"<all>{document}</all>"))

    assert [len(row["text"]) for row in found if isinstance(row, dict)] == [
        number * 37 % 9000 + len(str(number)) for number in range(99)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<request><sms>", "f, line 1: is not XML: no element found"),
        ("<all>\n<request></requests>", "f, line 2: is not XML: mismatched tag"),
        ("<!DOCTYPE x><x/>", "f: must be XML without document types and entities"),
        ("<all><order/></all>", "f, line 1: must be XML with the root element OmniAdvancedRequest or request"),
        (
            "<request>\n<sms><text><b/></text></sms></request>",
            "f, line 1: sms.text: must hold a text, not XML elements",
        ),
        (
            f"<all><request>{'<x/>' * (LONGEST // 2)}</request></all>",
            "f: is longer than 5 MiB, which no request may be",
        ),
    ],
)
def test_what_is_no_xml_is_reported_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert faults(rows(tmp_path, text)) == [message]


# Formats, template, progress


@pytest.mark.parametrize(
    ("text", "format_", "read"),
    [
        ("phoneNumber\n1\n", None, {"phoneNumber": "1"}),
        ("sms.text\nx\n", None, {"sms": {"text": "x"}}),
        ("text;requestId\nx;1\n", None, {"text": "x", "requestId": "1"}),
        ("text\nx\n", "csv", {"text": "x"}),
        ('{"text": "a,b"}', None, {"text": "a,b"}),
        ('"text","a"\n"x","y"\n', "csv", {"text": "x", "a": "y"}),
    ],
)
def test_the_format_is_found_by_the_content_unless_it_is_named(
    tmp_path: Path, text: str, format_: Format | None, read: object
) -> None:
    assert values(rows(tmp_path, text, format_=format_)) == [read]


def test_a_template_has_fields_of_every_row(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text('{"phoneNumber": "1"}\n5\n{"phoneNumber": "2", "sms": {"text": "y"}}\n{"a"}')
    template = {"sms": {"text": "x", "validityPeriod": 1}}

    found = list(Input((Source("f", file),), None, template).rows())

    assert [row.value for row in found if not row.fault] == [
        {"phoneNumber": "1", **template},
        {"phoneNumber": "2", "sms": {"text": "y", "validityPeriod": 1}},
    ]
    assert faults(found)[0] == "f, line 2: must be an object, to be merged with the template"


@pytest.fixture
def progress(tmp_path: Path) -> Iterator[Progress]:
    begun = Progress.open(tmp_path / "p", "digest")
    begun.rows = 10
    begun.record([])
    yield begun
    begun.finish()


def reopened(progress: Progress) -> Progress:
    progress.close()
    again = Progress.open(progress.path, progress.digest)
    progress.descriptor = again.descriptor
    return again


def test_confirmed_rows_are_known_after_an_interruption(progress: Progress) -> None:
    progress.record([0, 1, 4])
    again = reopened(progress)

    assert [number for number in range(6) if again.is_sent(number)] == [0, 1, 4]
    assert (again.run, again.rows, again.count) == (progress.run, 10, 3)
    again.record([2, 3])
    last = reopened(progress)
    assert (last.sent, last.besides) == (5, frozenset())


def test_two_runs_never_send_the_same_rows_at_once(progress: Progress) -> None:
    with pytest.raises(ProgressError, match="is in use: another omni-relay send"):
        Progress.open(progress.path, progress.digest)


@pytest.mark.parametrize("text", ["nonsense", "{}", "[]", '{"input": "digest", "rows": 1, "sent": "x"}'])
def test_a_file_that_is_no_record_is_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "p").write_text(text)

    with pytest.raises(ProgressError, match="is not the record of an interrupted omni-relay send: delete"):
        Progress.open(tmp_path / "p", "digest")
    assert (tmp_path / "p").read_text() == text


def test_rows_of_another_input_are_never_left_out(progress: Progress) -> None:
    progress.close()
    with pytest.raises(ProgressError, match="is of other requests or options: delete"):
        Progress.open(progress.path, "other")
    progress.descriptor = Progress.open(progress.path, "digest").descriptor


def test_a_place_that_cannot_be_written_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProgressError, match="name another place with --progress-file"):
        Progress.open(tmp_path / "absent" / "p", "digest")


def test_the_digest_depends_on_each_file_and_option(tmp_path: Path) -> None:
    contents = [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"c", b"ab")]
    digests = set()
    for number, parts in enumerate(contents):
        sources = []
        for place, part in enumerate(parts):
            file = tmp_path / f"{number}-{place}"
            file.write_bytes(part)
            sources.append(Source("f", file))
        digests |= {digest_of(sources), digest_of(sources, "csv")}
    assert len(digests) == 2 * len(contents)


def test_a_disk_without_room_for_the_progress_is_reported_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "progress"
    with room_for(8192), pytest.raises(ProgressError, match=r"cannot be written .* --progress-file"):
        Progress.open(file, "digest")
    assert not file.exists()


def test_a_progress_that_has_begun_needs_no_more_room_than_it_has(tmp_path: Path) -> None:
    progress = Progress.open(tmp_path / "progress", "digest")
    size = (tmp_path / "progress").stat().st_size
    progress.rows = 1_000_000
    with room_for(size):
        progress.record(range(499_001, 500_000))
        assert (tmp_path / "progress").stat().st_size == size
    progress.close()
    continued = Progress.open(tmp_path / "progress", "digest")
    assert (continued.rows, continued.sent, continued.count) == (1_000_000, 0, 999)
    with room_for(100), pytest.raises(ProgressError, match=r"The last 2 rows may be missing in it"):
        continued.record((0, 1))
    continued.close()


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process become larger, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_an_input_that_changes_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "f.csv"
    file.write_text("phoneNumber\n1\n")
    given = Input((Source("f.csv", file),))
    first = given.state()
    assert given.state() == first
    with file.open("a") as more:
        more.write("2\n")
    second = given.state()
    assert second != first
    file.unlink()
    assert given.state() not in (first, second)
    with pytest.raises(InputError, match=r"^f.csv cannot be read"):
        list(given.rows())


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("a" + ".a" * 20_000, "has a column with 20001 names, one in the other: no request is nested so deeply"),
        ("phoneNumber,phoneNumber", "has two columns named phoneNumber"),
    ],
)
def test_a_header_that_no_request_has_is_a_fault(tmp_path: Path, header: str, fault: str) -> None:
    assert faults(rows(tmp_path, f"{header}\nx\n", format_="csv")) == [f"f, line 1: {fault}"]


def test_a_position_that_no_list_has_is_a_name(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, f"destinations.{'9' * 5000}.messageId\nx\n", format_="csv")
    assert row.value == {"destinations": {"9" * 5000: {"messageId": "x"}}}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_a_table_may_be_in_any_unicode_encoding(tmp_path: Path, encoding: str) -> None:
    assert values(rows(tmp_path, "phoneNumber;text\r\n1;Grüezi\r\n".encode(encoding), format_="csv")) == [
        {"phoneNumber": "1", "text": "Grüezi"}
    ]


def test_a_file_of_a_byte_order_mark_alone_is_empty(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert faults(rows(tmp_path, "".encode(encoding), format_="csv")) == ["f: is empty"]


def test_a_byte_that_is_no_utf_8_is_named_by_the_row_before_it(tmp_path: Path) -> None:
    found = rows(tmp_path, b"phoneNumber,text\n" + b"1,x\n" * 50_000 + b"1,caf\xe9\n", format_="csv")
    (fault,) = faults(found)
    assert re.fullmatch(r"behind f, line 4\d{4}: is not in UTF-8. In Excel, save it as CSV UTF-8", fault)
