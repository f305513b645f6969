"""One local stack for all tests of a worker."""

from collections.abc import Iterator

import pytest

from tests.e2e.local_stack import LocalStack, local_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """A running local stack with the usual settings."""
    with local_stack(BUILD_TIMEOUT_SECONDS=120) as running:
        yield running
