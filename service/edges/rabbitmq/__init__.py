"""RabbitMQ; the only room that knows aio-pika.

`session` is one life of the connection, `topology` what is declared on it, `link` what makes it come back. `lane` lets
past the library what comes with every message, as `frame` writes and reads it. `reply` publishes copies for `reply_to`.
`rights` lists what a user must be allowed, `probe` finds out what is not.
"""

from service.edges.rabbitmq.lane import UnroutableError
from service.edges.rabbitmq.life import Life, elapsed
from service.edges.rabbitmq.link import Link, LinkEvents, connect
from service.edges.rabbitmq.probe import missing_rights
from service.edges.rabbitmq.reply import ReplyPublisher
from service.edges.rabbitmq.rights import Right, RightMissingError, rights_needed
from service.edges.rabbitmq.session import AccessRefusedError, BrokerErrors, OnDelivery, Permission, Receipt, Session
from service.edges.rabbitmq.topology import TopologyError, declare

__all__ = [
    "AccessRefusedError",
    "BrokerErrors",
    "Life",
    "Link",
    "LinkEvents",
    "OnDelivery",
    "Permission",
    "Receipt",
    "ReplyPublisher",
    "Right",
    "RightMissingError",
    "Session",
    "TopologyError",
    "UnroutableError",
    "connect",
    "declare",
    "elapsed",
    "missing_rights",
    "rights_needed",
]
