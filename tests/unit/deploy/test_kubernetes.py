"""The overlays' manifests are valid for every supported Kubernetes, restricted, and agree with the worker.

Needs kubectl (1.27 or later) for its kustomize; nothing here talks to a cluster.
"""

import copy
import ipaddress
import itertools
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from service.adapters.rabbitmq.topology import declared
from service.adapters.settings import Settings
from service.core.attempt.retry import RetryPolicy
from service.receiver.endpoint import PREFIX
from tests.support.receiver import RIGHTS

ROOT: Final = Path(__file__).parents[3]
KUBERNETES: Final = ROOT / "deploy/kubernetes"
OVERLAYS: Final = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
VERSIONS: Final = ("1.30", "1.33", "1.37")
OPERATORS: Final = {"keda.sh", "monitoring.coreos.com", "rabbitmq.com"}
IMAGES: Final = {
    "development": r"[a-z-]+:[0-9.]+(-management)?",
    "production": r"registry\.example/omni-relay@sha256:[0-9a-f]{64}",
}
kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> list[Manifest]:
    command = ["kubectl", "kustomize", str(KUBERNETES / "overlays" / overlay)]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    return list(yaml.load_all(made.stdout, yaml.CSafeLoader))


def of_kind(overlay: str, kind: str, name: str = "omni-relay") -> Manifest:
    (found,) = (one for one in rendered(overlay) if one["kind"] == kind and one["metadata"]["name"] == name)
    return found


def config_of(overlay: str) -> Manifest:
    (container,) = of_kind(overlay, "Deployment")["spec"]["template"]["spec"]["containers"]
    return of_kind(overlay, "ConfigMap", container["envFrom"][0]["configMapRef"]["name"])


def is_native(manifest: Manifest) -> bool:
    return manifest["apiVersion"].partition("/")[0] not in OPERATORS


def faults(pod: Manifest) -> list[str]:
    """List violations of the restricted pod security standard. Source: its page in the Kubernetes documentation."""
    found = []
    spec = pod["spec"]
    found += [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    whole = spec.get("securityContext", {})
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        both = {**whole, **own}
        rules = {
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser", 0) > 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities", {}).get("drop") == ["ALL"],
            "privileged": not own.get("privileged"),
            "hostPort": not any("hostPort" in port for port in container.get("ports", ())),
        }
        found += [name for name, holds in rules.items() if not holds]
    allowed = {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}
    found += [volume["name"] for volume in spec.get("volumes", ()) if not allowed & set(volume)]
    return found


@kubectl
def test_one_line_of_the_overlay_sets_where_the_runbooks_are(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes/overlays/production"
    file = overlay / "kustomization.yaml"
    file.write_text(file.read_text().replace("address=runbooks.example ", "address=wiki.example/omni-relay "))
    command = ["kubectl", "kustomize", str(overlay)]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    (rules,) = (one for one in yaml.load_all(made.stdout, yaml.CSafeLoader) if one["kind"] == "PrometheusRule")

    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(alerts) > 20
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"https://wiki.example/omni-relay/{alert['alert']}.md"


@kubectl
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid(overlay: str, version: str) -> None:
    for manifest in filter(is_native, rendered(overlay)):
        kubernetes_validate.validate(manifest, version, strict=True)


@kubectl
def test_a_broken_manifest_is_not_valid() -> None:
    broken = copy.deepcopy(of_kind("production", "Deployment"))
    broken["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


@kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_meets_the_restricted_standard_and_has_a_known_image(overlay: str) -> None:
    deployments = [one for one in rendered(overlay) if one["kind"] == "Deployment"]
    assert deployments
    for deployment in deployments:
        pod = deployment["spec"]["template"]
        assert faults(pod) == []
        assert pod["spec"]["automountServiceAccountToken"] is pod["spec"]["enableServiceLinks"] is False
        for container in pod["spec"]["containers"]:
            assert re.fullmatch(IMAGES[overlay], container["image"])
            assert {"requests", "limits"} <= set(container["resources"])
            assert "cpu" not in container["resources"]["limits"]
    assert faults({"spec": {"containers": [{"securityContext": {"privileged": True}}]}})


@kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_match_their_own_pods_only(overlay: str) -> None:
    labels = of_kind(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"]
    others = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in rendered(overlay)
        if one["kind"] == "Deployment" and one["metadata"]["name"] != "omni-relay"
    ]
    budget, policy = of_kind(overlay, "PodDisruptionBudget"), of_kind(overlay, "NetworkPolicy")
    for selector in (budget["spec"]["selector"], policy["spec"]["podSelector"]):
        wanted = selector["matchLabels"].items()
        assert wanted <= labels.items()
        assert not any(wanted <= other.items() for other in others)


@kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_network_policies_allow_only_the_connections_that_are_needed(overlay: str) -> None:
    policy = of_kind(overlay, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["podSelector"]["matchLabels"]
    incoming = [peer for rule in policy["ingress"] for peer in rule["from"]]
    assert incoming
    assert all(peer["podSelector"]["matchLabels"] and peer["namespaceSelector"]["matchLabels"] for peer in incoming)
    for rule in policy["egress"]:
        assert rule["ports"]
        assert rule["to"]
        for peer in rule["to"]:
            block = peer.get("ipBlock")
            if block is None:
                assert peer.get("podSelector", {}).get("matchLabels") or peer["namespaceSelector"]["matchLabels"]
            elif not block["cidr"].endswith("/32"):
                networks = [ipaddress.ip_network(one) for one in block["except"]]
                near = [ipaddress.ip_address(one) for one in ("10.96.0.1", "169.254.169.254", "172.20.0.10", "fd00::1")]
                version = ipaddress.ip_network(block["cidr"]).version
                assert all(any(one in net for net in networks) for one in near if one.version == version)


@kubectl
def test_only_the_workers_own_passwords_are_mounted() -> None:
    pod = of_kind("production", "Deployment")["spec"]["template"]["spec"]
    mounted = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    others = {
        one["name"]
        for manifest in rendered("production")
        if manifest["kind"] == "TriggerAuthentication"
        for one in manifest["spec"]["secretTargetRef"]
    }
    assert mounted
    assert others
    assert not mounted & others
    head = (KUBERNETES / "overlays/production/kustomization.yaml").read_text()
    assert all(f"secret generic {name} " in head for name in mounted | others)


@kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_workers_settings_exist_and_it_has_time_to_stop(overlay: str) -> None:
    pod = of_kind(overlay, "Deployment")["spec"]["template"]["spec"]
    config = config_of(overlay)
    assert config["metadata"]["name"] != "omni-relay"  # its content is in its name
    given = config["data"]
    settings = Settings.model_validate({key.removeprefix("RELAY_").lower(): value for key, value in given.items()})
    assert {key.removeprefix("RELAY_").lower() for key in given} <= set(Settings.model_fields)
    assert pod["terminationGracePeriodSeconds"] > settings.shutdown_grace + 10
    strategy = of_kind(overlay, "Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert strategy["maxSurge"] == 0


@kubectl
def test_the_rates_are_divided_among_the_most_workers() -> None:
    scaled = of_kind("production", "ScaledObject")["spec"]
    config = config_of("production")
    assert int(config["data"]["RELAY_REPLICAS"]) == scaled["maxReplicaCount"]
    assert "replicas" not in of_kind("production", "Deployment")["spec"]

    config = config_of("development")
    assert int(config["data"]["RELAY_REPLICAS"]) == of_kind("development", "Deployment")["spec"]["replicas"]


@cache
def with_component(name: str, folder: Path) -> list[Manifest]:
    """Render production with a component that is commented out there."""
    production = os.path.relpath(KUBERNETES / "overlays/production", folder)
    component = os.path.relpath(KUBERNETES / "components" / name, folder)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [production], "components": [component]}))
    command = ["kubectl", "kustomize", str(folder)]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    return list(yaml.load_all(made.stdout, yaml.CSafeLoader))


def valid_component(name: str, folder: Path) -> list[Manifest]:
    manifests = with_component(name, folder)
    for version in VERSIONS:
        for manifest in filter(is_native, manifests):
            if manifest not in rendered("production"):  # those are validated above
                kubernetes_validate.validate(manifest, version, strict=True)
    return manifests


@kubectl
def test_the_component_for_the_shared_memory_lets_workers_reach_a_server_that_never_evicts(tmp_path: Path) -> None:
    manifests = valid_component("shared-memory", tmp_path)
    found = {one["kind"]: one for one in manifests if one["metadata"]["name"] == "omni-relay-memory"}
    assert set(found) == {"Deployment", "NetworkPolicy", "Service"}
    deployment = found["Deployment"]["spec"]
    assert faults(deployment["template"]) == []
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    (container,) = deployment["template"]["spec"]["containers"]
    options = dict(itertools.pairwise(container["args"][1:]))
    assert (options["--save"], options["--appendonly"], options["--maxmemory-policy"]) == ("", "no", "noeviction")
    labels = deployment["template"]["metadata"]["labels"].items()
    assert found["Service"]["spec"]["selector"].items() <= labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    (policy,) = [one for one in manifests if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "omni-relay"]
    (peer,) = policy["spec"]["egress"][-1]["to"]
    assert peer["podSelector"]["matchLabels"].items() <= labels
    assert policy["spec"]["egress"][-1]["ports"] == [{"port": 6379}]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    manifests = valid_component("reports", tmp_path_factory.mktemp("overlay"))
    return {one["kind"]: one for one in manifests if one["metadata"]["name"] == "omni-relay-reports"}


@kubectl
def test_the_component_for_reports_has_all_that_the_receiver_needs(reports: dict[str, Manifest]) -> None:
    assert set(reports) == {
        *("Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "Service"),
        *("User", "Permission"),
    }
    pod = reports["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert faults(pod) == []
    assert container["args"] == ["reports"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > Settings().shutdown_grace + 15
    labels = pod["metadata"]["labels"].items()
    for kind, path in (("Service", "selector"), ("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
        selector = reports[kind]["spec"][path]
        assert selector.get("matchLabels", selector).items() <= labels
        assert not selector.get("matchLabels", selector).items() <= {"app.kubernetes.io/name": "omni-relay"}.items()
    (rule,) = reports["Ingress"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["path"] + "/" == PREFIX
    assert path["backend"]["service"]["name"] == reports["Service"]["metadata"]["name"]
    annotations = reports["Ingress"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/enable-access-log"] == "false"  # it would hold the token


@kubectl
def test_the_receiver_has_no_credentials_of_omnis_and_least_rights(reports: dict[str, Manifest]) -> None:
    pod = reports["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume} == {"omni-relay-reports"}
    assert "envFrom" not in container
    assert [one["name"] for one in container["env"]] == ["RELAY_SECRETS_DIR"]
    assert reports["Permission"]["spec"]["permissions"] == RIGHTS
    ports = {port["port"] for rule in reports["NetworkPolicy"]["spec"]["egress"] for port in rule["ports"]}
    assert ports == {53, 5671, 5672}


def test_the_shipped_rules_are_the_tested_ones() -> None:
    rule = yaml.safe_load((KUBERNETES / "components/prometheus-operator/prometheus-rule.yaml").read_text())
    rules = yaml.safe_load((ROOT / "deploy/prometheus/omni-relay.rules.yml").read_text())
    assert rule["spec"] == rules


def test_the_topology_is_the_one_that_the_worker_would_declare() -> None:
    objects = list(yaml.safe_load_all((KUBERNETES / "components/rabbitmq-topology/topology.yaml").read_text()))
    specs = [(one["kind"], one["spec"]) for one in objects]
    queues = {
        spec["name"]: {"x-queue-type": spec["type"], **spec.get("arguments", {})}
        for kind, spec in specs
        if kind == "Queue"
    }
    exchanges = {spec["name"]: spec["type"] for kind, spec in specs if kind == "Exchange"}
    bindings = {(spec["source"], spec["routingKey"], spec["destination"]) for kind, spec in specs if kind == "Binding"}
    assert all(spec["durable"] for kind, spec in specs if kind != "Binding")
    assert (exchanges, queues, bindings) == declared(RetryPolicy(8, 1.0, 300.0).delays)


@kubectl
def test_production_has_the_dashboards() -> None:
    folder = KUBERNETES / "components/grafana/dashboards"
    given = of_kind("production", "ConfigMap", "omni-relay-dashboards")
    assert given["data"] == {path.name: path.read_text() for path in folder.iterdir()}
    assert given["metadata"]["labels"]["grafana_dashboard"] == "1"


@kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_documents_name_all_that_an_overlay_prints(overlay: str) -> None:
    lines = (ROOT / "deploy/README.md").read_text().splitlines()
    (row,) = (line for line in lines if line.startswith(f"| `{overlay}` |"))
    other_words = {
        "Binding": "bindings",
        "Exchange": "exchanges",
        "PodDisruptionBudget": "disruption budget",
        "PrometheusRule": "rules",
        "Queue": "queues",
        "ScaledObject": "KEDA",
        "TriggerAuthentication": "KEDA",
        "Permission": "rights",
    }
    if overlay == "production":
        row += "deployment, config map, service account, disruption budget, network policy"  # "the worker", told above
    for kind in {manifest["kind"] for manifest in rendered(overlay)}:
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).lower()
        assert other_words.get(kind, spaced) in row, kind
