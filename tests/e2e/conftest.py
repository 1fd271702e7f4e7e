from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage, staged
from tests.support.broker import VirtualHost


@pytest.fixture
async def stage(vhost: VirtualHost, tmp_path: Path) -> AsyncIterator[Stage]:
    """Make a stage in a virtual host of its own."""
    async with staged(vhost.url, tmp_path) as stage:
        yield stage
