"""RabbitMQ; the only room that knows aio-pika.

`session` is one life of the connection, `topology` what is declared on it, `link` what makes it come back.
"""

from service.edges.rabbitmq.link import Link, LinkEvents, connect
from service.edges.rabbitmq.session import BrokerErrors, Receipt, Session, UnroutableError
from service.edges.rabbitmq.topology import TopologyError, declare

__all__ = [
    "BrokerErrors",
    "Link",
    "LinkEvents",
    "Receipt",
    "Session",
    "TopologyError",
    "UnroutableError",
    "connect",
    "declare",
]
