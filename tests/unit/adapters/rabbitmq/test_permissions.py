import re
from pathlib import Path
from typing import Final

import pytest
import yaml

from service.adapters.rabbitmq import Right, RightMissingError, rights_needed
from service.adapters.rabbitmq.permissions import is_about
from service.core.attempt.retry import RetryPolicy

USER: Final = Path(__file__).parents[4] / "deploy/kubernetes/components/rabbitmq-topology/user.yaml"
DELAYS: Final = RetryPolicy(8, 1.0, 300.0).delays


def shipped() -> dict[str, str]:
    (right,) = (one for one in yaml.safe_load_all(USER.read_text()) if one["kind"] == "Permission")
    permissions: dict[str, str] = right["spec"]["permissions"]
    return permissions


def test_the_shipped_rights_cover_all_that_are_needed() -> None:
    for right in rights_needed(DELAYS, declares=False, replies=False):
        permission = "write" if right.permission == "write" else "read"
        assert re.search(shipped()[permission], right.resource), right


@pytest.mark.parametrize(
    ("permission", "name"),
    [
        *(
            ("write", name)
            for name in ("amq.default", "omni.requests", "omni.requests.delay.1", "billing", "omni.results.x")
        ),
        *(("read", name) for name in ("omni.results", "omni.relay", "billing", "omni.requestsx", "amq.gen-1")),
        *(("configure", name) for name in ("", "omni.requests", "omni.dead.lock")),
    ],
)
def test_the_shipped_rights_cover_no_other_name(permission: str, name: str) -> None:
    """Such as other producers' events, the default exchange with every queue, and the delay queues."""
    assert not re.search(shipped()[permission], name) or name == ""


def test_each_right_names_the_resource_that_a_pattern_has_to_match() -> None:
    assert str(Right("write", "exchange", "")) == "write amq.default (exchange)"
    assert str(RightMissingError(Right("read", "queue", "omni.dead"))) == (
        "this user may not read omni.dead (queue); RabbitMQ's read permission has to match it"
    )


@pytest.mark.parametrize(
    "text",
    [
        "ACCESS_REFUSED - access to queue 'omni.dead' in vhost '/' refused for user 'u'",
        "ACCESS_REFUSED - read access to queue 'omni.dead' in vhost '/' refused for user 'u'",
    ],
)
def test_a_refusal_is_about_what_it_names(text: str) -> None:
    assert is_about(OSError(text), Right("read", "queue", "omni.dead"))
    assert not is_about(OSError(text), Right("read", "exchange", "omni.dead"))
    assert not is_about(OSError(text), Right("read", "queue", "omni.dead.notifications"))


def test_replies_need_the_default_exchange_and_declaring_needs_more() -> None:
    least = set(rights_needed(DELAYS, declares=False, replies=False))
    assert set(rights_needed(DELAYS, declares=False, replies=True)) - least == {Right("write", "exchange", "")}
    more = set(rights_needed(DELAYS, declares=True, replies=False))
    assert {right for right in least if not right.to_check} < more
    assert {right.permission for right in more} == {"configure", "write", "read"}
