"""Logs and metrics by AWS Lambda Powertools: keys instead of prose, one line for each outcome."""

from aws_lambda_powertools import Logger

logger = Logger(service="tidegate")


def count(name: str, **dimensions: str) -> None:
    """Add one to a CloudWatch metric; Powertools' metrics are loaded only when there is something to count."""
    from aws_lambda_powertools.metrics import MetricUnit, single_metric

    with single_metric(
        name=name, unit=MetricUnit.Count, value=1, namespace="Tidegate", default_dimensions={"service": "tidegate"}
    ) as metric:
        for key, value in dimensions.items():
            metric.add_dimension(name=key, value=value)
