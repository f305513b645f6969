"""Tidegate: from a git URL to a live web site, on ECS Fargate and Lambda."""

import gc

# What imports and clients make lives on: with Python's 2,000 the collector looks through all of it dozens of times.
gc.set_threshold(50_000)
