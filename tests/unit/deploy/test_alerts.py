"""Alerts are tested for firing and not firing, have a runbook, and use metrics that exist."""

import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.adapters.metrics import Metrics, ReportMetrics
from tests.faults.fault import FAULTS, Fault

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/omni-relay.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})
TESTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "tests/alerts.yml").read_text())["tests"]
OTHERS = {"process_start_time_seconds", "omni_relay_process_restarts_total"}
FOREIGN = {"up", "rabbitmq_alarms_free_disk_space_watermark", "rabbitmq_alarms_memory_used_watermark"}
"""Series of Prometheus and of RabbitMQ."""
ADDED = {"job", "instance", "namespace", "pod"}
"""Labels that a scrape adds."""
DELAY_QUEUE = "omni.requests.delay.1"


def written_series() -> list[tuple[str, dict[str, str]]]:
    """List name and labels of every series that a worker or a receiver writes before it has handled anything."""
    found: list[tuple[str, dict[str, str]]] = []
    for metrics in (Metrics([DELAY_QUEUE]), ReportMetrics()):
        metrics.build.info({"version": "1"})
        families = metrics.registry.collect()
        found += [(sample.name, sample.labels) for family in families for sample in family.samples]
    return found


SERIES = written_series()


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_is_tested_where_it_fires_and_where_it_does_not(name: str) -> None:
    expected = [
        bool(one["exp_alerts"]) for test in TESTS for one in test["alert_rule_test"] if one["alertname"] == name
    ]
    assert set(expected) == {True, False}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}, {rule['labels']['severity']}")
def test_an_alert_has_a_severity_and_a_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"https://runbooks.example/{rule['alert']}.md"
    page = DEPLOY / "runbooks" / f"{rule['alert']}.md"
    assert re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE) == [rule["alert"], "See", "Do", "Undo"]


def test_compose_starts_prometheus_with_the_address_of_the_runbooks(tmp_path: Path) -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prometheus"]
    shell, script = service["entrypoint"], service["command"][0]
    script = script.replace("/tmp", str(tmp_path))  # noqa: S108 - the container's
    script = script.replace("/etc/prometheus", str(DEPLOY / "prometheus"))
    started, started_with, _ = script.partition("exec prometheus")
    environment = {"RUNBOOKS_URL": "https://wiki.example/omni-relay", "PATH": os.environ["PATH"]}
    subprocess.run([*shell, started.replace("$$", "$")], check=True, env=environment, timeout=30)

    assert started_with
    (file,) = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["rule_files"]
    rules = [rule for group in yaml.safe_load(Path(file).read_text())["groups"] for rule in group["rules"]]
    urls = {rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
    assert urls == {f"https://wiki.example/omni-relay/{name}.md" for name in NAMES}


def test_every_runbook_has_its_alert() -> None:
    assert sorted(page.stem for page in (DEPLOY / "runbooks").glob("OmniRelay*.md")) == NAMES


@cache
def known_metrics() -> set[str]:
    registries = Metrics(["room"]).registry, ReportMetrics().registry
    return {sample.name for one in registries for family in one.collect() for sample in family.samples} | OTHERS


@pytest.mark.parametrize(
    "text",
    [*(rule["expr"] for rule in RULES), *(page.read_text() for page in sorted((DEPLOY / "runbooks").glob("*.md")))],
)
def test_every_metric_that_is_named_exists(text: str) -> None:
    named = set(re.findall(r"\b(?:omni_relay|process)_[a-z_]+[a-z]\b(?!:)", text))
    bases = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known_metrics()}
    assert {name for name in named if name not in known_metrics() | bases | {"process_cpu_seconds_total"}} == set()


def labels_of(text: str) -> dict[str, str]:
    """Read labels as they stand in braces."""
    return dict(re.findall(r'(\w+)="([^"]*)"', text))


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test["name"])
def test_the_test_of_an_alert_has_only_series_that_a_worker_writes(test: dict[str, Any]) -> None:
    for one in test["input_series"]:
        name, _, braces = one["series"].partition("{")
        labels = {label: value for label, value in labels_of(braces).items() if label not in ADDED}
        assert name in FOREIGN or (name, labels) in SERIES, one["series"]


SELECTORS = sorted({found for rule in RULES for found in re.findall(r"\b\w+\{[^}]+\}", rule["expr"])})


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_label_and_value_that_a_rule_selects_is_written_by_a_worker(selector: str) -> None:
    name, _, braces = selector.partition("{")
    for label, operator, text in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', braces):
        if name not in FOREIGN and label not in ADDED:
            written = {labels[label] for series, labels in SERIES if series == name}
            values = text.split("|") if operator == "=~" else [text]
            assert set(values) <= written, selector


@pytest.mark.parametrize("page", sorted((DEPLOY / "runbooks").glob("*.md")), ids=lambda page: page.stem)
def test_every_link_of_a_runbook_has_a_target(page: Path) -> None:
    text = page.read_text()
    headings = {re.sub(r"\W+", "-", line[3:].lower()) for line in text.splitlines() if line.startswith("## ")}
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert link[1:] in headings if link.startswith("#") else (page.parent / link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_page_of_faults_describes_and_shows_each_fault(fault: Fault) -> None:
    text = (DEPLOY / "runbooks/faults.md").read_text()
    (row,) = (line for line in text.splitlines() if line.startswith("| [") and f"#{fault.name})" in line)
    alerts = set(re.findall(r"\((\w+)\.md\) [\d.]+", row))
    assert alerts >= set(fault.alerts)
    assert bool(alerts) or "none: " in row
    assert re.findall(r"\*([^*]+)\*", row) == list(fault.panels)
    assert f"](pictures/{fault.name}.png)" in text
