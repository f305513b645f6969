"""Logs and metrics by AWS Lambda Powertools: keys instead of prose, one line for each outcome.

docs/operations.md lists the metrics. A dimension takes few values, as CloudWatch keeps and bills each as a metric.
"""

from collections.abc import Mapping

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit  # Powertools loads it with the logger anyway

__all__ = ["MetricUnit", "count", "emit", "logger", "measure"]

logger = Logger(service="tidegate")


def count(name: str, **dimensions: str) -> None:
    """Add one to a CloudWatch metric."""
    emit({name: 1}, MetricUnit.Count, dimensions)


def measure(values: Mapping[str, float], unit: MetricUnit = MetricUnit.Count) -> None:
    """Write one value of each of some CloudWatch metrics, in one line."""
    emit(values, unit, {})


def emit(values: Mapping[str, float], unit: MetricUnit, dimensions: Mapping[str, str]) -> None:
    """Write metrics to the function's log in CloudWatch's embedded metric format.

    Powertools adds the dimension `service` from POWERTOOLS_SERVICE_NAME, the stack's name.
    """
    metrics = EphemeralMetrics(namespace="Tidegate")
    for name, value in dimensions.items():
        metrics.add_dimension(name, value)
    for name, number in values.items():
        metrics.add_metric(name, unit, number)
    metrics.flush_metrics()
