"""Shipped packages are locked by hashes, without registry addresses, under permissive licences."""

import json
import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[3]
PERMISSIVE: Final = re.compile(r"MIT|BSD|ISC|Apache|PSF|Python Software Foundation|Unlicense|0BSD", re.IGNORECASE)
WEAK_COPYLEFT: Final = {"certifi"}
"""MPL-2.0: a list of certificates, used as it is."""


def needed(name: str, found: set[str]) -> Iterator[str]:
    """Name what a distribution needs on this machine, itself first, each once."""
    if name in found:
        return
    found.add(name)
    yield name
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield from needed(requirement.name.lower(), found)


def plain_name(name: str) -> str:
    """Write a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(name: str) -> str:
    """Return a distribution's licence, by its metadata."""
    metadata = distribution(name).metadata
    licences = [one for field in ("License-Expression", "License") for one in metadata.get_all(field) or ()]
    classifiers = [one for one in metadata.get_all("Classifier") or () if one.startswith("License ::")]
    return " ".join([*(one[:100] for one in licences), *classifiers])


SHIPPED: Final = sorted(set(needed("omni-relay", set())) - {"omni-relay"})


def test_there_are_packages_to_check() -> None:
    assert {"aio-pika", "httpx", "pydantic-core"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_licence_is_allowed(name: str) -> None:
    if name in WEAK_COPYLEFT:
        assert "Mozilla" in licence(name) or "MPL" in licence(name)
    else:
        assert PERMISSIVE.search(licence(name)), licence(name)
        assert "GPL" not in licence(name)


@pytest.mark.parametrize("lock", ["requirements.lock", "tests/bench/requirements.txt"])
def test_a_lock_has_a_hash_for_everything_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=\S)", text)
    assert len(entries) > 20
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_package_is_locked(name: str) -> None:
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert plain_name(name) in {plain_name(one) for one in locked}


@pytest.mark.parametrize("folder", sorted(path.parent for path in ROOT.glob("tests/*/package.json")))
def test_npm_packages_are_locked_by_hashes_without_registry_addresses(folder: Path) -> None:
    lock = json.loads((folder / "package-lock.json").read_text())["packages"]
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    assert lock.pop("")["dependencies"] == wanted
    assert {f"node_modules/{name}" for name in wanted} <= set(lock)
    for name, package in lock.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def test_npm_installs_nothing_but_what_is_locked() -> None:
    """`npm install` would look for newer versions of what others need."""
    for path in (ROOT / "deploy/bootstrap", ROOT / "tests/faults/pictures.py"):
        commands = re.findall(r"npm\W+(ci|install)\b", path.read_text())
        assert commands == ["ci"]
