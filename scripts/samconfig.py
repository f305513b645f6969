"""What samconfig.toml says of the deployed stack."""

import tomllib
from pathlib import Path


def stack_name() -> str:
    """The name that `sam deploy` gives the stack."""
    config = tomllib.loads((Path(__file__).parents[1] / "samconfig.toml").read_text(encoding="utf-8"))
    name: str = config["default"]["global"]["parameters"]["stack_name"]
    return name
