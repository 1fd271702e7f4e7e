"""What the settings have to say about messages."""

from service.rules.retry import RetryPolicy
from service.words.request import OnUnknown
from service.words.value import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Read once, the same for every request."""

    retry: RetryPolicy
    on_unknown: OnUnknown = "resend"
    """For a request that does not say."""
    looks: int = 3
    """Looks into OMNI's logs that must have missed a message in doubt before it counts as not taken: logs may lag."""
    scenario_key: str | None = None
    """For a request that names none."""
    call_size: int = 500
    """Destinations in one call; a larger request takes several."""
