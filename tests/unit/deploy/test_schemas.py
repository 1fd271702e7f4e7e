"""Custom resources and dashboards match the schemas of KEDA, the Prometheus operator and Grafana.

Needs the schemas that `deploy/bootstrap --rabbitmq` makes where npm is installed; unknown fields are faults.
"""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft7Validator

from tests.unit.deploy.test_kubernetes import OPERATORS, OVERLAYS, ROOT, kubectl, rendered

SCHEMAS: Final = ROOT / ".tools/schemas/kinds.json"
DASHBOARDS: Final = sorted((ROOT / "deploy/kubernetes/components/grafana/dashboards").iterdir())
schemas = pytest.mark.skipif(not SCHEMAS.exists(), reason="npm was not there when this was installed")

TOPOLOGY: Final = {
    "Binding": ({"source", "destination", "destinationType"}, {"vhost", "routingKey", "arguments"}),
    "Exchange": ({"name"}, {"type", "vhost", "durable", "autoDelete", "arguments"}),
    "Permission": ({"vhost", "permissions"}, {"user", "userReference"}),
    "Policy": ({"name", "pattern", "definition"}, {"vhost", "applyTo", "priority"}),
    "Queue": ({"name"}, {"type", "vhost", "durable", "autoDelete", "arguments", "deleteIfEmpty", "deleteIfUnused"}),
    "User": (set[str](), {"tags", "importCredentialsSecret", "limits"}),
}
"""Required and optional fields of specifications for RabbitMQ's topology operator, beside the cluster's reference.

Source: the types in its api/v1beta1. It publishes no schema that a registry of packages has.
"""


@cache
def kinds() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(SCHEMAS.read_text())["definitions"]["Kinds"]["properties"]
    return known


def faults(kind: str, document: object) -> list[str]:
    """List the faults of a document of a kind, with their places."""
    found = Draft7Validator(kinds()[kind]).iter_errors(document)
    return [f"{fault.json_path}: {fault.message[:200]}" for fault in found]


def topology_faults(document: dict[str, Any]) -> list[str]:
    required, optional = TOPOLOGY[document["kind"]]
    given = document["spec"].keys()
    wanted = required | {"rabbitmqClusterReference"}
    return [*sorted(wanted - given), *sorted(given - wanted - optional)]


def custom(overlay: str) -> list[dict[str, Any]]:
    return [one for one in rendered(overlay) if one["apiVersion"].partition("/")[0] in OPERATORS]


@schemas
@kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_custom_resource_is_valid(overlay: str) -> None:
    for document in custom(overlay):
        assert document["kind"] in TOPOLOGY or faults(document["kind"], document) == []


@schemas
@kubectl
@pytest.mark.parametrize("kind", ["ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule"])
def test_a_broken_manifest_is_not_valid(kind: str) -> None:
    broken = copy.deepcopy(next(one for one in custom("production") if one["kind"] == kind))
    broken["spec"]["minReplicasCount"] = 2
    assert "minReplicasCount" in "".join(faults(kind, broken))


@kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_part_of_the_topology_is_valid(overlay: str) -> None:
    for document in custom(overlay):
        assert document["kind"] not in TOPOLOGY or topology_faults(document) == []


@kubectl
def test_a_misspelt_part_is_not_valid() -> None:
    queue = copy.deepcopy(next(one for one in custom("production") if one["kind"] == "Queue"))
    queue["spec"]["Durable"] = queue["spec"].pop("durable")
    del queue["spec"]["name"]
    assert topology_faults(queue) == ["name", "Durable"]


@schemas
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_matches_grafanas_schema(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert faults("Dashboard", dashboard) == []
    for panel in dashboard["panels"]:
        drawn: dict[str, Any] = {"options": panel.get("options")}
        if panel["type"] == "timeseries":
            drawn["custom"] = panel["fieldConfig"]["defaults"]["custom"]
        assert panel["type"] == "row" or faults(panel["type"], drawn) == [], panel["title"]

    dashboard["panels"][1]["grid"] = {}
    assert faults("Dashboard", dashboard) != []
    assert faults("timeseries", {"options": {"legend": {"displayMode": "lists"}}, "custom": {}}) != []
