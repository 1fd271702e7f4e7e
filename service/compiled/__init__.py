"""Modules that mypyc has compiled, in place of their sources: if `OMNI_RELAY_COMPILED` is `true`, and only then.

`build` writes them into a folder of the virtual environment, beside a record: a digest of their sources and of all that
those may import, and each compiled file. The import of the package fails if one of these has changed since, or is for
another version of Python. So compiled code is never older than its source, and never runs beside other versions, or the
sources of some: compiled modules contain constants of all others, and know the layout of each other's objects.

The variable is no setting: it is read before anything else is imported.
"""

import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

VARIABLE: Final = "OMNI_RELAY_COMPILED"
FOLDER: Final = Path(sys.prefix, "compiled")
RECORD: Final = "record"
LAYERS: Final = ("adapters", "compiled", "core", "worker")
"""Folders of the package. Compiled modules lie in them, and import nothing from elsewhere in it."""
SUFFIX: Final = EXTENSION_SUFFIXES[0]
"""Of an extension for this version of Python on this machine's kind of processor."""


class CompiledFinder(MetaPathFinder):
    """Finds compiled modules by their full names."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the import system's signature
        target: ModuleType | None = None,  # noqa: ARG002 - the same
    ) -> ModuleSpec | None:
        """Return how to load a compiled module; None for all others."""
        file = self._files.get(fullname)
        if file is None:
            return None
        return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, str(file)))


def digest_of(package: Path) -> str:
    """Return a digest of the sources in these layers of a package, with their names."""
    walked = (step for layer in LAYERS for step in os.walk(package / layer))
    found = [(folder, name) for folder, _, names in walked for name in names if name.endswith(".py")]
    digest = sha256()
    for folder, name in sorted(found):
        with open(f"{folder}/{name}", "rb") as file:  # noqa: PTH123 - 150 files, at each start
            content = file.read()
        digest.update(f"{folder[len(str(package)) :]}/{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def files_in(folder: Path) -> str:
    """List the compiled files in a folder with their sizes, one a line."""
    files = sorted(folder.rglob(f"*{SUFFIX}"))
    return "".join(f"{file.relative_to(folder)} {file.stat().st_size}\n" for file in files)


def record(digest: str, folder: Path) -> str:
    """Return the record of what is compiled in a folder, from sources with that digest."""
    return f"{digest}\n{files_in(folder)}"


def modules_in(folder: Path) -> dict[str, Path]:
    """Return the compiled modules in a folder, by their full names."""
    return {".".join(path.relative_to(folder).parts).removesuffix(SUFFIX): path for path in folder.rglob(f"*{SUFFIX}")}


def find_compiled(wanted: str, folder: Path, package: Path) -> CompiledFinder | None:
    """Return what finds compiled modules, if they are wanted. Raises `ImportError` if there are none, or older ones."""
    if wanted.lower() in ("", "0", "false"):
        return None
    if wanted.lower() not in ("1", "true"):
        raise ImportError(f"{VARIABLE}: it is neither true nor false")
    again = "Run: deploy/bootstrap --compiled"
    try:
        digest, _, files = (folder / RECORD).read_text().partition("\n")
    except OSError:
        raise ImportError(f"{VARIABLE}: nothing is compiled in {folder}. {again}") from None
    if digest != digest_of(package):
        raise ImportError(f"{VARIABLE}: {folder} was compiled from other sources than {package} has. {again}")
    if files != files_in(folder):
        raise ImportError(f"{VARIABLE}: {folder} is incomplete, or was compiled for another Python. {again}")
    return CompiledFinder(modules_in(folder))


def use_compiled() -> bool:
    """Use compiled modules if the environment asks for them; return whether it does."""
    finder = find_compiled(os.environ.get(VARIABLE, ""), FOLDER, Path(__file__).parents[1])
    if finder is not None:
        sys.meta_path.insert(0, finder)
    return finder is not None
