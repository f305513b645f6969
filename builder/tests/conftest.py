"""What all tests of the builder share: a bucket, repositories, and a way to run the builder as a process."""

import sys
from pathlib import Path

import pytest

BUILDER = Path(__file__).parents[1]
for _path in (BUILDER, Path(__file__).parent):
    if str(_path) not in sys.path:
        sys.path.insert(0, str(_path))

from stage import Bucket, Stage  # noqa: E402


@pytest.fixture
def stage(tmp_path):
    """A place to run builds: repositories, job, bucket."""
    bucket = Bucket()
    yield Stage(tmp_path, bucket)
    bucket.close()
