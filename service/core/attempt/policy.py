"""What the settings have to say about messages."""

from service.core.attempt.retry import RetryPolicy
from service.core.request.request import OnUnknown
from service.core.value import dataclass


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
