"""RabbitMQ: the only package that imports aio-pika.

* `connection` opens a `session` again whenever it is lost, and `publisher` publishes over all of them;
* `topology` is declared in each session, `queues` are read and managed one by one, `acknowledger` settles a delivery;
* `fast_path` handles the frames of every message without the library: `codec` and `field_tables` read and write them,
  `fast_transport` connects with it; `messages` converts the library's messages where it is not used;
* `lifetime` is how long a session lasts, and how to wait for the broker;
* `access_tokens` are fetched, and renewed on open connections;
* `reply_publisher` publishes copies of events for `reply_to`;
* `event_publisher` publishes for a process that consumes and declares nothing;
* `permissions` lists the rights that a user needs, and finds those that are missing.
"""

from service.adapters.rabbitmq.access_tokens import AccessTokens, TokenError, TokenEvents, TokenSource
from service.adapters.rabbitmq.acknowledger import Acknowledger
from service.adapters.rabbitmq.connection import ReconnectingConnection, connect, connect_cause
from service.adapters.rabbitmq.event_publisher import EventPublisher, NotConfirmedError, PublisherEvents
from service.adapters.rabbitmq.fast_path import UnroutableError
from service.adapters.rabbitmq.lifetime import ConnectionLifetime, elapsed
from service.adapters.rabbitmq.permissions import (
    Right,
    RightMissingError,
    has_exchange,
    missing_rights,
    rights_needed,
    rights_of_receiver,
)
from service.adapters.rabbitmq.publisher import ConnectionEvents
from service.adapters.rabbitmq.reply_publisher import ReplyPublisher
from service.adapters.rabbitmq.session import AccessRefusedError, BrokerErrors, OnDelivery, Session
from service.adapters.rabbitmq.topology import TopologyError, declare

__all__ = [
    "AccessRefusedError",
    "AccessTokens",
    "Acknowledger",
    "BrokerErrors",
    "ConnectionEvents",
    "ConnectionLifetime",
    "EventPublisher",
    "NotConfirmedError",
    "OnDelivery",
    "PublisherEvents",
    "ReconnectingConnection",
    "ReplyPublisher",
    "Right",
    "RightMissingError",
    "Session",
    "TokenError",
    "TokenEvents",
    "TokenSource",
    "TopologyError",
    "UnroutableError",
    "connect",
    "connect_cause",
    "declare",
    "elapsed",
    "has_exchange",
    "missing_rights",
    "rights_needed",
    "rights_of_receiver",
]
