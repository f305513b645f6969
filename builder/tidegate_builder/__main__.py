"""Start: `python -m tidegate_builder`."""

import time

started = time.monotonic()  # before the other imports: the time limit counts from here

from tidegate_builder.pipeline import main  # noqa: E402

main(started)
