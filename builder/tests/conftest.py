"""The stage that tests of whole builds run on."""

import pytest

from builder.tests.stage import Bucket, Stage


@pytest.fixture
def stage(tmp_path):
    bucket = Bucket()
    yield Stage(tmp_path, bucket)
    bucket.close()
