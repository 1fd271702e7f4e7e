"""The body of `POST /omni/1/advanced`."""

from service.words.omni.content import Content
from service.words.omni.destination import Destination


class AdvancedPayload(Content):
    """One OMNI advanced request. Every destination carries a `messageId`: answers are read by it."""

    destinations: tuple[Destination, ...]

    def to_json(self) -> bytes:
        """Render for the wire."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()
