"""Access tokens for RabbitMQ, as the settings name their server and our credentials there."""

from typing import Final

from service.adapters.omni import TokenServer
from service.adapters.rabbitmq import AccessTokens, TokenEvents
from service.adapters.settings import Settings

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
