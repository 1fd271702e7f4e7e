"""RabbitMQ; the only room that knows aio-pika.

`session` is one life of the connection, `topology` what is declared on it, `link` what makes it come back. `lane` lets
past the library what comes with every message, as `frame` writes and reads it. `reply` publishes copies for `reply_to`.
`rights` lists what a user must be allowed, `probe` finds out what is not.
"""

from service.adapters.rabbitmq.connection import ConnectionEvents, ReconnectingConnection, connect, connect_cause
from service.adapters.rabbitmq.fast_path import UnroutableError
from service.adapters.rabbitmq.lifetime import ConnectionLifetime, elapsed
from service.adapters.rabbitmq.permission_probe import missing_rights
from service.adapters.rabbitmq.permissions import Right, RightMissingError, rights_needed
from service.adapters.rabbitmq.reply_publisher import ReplyPublisher
from service.adapters.rabbitmq.session import (
    AccessRefusedError,
    Acknowledger,
    BrokerErrors,
    OnDelivery,
    Permission,
    Session,
)
from service.adapters.rabbitmq.topology import TopologyError, declare

__all__ = [
    "AccessRefusedError",
    "Acknowledger",
    "BrokerErrors",
    "ConnectionEvents",
    "ConnectionLifetime",
    "OnDelivery",
    "Permission",
    "ReconnectingConnection",
    "ReplyPublisher",
    "Right",
    "RightMissingError",
    "Session",
    "TopologyError",
    "UnroutableError",
    "connect",
    "connect_cause",
    "declare",
    "elapsed",
    "missing_rights",
    "rights_needed",
]
