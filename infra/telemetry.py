"""Logs as events with facts, and the Prometheus numbers of a process."""

import logging
import sys
from collections.abc import Iterable, Mapping

import structlog
from prometheus_client import Counter, Histogram
from temporalio import activity

from domain.usage import ProviderCall

REQUESTS = Histogram(
    "moorage_http_request_seconds",
    "Time to answer a request",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
ADMITTED = Counter("moorage_admitted_total", "Requests admitted to become runs", ["kind"])
SHED = Counter("moorage_shed_total", "Questions that were sent away because too many waited")
LINE = ("purpose", "model", "outcome", "billable")
CALLS = Counter("moorage_provider_calls_total", "Lines of the ledger", LINE)
TOKENS = Counter("moorage_provider_tokens_total", "Tokens of the ledger's lines", (*LINE, "direction"))
OVERSHOT = Counter("moorage_overshot_tokens_total", "Tokens that turns took beyond their reservations")
MOST_MODELS = 20  # of a process; each makes up to 24 series
OTHER = "other"


class Names:
    """The first names that come, and `other` for the rest: the provider names its models, at each reply anew."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        if len(self._known) < self._most:
            self._known.add(name)
        return name if name in self._known else OTHER


_models = Names(MOST_MODELS)


def count_calls(calls: Iterable[ProviderCall]) -> None:
    """The ledger's lines, once they are written down; one that is replaced later has been counted as what it was."""
    for call in calls:
        values = (call.purpose.value, _models.label(call.model), call.delivery.value, str(call.billable).lower())
        line = dict(zip(LINE, values, strict=True))
        _count(CALLS, "moorage_provider_calls", 1, line)
        for direction, tokens in (("prompt", call.prompt_tokens), ("completion", call.completion_tokens)):
            _count(TOKENS, "moorage_provider_tokens", tokens, {**line, "direction": direction})


def count_overshot(tokens: int) -> None:
    _count(OVERSHOT, "moorage_overshot_tokens", tokens, {})


def _count(counter: Counter, name: str, number: int, labels: Mapping[str, str]) -> None:
    """On the process's own page, which in a worker is Temporal's; that one adds the `_total`."""
    if activity.in_activity():
        activity.metric_meter().create_counter(name).add(number, dict(labels))
    else:
        (counter.labels(**labels) if labels else counter).inc(number)


def configure_logging(level: str, process: str) -> None:
    """JSON lines on standard error, ready for any collector; `process` names who speaks."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _named(process),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def _named(process: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"process": process, **event}

    return add
