"""What `NO_PROXY` lists: the forms that curl and Go know."""

import pytest

from service.adapters.settings.proxies import is_bypassed


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_listed"),
    [
        ("infobip.com", "infobip.com", True),
        ("infobip.com", "api.infobip.com", True),
        (".infobip.com", "api.infobip.com", True),
        ("*.infobip.com", "api.infobip.com", True),
        ("API.Infobip.com.", "api.infobip.com", True),
        ("infobip.com", "API.INFOBIP.COM.", True),
        ("bip.com", "api.infobip.com", False),
        ("api.infobip.com", "infobip.com", False),
        ("infobip.com:443", "api.infobip.com", True),
        ("infobip.com:8443", "api.infobip.com", False),
        ("*", "api.infobip.com", True),
        ("*", "10.1.2.3", True),
        ("localhost, *", "api.infobip.com", True),
        ("localhost infobip.com", "api.infobip.com", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.0/8", "10.1.2.3", True),
        ("10.0.0.0/8:443", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "api.infobip.com", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.1.2.3:80", "10.1.2.3", False),
        ("2.3", "10.1.2.3", False),
        ("fd00::/8", "fd00::1", True),
        ("fd00::/8", "10.1.2.3", False),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]:443", "fd00::1", True),
        ("[fd00::1]:80", "fd00::1", False),
        ("fd00:0::0001", "fd00::1", True),
        ("", "api.infobip.com", False),
        (" , .,*.", "api.infobip.com", False),
        ("10.0.0.0/99, /, :443, [", "api.infobip.com", False),
    ],
)
def test_a_host_is_reached_without_the_proxy_if_no_proxy_lists_it(no_proxy: str, host: str, *, is_listed: bool) -> None:
    assert is_bypassed(no_proxy, host, 443) is is_listed
