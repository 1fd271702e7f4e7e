"""OMNI Relay: send requests from RabbitMQ to OMNI, status events back."""

from importlib.metadata import version

__version__ = version("omni-relay")
