"""Access tokens for RabbitMQ, as the settings name their server and our credentials there."""

import asyncio
import contextlib
from typing import Final

from service.adapters.omni import TokenServer
from service.adapters.rabbitmq import AccessTokens, TokenEvents
from service.adapters.settings import Settings, SettingsError, SettingsSource
from service.core.attempt.oauth import Token, TokenFailure

_QUIET: Final = TokenEvents()


def token_server(settings: Settings) -> TokenServer | None:
    """Return where tokens for the broker come from; None if its URL has the password."""
    secret = settings.rabbitmq_oauth_client_secret
    if settings.rabbitmq_oauth_token_url is None or settings.rabbitmq_oauth_client_id is None or secret is None:
        return None
    return TokenServer(
        settings.rabbitmq_oauth_token_url,
        settings.rabbitmq_oauth_client_id,
        secret.get_secret_value(),
        settings.rabbitmq_oauth_scope,
        settings.rabbitmq_oauth_proxy_url,
        settings.ca_file,
    )


def broker_tokens(settings: Settings, events: TokenEvents = _QUIET) -> AccessTokens | None:
    """Return the passwords of connections to the broker; None if its URL has them."""
    server = token_server(settings)
    return None if server is None else AccessTokens(server, events)


def rereading_tokens(settings: Settings, source: SettingsSource, events: TokenEvents) -> AccessTokens | None:
    """Return the same for a process that does not look at its files: they are read again for each token."""
    return None if token_server(settings) is None else AccessTokens(_Rereading(settings, source), events)


class _Rereading:
    def __init__(self, settings: Settings, source: SettingsSource) -> None:
        self._settings = settings
        self._source = source

    async def fetch(self) -> Token | TokenFailure:
        """Fetch a token with the client that the files have now; with the last one if they cannot be used."""
        with contextlib.suppress(SettingsError):
            self._settings = self._settings.rotated(await asyncio.to_thread(self._source.load))
        server = token_server(self._settings)
        return TokenFailure("no_token") if server is None else await server.fetch()
