import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sandbox.fault.fault import Fault, Kind
from service.sandbox.fault.number import RequestedFault, requested_fault


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        ("4179390000", Fault(Kind.HANG)),
        ("4179390001", Fault(Kind.REFUSE, status_id=1)),
        ("4179390100", Fault(Kind.REFUSE, status_id=100)),
        ("4179390104", Fault(Kind.RESET)),
        ("4179390200", Fault(Kind.GARBAGE)),
        ("4179390400", Fault(Kind.STATUS, status=400)),
        ("4179390408", Fault(Kind.STATUS, status=408)),
        ("4179390429", Fault(Kind.STATUS, status=429, retry_after="1")),
        ("4179390503", Fault(Kind.STATUS, status=503, retry_after="1")),
        ("90599", Fault(Kind.STATUS, status=599)),
    ],
)
def test_the_last_five_digits_request_a_fault(number: str, fault: Fault) -> None:
    assert requested_fault(number) == RequestedFault(fault, always=False)
    assert requested_fault(number[:-4] + "1" + number[-3:]) == RequestedFault(fault, always=True)


@pytest.mark.parametrize(
    "number", [None, "", "503", "41793026727", "4179390101", "4179390199", "4179391600", "4179392503"]
)
def test_other_numbers_are_ordinary(number: str | None) -> None:
    assert requested_fault(number) is None


@given(number=st.text(alphabet="0123456789", max_size=15))
def test_only_90_and_91_request_faults(number: str) -> None:
    if requested_fault(number):
        assert number[-5:-3] in {"90", "91"}
