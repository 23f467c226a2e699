"""The counters of a process: who names a label decides neither how many series there are nor how a page reads."""

import subprocess
import sys
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from infra.telemetry import MOST_MODELS, OTHER, Names

COUNTING = """
from datetime import UTC, datetime
from prometheus_client import generate_latest
from domain.usage import Delivery, ProviderCall, Purpose
from infra.telemetry import count_calls

for number in range(100):
    name = f'model-{number} "{{\\n}} \\\\'
    call = ProviderCall(str(number), None, Purpose.CHAT, name, 3, 2, Delivery.DELIVERED, True, datetime.now(UTC))
    count_calls([call, call])
print(generate_latest().decode())
"""


def test_the_first_names_are_known_and_all_later_ones_are_other() -> None:
    names = Names(2)

    labels = [names.label(name) for name in ("a", "b", "a", "c", "b", "d", "c")]

    assert labels == ["a", "b", "a", OTHER, "b", OTHER, OTHER]


def test_a_provider_that_names_its_models_anew_each_time_makes_no_more_series() -> None:
    """In a process of its own: a name stays known for good."""
    page = subprocess.run([sys.executable, "-c", COUNTING], capture_output=True, text=True, check=True).stdout

    calls: Counter[str] = Counter()
    for family in text_string_to_metric_families(page):
        if family.name == "moorage_provider_calls":
            calls.update({s.labels["model"]: int(s.value) for s in family.samples if s.name.endswith("_total")})

    assert len(calls) == MOST_MODELS + 1
    assert calls['model-0 "{\n} \\'] == 2
    assert calls[OTHER] == 2 * (100 - MOST_MODELS)
