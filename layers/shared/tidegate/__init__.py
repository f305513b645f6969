"""Tidegate: from a git URL to a live web site, on ECS Fargate and Lambda."""
