"""Make what `sam build` left ready to start fast: trim its packages, compile all Python, check both.

    python3.13 -m scripts.finish_build .aws-sam/build

Runs with the Lambda runtime's Python, as .pyc files fit one minor version only, and needs nothing but its library.
"""

import compileall
import importlib.util
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.trimming import SERVICES, trim


def main() -> None:
    """Trim, compile and check the build."""
    built = Path(sys.argv[1])
    layer = built / "SharedLayer"
    trim(layer / "python")
    # The times of files change on the way to Lambda, so nothing is checked against them.
    compile_folder(layer, "/opt")
    for function in sorted(built.glob("*Function")):
        compile_folder(function, "/var/task")
    if faults := list(check(built)):
        sys.exit("finish_build: the build is not fit to be deployed\n" + "\n".join(faults))


def compile_folder(folder: Path, where: str) -> None:
    """Compile all Python below a folder that is to lie at `where`."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, stripdir=str(folder), prependdir=where, quiet=1, force=True, invalidation_mode=mode)


def check(built: Path) -> Iterator[str]:
    """What is wrong with the build."""
    sources = sorted(built.rglob("*.py"))
    if not sources:
        yield f"{built}: no Python"
    for source in sources:
        if not is_compiled(source):
            yield f"{source}: no valid .pyc"
    data = built / "SharedLayer" / "python" / "botocore" / "data"
    here = {path.name for path in data.iterdir() if path.is_dir()} if data.is_dir() else set()
    if here != set(SERVICES):
        yield f"{data}: has {sorted(here)}, not {sorted(SERVICES)}"


def is_compiled(source: Path) -> bool:
    """Whether this Python takes the source's .pyc without a look at the source, and it was made from it."""
    compiled = Path(importlib.util.cache_from_source(str(source)))
    if not compiled.is_file():
        return False
    unchecked_hash = (1).to_bytes(4, "little")
    header = importlib.util.MAGIC_NUMBER + unchecked_hash + importlib.util.source_hash(source.read_bytes())
    return compiled.read_bytes()[: len(header)] == header


if __name__ == "__main__":
    main()
