"""The AMQP library's messages from and to the relay's values, where the fast path is not used."""

from datetime import datetime
from typing import cast

import aio_pika
from aiormq.abc import DeliveredMessage, FieldValue

from service.adapters.rabbitmq.codec import read_expiration
from service.adapters.rabbitmq.field_tables import encoded_headers
from service.core.delivery import Delivery, Publication
from service.core.request.decoding import read_content_encoding


def read_delivery(message: DeliveredMessage) -> Delivery:
    """Convert a delivery. Never raises: any producer may set any property."""
    properties = message.header.properties
    timestamp = properties.timestamp
    return Delivery(
        body=message.body,
        content_type=properties.content_type or None,
        content_encoding=read_content_encoding(properties.content_encoding),
        message_id=properties.message_id or None,
        correlation_id=properties.correlation_id or None,
        reply_to=properties.reply_to or None,
        expiration=read_expiration(properties.expiration),
        timestamp=timestamp if isinstance(timestamp, datetime) else None,
        priority=properties.priority,
        headers=properties.headers or {},
        exchange=message.exchange or "",
        routing_key=message.routing_key or "",
        redelivered=bool(message.redelivered),
        app_id=properties.app_id or None,
    )


def write_message(publication: Publication, frame_max: int) -> aio_pika.Message:
    """Convert a publication, persistent. Headers that do not fit into a frame of `frame_max` bytes are left out."""
    headers = publication.headers
    return aio_pika.Message(
        publication.body,
        content_type=publication.content_type,
        content_encoding=publication.content_encoding,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=publication.message_id,
        type=publication.type,
        correlation_id=publication.correlation_id,
        reply_to=publication.reply_to,
        timestamp=publication.timestamp,
        priority=publication.priority,
        app_id=publication.app_id,
        headers={name: cast("FieldValue", headers[name]) for name in encoded_headers(headers, frame_max)},
    )
