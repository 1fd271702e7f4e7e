import pytest

from service.core.result.reply_to import DIRECT_REPLY, ReplyPolicy, kept_reply_to

TOKEN = f"{DIRECT_REPLY}.g1h3AA5yZXBseUA4NDAyODM4OQAADpEAAAAAZx-JIQ==.q4DDS6lpYWdTAwWWm2nVnA=="


@pytest.mark.parametrize(
    ("patterns", "queue"),
    [
        (("*",), "replies"),
        (("*",), TOKEN),
        (("*",), "with\nline break"),
        (("replies.*",), "replies.orders"),
        (("other", "replies.*"), "replies."),
        (("*.replies",), "orders.replies"),
        (("a*c*e",), "abcde"),
        (("replies",), "replies"),
        ((f"{DIRECT_REPLY}.*",), TOKEN),
    ],
)
def test_a_queue_that_a_pattern_names_gets_a_copy(patterns: tuple[str, ...], queue: str) -> None:
    assert ReplyPolicy(patterns).refusal(queue) is None


@pytest.mark.parametrize(
    ("patterns", "queue"),
    [
        ((), "replies"),
        (("replies.*",), "replies"),
        (("replies.*",), "my.replies.orders"),
        (("replies",), "replies2"),
        (("replie?",), "replies"),
        (("[a-z]*",), "replies"),
    ],
)
def test_a_queue_that_no_pattern_names_gets_none(patterns: tuple[str, ...], queue: str) -> None:
    assert ReplyPolicy(patterns).refusal(queue) == "not_allowed"


@pytest.mark.parametrize(
    "queue",
    ["omni.requests", "omni.requests.delay.8", "omni.requests.urgent", "omni.dead", "omni.dead.notifications"],
)
def test_a_queue_of_the_relay_never_gets_one(queue: str) -> None:
    """An event there would come back as a request, or lie among the dead letters."""
    assert ReplyPolicy(("*",)).refusal(queue) == "not_allowed"


def test_the_name_with_which_clients_ask_for_direct_replies_is_no_address() -> None:
    assert ReplyPolicy(("*",)).refusal(DIRECT_REPLY) == "invalid"
    assert kept_reply_to(DIRECT_REPLY) is None


def test_a_name_longer_than_amqp_carries_is_no_address() -> None:
    assert ReplyPolicy(("*",)).refusal("\ufffd" * 86) == "invalid"
    assert ReplyPolicy(("*",)).refusal("\ufffd" * 85) is None


@pytest.mark.parametrize("reply_to", [None, "replies", TOKEN])
def test_every_other_address_is_kept_for_retries(reply_to: str | None) -> None:
    assert kept_reply_to(reply_to) == reply_to
