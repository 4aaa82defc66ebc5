"""Counters for Prometheus, by HTTP on a port of their own that only this machine reaches: they are not for clients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.settings import StartError
from schema.context import Services
from schema.execution.tally import answered

ADDRESS = "127.0.0.1"


class Counts(Collector):
    """What is counted where it happens, read when somebody asks; from another thread, so in copies."""

    def __init__(self, services: Callable[[], Services | None]) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        executions = CounterMetricFamily(
            "parley_executions",
            "Operations, and results of subscriptions, by 'plan' or by why the reference executor answered.",
            labels=["by"],
        )
        for reason, count in answered.copy().items():
            executions.add_metric([reason], count)
        yield executions
        services = self._services()
        if services is None:
            return
        hub, broker = services.hub.counts, services.broker.counts
        for name, count, meaning in (
            ("events_applied", hub.applied, "Events delivered to the subscribers here."),
            ("event_backfills", hub.backfills, "Readings of the log for events that the broker did not bring."),
            ("broker_published", broker.published, "Messages taken by the broker."),
            ("broker_failed", broker.failed, "Messages that the broker did not confirm in time."),
            ("broker_dropped", broker.dropped, "Messages not sent: the broker is away, or too many wait."),
            ("broker_reconnects", broker.reconnects, "Times that the broker was there after it was not."),
        ):
            yield CounterMetricFamily(f"parley_{name}", meaning, value=count)
        yield GaugeMetricFamily(
            "parley_connections", "Live WebSockets and event streams.", value=services.sessions.count
        )


@contextmanager
def metrics(port: int | None, services: Callable[[], Services | None]) -> Iterator[None]:
    """Serve them while the block runs; without a port, nothing. Raises StartError."""
    if port is None:
        yield
        return
    registry = CollectorRegistry()
    registry.register(Counts(services))
    try:
        server, thread = start_http_server(port, addr=ADDRESS, registry=registry)
    except (OSError, OverflowError) as error:  # the latter, of a worker's number, beyond 65535
        advice = "Set METRICS_PORT to a free one, or leave it away."
        reason = error.strerror if isinstance(error, OSError) else "there is no such port"
        raise StartError(f"Cannot serve metrics on port {port}: {reason}. {advice}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
