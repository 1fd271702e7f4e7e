"""The shipped packages are listed, and known vulnerabilities in them are found."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.deploy.test_supply import SHIPPED, plain_name

ROOT: Final = Path(__file__).parents[2]
NOBODY: Final = "http://127.0.0.1:9"


def supply_chain(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "UV_HTTP_RETRIES": "0", **environment}
    command = [str(ROOT / "deploy/supply-chain"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def advisories(**known: str) -> Iterator[str]:
    """Serve OSV's API with these vulnerabilities; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
            found = [known.get(query["package"]["name"]) for query in queries]
            self.reply({"results": [{"vulns": [{"id": one, "modified": self.moment}]} if one else {} for one in found]})

        def do_GET(self) -> None:
            self.reply({"id": self.path.rpartition("/")[2], "modified": self.moment, "summary": "It leaks."})

        moment = "2026-01-01T00:00:00Z"

        def reply(self, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_bill_of_materials_names_exactly_the_shipped_packages_with_version_and_hash() -> None:
    made = supply_chain("sbom")
    assert made.returncode == 0, made.stderr
    bill = json.loads(made.stdout)
    assert bill["bomFormat"] == "CycloneDX"
    listed = {part["name"] for part in bill["components"]}
    assert {name.replace("_", "-") for name in SHIPPED} <= listed
    assert not {"pytest", "mypy", "ruff", "uv"} & listed
    lock = (ROOT / "requirements.lock").read_text()
    for part in bill["components"]:
        assert f"\n{part['name']}=={part['version']} " in f"\n{lock}"
        hashes = [one["content"] for reference in part["externalReferences"] for one in reference["hashes"]]
        assert any(f"sha256:{one}" in lock for one in hashes), part["name"]


def test_a_known_vulnerability_is_reported_and_fails() -> None:
    with advisories(httpx="EXAMPLE-2026-1") as address:
        answer = supply_chain("audit", "--service-url", address)
    assert answer.returncode == 1
    assert "EXAMPLE-2026-1" in answer.stdout + answer.stderr


def test_no_known_vulnerability_passes() -> None:
    with advisories() as address:
        assert supply_chain("audit", "--service-url", address).returncode == 0


def test_an_advisory_service_that_does_not_answer_is_not_a_pass() -> None:
    answer = supply_chain("audit", "--service-url", NOBODY)
    assert answer.returncode == 2
    assert "error sending request" in answer.stderr


def test_a_package_index_that_does_not_answer_has_its_own_exit_status() -> None:
    with advisories() as address:
        answer = supply_chain("audit", "--service-url", address, UV_DEFAULT_INDEX=NOBODY, UV_NO_CACHE="1")
    assert answer.returncode == 69


@pytest.mark.parametrize("arguments", [[], ["bill"], ["sbom", "more"]])
def test_an_unknown_argument_prints_the_usage(arguments: list[str]) -> None:
    answer = supply_chain(*arguments)
    assert answer.returncode == 64
    assert "deploy/supply-chain sbom" in answer.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a fresh checkout, as far as running goes. What was downloaded before need not be again."""
    made = tmp_path / "checkout"
    for name in ("deploy", "service"):
        shutil.copytree(ROOT / name, made / name)
    for name in ("README.md", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, made)
    (made / ".tools").mkdir()
    (made / ".tools/uv").symlink_to(ROOT / ".tools/uv")
    return made


@pytest.mark.long
@pytest.mark.timeout(180)  # it fills a virtual environment
def test_the_demo_installs_only_the_packages_for_running(checkout: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("npm", "node", "apt-get", "apt-cache", "dpkg", "sudo", "curl", "wget", "git"):
        (programs / name).write_text(f'#!/bin/sh\necho "$0 $*" >>{tmp_path}/called\nexit 1\n')
        (programs / name).chmod(0o755)
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RELAY_", "OMNI_RELAY_", "VIRTUAL_ENV"))
        },
        "PATH": f"{programs}:{os.environ['PATH']}",
        "UV_CACHE_DIR": str(ROOT / ".tools/cache"),
    }
    demo = [str(checkout / "deploy/demo"), "--help"]
    first, second = (subprocess.run(demo, env=environment, capture_output=True, text=True, check=False) for _ in "12")
    for ran in (first, second):
        assert ran.returncode == 0, ran.stderr
        assert "Run the whole system" in ran.stdout
    assert second.stderr == ""  # all is there
    assert not (tmp_path / "called").exists(), (tmp_path / "called").read_text()
    (packages,) = (checkout / ".venv/lib").glob("python*/site-packages")
    found = {plain_name(path.name.partition("-")[0]) for path in packages.glob("*.dist-info")}
    needed = {"async-timeout"}  # by redis before Python 3.11.3
    assert found - needed == {plain_name(name) for name in SHIPPED} | {"omni-relay", "redis", "hiredis"}
    assert {path.name for path in (checkout / ".tools").iterdir()} <= {"uv", "lock", "bootstrap.log"}
