"""OMNI Relay: send requests from RabbitMQ to OMNI, status events back."""

from importlib.metadata import version
from typing import Final

from service.compiled import use_compiled

__version__ = version("omni-relay")

COMPILED: Final = use_compiled()
"""Whether modules run that mypyc has compiled. Nothing else of the package is imported before this is decided."""
