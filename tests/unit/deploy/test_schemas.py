"""Custom resources and dashboards are what their readers say in their types: KEDA, Prometheus operator, Grafana.

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
"""What a specification for RabbitMQ's topology operator must and may have, beside the cluster's reference.

Source: the types in its api/v1beta1. It publishes no schema that a registry of packages has.
"""


@cache
def kinds() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(SCHEMAS.read_text())["definitions"]["Kinds"]["properties"]
    return known


def faults(kind: str, document: object) -> list[str]:
    """Tell what is wrong with a document of a kind, and where."""
    found = Draft7Validator(kinds()[kind]).iter_errors(document)
    return [f"{fault.json_path}: {fault.message[:200]}" for fault in found]


def topology_faults(document: dict[str, Any]) -> list[str]:
    required, optional = TOPOLOGY[document["kind"]]
    given = document["spec"].keys()
    wanted = required | {"rabbitmqClusterReference"}
    return [*sorted(wanted - given), *sorted(given - wanted - optional)]


@schemas
@kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_custom_resource_is_valid(overlay: str) -> None:
    for document in rendered(overlay):
        group = document["apiVersion"].partition("/")[0]
        if group == "rabbitmq.com":
            assert topology_faults(document) == []
        elif group in OPERATORS:
            assert faults(document["kind"], document) == []


@schemas
@kubectl
def test_one_that_is_broken_is_not() -> None:
    custom = {one["kind"]: one for one in rendered("production") if one["apiVersion"].partition("/")[0] in OPERATORS}
    assert {"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule", "Queue"} <= custom.keys()
    for kind in kinds().keys() & custom.keys():
        unknown = copy.deepcopy(custom[kind])
        unknown["spec"]["minReplicasCount"] = 2
        assert "minReplicasCount" in "".join(faults(kind, unknown))
    mistyped = copy.deepcopy(custom["ScaledObject"])
    mistyped["spec"]["maxReplicaCount"] = "many"
    assert faults("ScaledObject", mistyped) == ["$.spec.maxReplicaCount: 'many' is not of type 'number'"]
    misspelt = copy.deepcopy(custom["Queue"])
    misspelt["spec"]["Durable"] = misspelt["spec"].pop("durable")
    assert topology_faults(misspelt) == ["Durable"]


@schemas
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_one_of_grafana_s(path: Path) -> None:
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
