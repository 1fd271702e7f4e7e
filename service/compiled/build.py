"""Compile the modules on the path of a message with mypyc, into the virtual environment that runs this.

    .venv/bin/python -m service.compiled.build

`deploy/bootstrap --compiled` and the Dockerfile call it. It needs the packages of the group `compile` and a C compiler,
and does nothing if the present sources are compiled already.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from service.compiled import FOLDER, RECORD, digest_of, record
from service.compiled.constructors import with_constructors

PACKAGE: Final = Path(__file__).parents[1]

MODULES: Final = tuple(
    f"{PACKAGE.name}.{folder}.{name}"
    for folder, names in {
        "adapters.omni": "client connection oauth transport",
        "adapters.rabbitmq": "acknowledger codec fast_path fast_transport field_tables lifetime",
        "core.attempt": "address answer breaker call concurrency disposition outcome retry",
        "core": "delivery handler headers history identity lanes",
        "core.omni": "phone",
        "core.request": "decoding faults identification parsing request",
        "core.result": "decision event publication report",
        "worker": "admission deduplicator dispatcher ownership telemetry",
        "worker.sending": "batching circuit_breaker limiter",
    }.items()
    for name in names.split()
)
"""Modules on the path of a message. Those that stay interpreted:

* models of pydantic, which needs their annotations and the signatures of their methods;
* `adapters.logging`, `core.omni.channel.sms_parts`, `core.request.repeated_names`: mypyc cannot compile nested classes,
  lone surrogates in texts, and attributes of a dictionary.
"""

OPTIMIZATION: Final = "2"


def main() -> None:
    """Compile, unless the present sources are compiled already."""
    digest = digest_of(PACKAGE)
    if (FOLDER / RECORD).exists() and (FOLDER / RECORD).read_text() == record(digest, FOLDER):
        return
    with tempfile.TemporaryDirectory() as directory:
        built = compile_in(Path(directory))
        # The record comes last: a folder that is written in part is not used.
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(built, FOLDER)
        (FOLDER / RECORD).write_text(record(digest, FOLDER))


def compile_in(directory: Path) -> Path:
    """Compile a copy of the package there; return the folder of the extensions."""
    from mypyc.build import mypycify  # noqa: PLC0415 - what runs the relay has neither
    from setuptools import Distribution  # noqa: PLC0415

    shutil.copytree(PACKAGE, directory / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PACKAGE.parent / "pyproject.toml", directory)
    os.chdir(directory)  # the paths that tracebacks show start here
    paths = [f"{module.replace('.', '/')}.py" for module in MODULES]
    for path in map(Path, paths):
        path.write_text(with_constructors(path.read_text()))
    extensions = mypycify(
        ["--no-incremental", "--no-warn-unused-ignores", *paths],
        opt_level=OPTIMIZATION,
        debug_level="0",
        multi_file=True,  # a file of C each, so that all processors compile; one file is neither smaller nor faster
        group_name=PACKAGE.name,
        target_dir="c",
    )
    command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp, command.parallel = "built", "objects", os.cpu_count()
    command.ensure_finalized()
    command.run()
    return directory / "built"


if __name__ == "__main__":
    main()
