import pytest

from service.core.result.event import StatusEvent
from service.core.result.origin import UNKNOWN, Origin, origin_name, read_origin, write_origins
from tests.support.builder import NOW

EVENT = StatusEvent("message.accepted", NOW, "order-1", 1, "m-1", metadata={"tenant": "acme"})


def test_the_request_of_a_message_is_written_under_the_id_of_the_message() -> None:
    ((name, value), *others) = write_origins([EVENT, StatusEvent("request.rejected", NOW, "order-2", 0)])
    assert not others
    assert name == origin_name("m-1")
    assert "m-1" not in name
    assert read_origin(value.encode()) == Origin("order-1", {"tenant": "acme"})


@pytest.mark.parametrize("value", [None, b"", b"{", b"7", b"[]", b'["x"]', b"[1,{}]", b'["x",[]]', b"\xff"])
def test_what_another_program_has_written_is_not_known(value: bytes | None) -> None:
    assert read_origin(value) == UNKNOWN
