import pytest

from service.core.delivery import ALWAYS_OURS, DeliveryLostError, Ownership


class Lost(Ownership):
    """The ownership of a delivery that another worker may have."""

    async def confirm(self) -> bool:
        return False


async def test_a_delivery_without_a_session_cannot_be_lost() -> None:
    assert ALWAYS_OURS.is_certain()
    assert await ALWAYS_OURS.confirm()
    await ALWAYS_OURS.require()


async def test_a_lost_delivery_is_an_error_where_it_is_required() -> None:
    with pytest.raises(DeliveryLostError):
        await Lost().require()
