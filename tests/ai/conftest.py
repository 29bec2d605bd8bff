import pytest

from melagent.net import guarded_session
from tests.ai.providers import provider as opened

KINDS = ["openai", "openai_compatible", "anthropic"]


@pytest.fixture(params=KINDS)
async def provider(request):
    """A service of each kind, one after the other."""
    async with opened(request.param) as made:
        yield made


@pytest.fixture
async def loopback_http():
    """The guarded client, with loopback allowed."""
    async with guarded_session(["127.0.0.1"]) as session:
        yield session
