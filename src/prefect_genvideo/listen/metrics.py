"""Prometheus metrics of the event door. Labels are names from the configuration, never from a request."""

from __future__ import annotations

import time
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from prefect_genvideo.listen.queue import DeliveryQueue, State


class Metrics:
    """Counters and gauges of one listener.

    Attributes:
        deliveries: Answers by sender and outcome.
        records: What deliveries held, by sender and what became of it.
        events: What became of events at the Prefect API.
        api_up: 1 while the API takes events.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.deliveries = Counter(
            "genvideo_listen_deliveries", "Deliveries answered.", ["source", "outcome"], registry=self._registry
        )
        self.records = Counter(
            "genvideo_listen_records", "Records of deliveries.", ["source", "outcome"], registry=self._registry
        )
        self.events = Counter(
            "genvideo_listen_events", "Events at the Prefect API.", ["outcome"], registry=self._registry
        )
        self.api_up = Gauge("genvideo_listen_api_up", "Whether the Prefect API takes events.", registry=self._registry)
        self._queued = Gauge("genvideo_listen_queue_events", "Events by state.", ["state"], registry=self._registry)
        self._bytes = Gauge("genvideo_listen_queue_bytes", "Bytes of unconfirmed events.", registry=self._registry)
        self._oldest = Gauge(
            "genvideo_listen_queue_oldest_seconds", "Age of the oldest unconfirmed event.", registry=self._registry
        )

    def text(self, queue: DeliveryQueue) -> bytes:
        """All of it in Prometheus' text format.

        Args:
            queue: Read for the gauges.
        """
        depth = queue.depth()
        for state in get_args(State):
            self._queued.labels(state).set(depth.counts.get(state, 0))
        self._bytes.set(depth.size)
        self._oldest.set(max(0.0, time.time() - depth.oldest) if depth.oldest is not None else 0)
        return generate_latest(self._registry)
