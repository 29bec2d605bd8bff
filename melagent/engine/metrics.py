"""What the engine counts and times. One registry for the process, scraped at `/metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

RUNS_STARTED = Counter("mel_runs_started", "Runs started by this process", registry=REGISTRY)
RUNS_ENDED = Counter("mel_runs_ended", "Runs that this process settled in a final state", ["status"], registry=REGISTRY)
STEPS_RECORDED = Counter("mel_steps_recorded", "Steps that this process recorded", registry=REGISTRY)
LEASES_LOST = Counter("mel_leases_lost", "Entries refused because the lease had passed on", registry=REGISTRY)
RUNS_RESCUED = Counter("mel_runs_rescued", "Runs taken back from workers that were lost", registry=REGISTRY)
WEEKS_DROPPED = Counter("mel_weeks_dropped", "Weeks of old runs that this process dropped", registry=REGISTRY)
WEEKS_KEPT = Gauge("mel_weeks_kept", "Weeks that are kept only because runs of them have not ended", registry=REGISTRY)

START_SECONDS = Histogram(
    "mel_start_seconds", "Duration of one write of starts", buckets=_LATENCY_BUCKETS, registry=REGISTRY
)
FIRE_SECONDS = Histogram(
    "mel_fire_seconds", "Duration of one write of firings", buckets=_LATENCY_BUCKETS, registry=REGISTRY
)
FIRING_LAG_SECONDS = Histogram(
    "mel_firing_lag_seconds", "How late a planned moment fired that was not missed",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0), registry=REGISTRY,
)  # fmt: skip
MOMENTS_MADE_UP = Counter("mel_moments_made_up", "Missed moments of schedules that fired later", registry=REGISTRY)
CLAIM_SECONDS = Histogram(
    "mel_claim_seconds", "Duration of one claim that found work", buckets=_LATENCY_BUCKETS, registry=REGISTRY
)
JOURNAL_SECONDS = Histogram(
    "mel_journal_seconds", "Duration of one write of the journal", buckets=_LATENCY_BUCKETS, registry=REGISTRY
)
JOURNAL_ENTRIES = Histogram(
    "mel_journal_batch_entries", "Entries in one write of the journal",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200), registry=REGISTRY,
)  # fmt: skip
LOOP_LAG_SECONDS = Gauge("mel_loop_lag_seconds", "How late the event loop last woke up", registry=REGISTRY)
