"""RabbitMQ; the only room that knows aio-pika.

`session` is one life of the connection, `topology` what is declared on it, `link` what makes it come back. `lane` lets
past the library what comes with every message, as `frame` writes and reads it. `reply` publishes copies for `reply_to`.
"""

from service.edges.rabbitmq.lane import UnroutableError
from service.edges.rabbitmq.life import Life, elapsed
from service.edges.rabbitmq.link import Link, LinkEvents, connect
from service.edges.rabbitmq.reply import ReplyPublisher
from service.edges.rabbitmq.session import BrokerErrors, OnDelivery, Permission, Receipt, Session
from service.edges.rabbitmq.topology import TopologyError, declare

__all__ = [
    "BrokerErrors",
    "Life",
    "Link",
    "LinkEvents",
    "OnDelivery",
    "Permission",
    "Receipt",
    "ReplyPublisher",
    "Session",
    "TopologyError",
    "UnroutableError",
    "connect",
    "declare",
    "elapsed",
]
