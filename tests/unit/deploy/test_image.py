"""The image's user and working directory, by its Dockerfile."""

import re
import tomllib
from pathlib import Path
from typing import Final

import yaml

from service import __version__

ROOT: Final = Path(__file__).parents[3]
WRITABLE: Final = ("/tmp", "/var/tmp", "/dev/shm", "/home")  # noqa: S108 - where an image lets its user write


def final_stage() -> list[tuple[str, str]]:
    """Return the instructions of the last stage, by name."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines[last:])]


def test_the_working_directory_is_not_writable_for_the_user_of_the_image() -> None:
    """A user who can write there could leave modules, or an env file that is named later."""
    (folder,) = (rest for name, rest in final_stage() if name == "WORKDIR")
    assert folder.startswith("/")
    assert not folder.startswith(WRITABLE)
    copies = [rest for name, rest in final_stage() if name in {"COPY", "ADD"}]
    assert copies
    assert not any("--chown" in copy or "--chmod" in copy for copy in copies)
    assert not any(word in rest for name, rest in final_stage() if name == "RUN" for word in ("chown", "chmod"))


def test_no_manifest_changes_the_working_directory_of_the_image() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    assert not any("working_dir" in service for service in services)
    for path in (ROOT / "deploy/kubernetes").rglob("*.yaml"):
        assert "workingDir" not in path.read_text()


def test_each_copy_of_the_version_is_that_of_the_package() -> None:
    """`pyproject.toml` has the version, and the code reads it from there. Neither Docker nor kustomize can."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    (label,) = re.findall(r"^ARG VERSION=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    manifests = [path.read_text() for path in (ROOT / "deploy/kubernetes").rglob("kustomization.yaml")]
    tags = [tag for text in manifests for tag in re.findall(r"(?:newTag|app.kubernetes.io/version): (.*)", text)]
    assert len(tags) > 1
    tags += re.findall(r"docker build --tag omni-relay:(\S+)", (ROOT / "deploy/README.md").read_text())
    assert {label, *tags} == {__version__}


def test_the_image_runs_the_compiled_modules_and_ships_no_compiler() -> None:
    """They are refused at the start if they were compiled from other sources than those beside them."""
    copies = [rest.split() for name, rest in final_stage() if name == "COPY"]
    assert ["--from=compiled", "/opt/omni-relay/compiled", "/opt/omni-relay/compiled"] in copies
    assert any("OMNI_RELAY_COMPILED=true" in rest.split() for name, rest in final_stage() if name == "ENV")
    assert not any(name == "RUN" for name, _ in final_stage())
