"""The environment of commands: made from nothing, so that none of the builder's own reaches them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# How this machine reaches the network, and where it keeps temporary files. None of these is set on Fargate.
MACHINE_VARIABLES = (
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    *(name for lower in ("http_proxy", "https_proxy", "no_proxy") for name in (lower, lower.upper())),
    "npm_config_registry",
    "TMPDIR",
)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Workplace:
    """The directories of one build."""

    checkout: Path
    home: Path
    programs: Path
    cache: Path


def make_workplace(directory: Path, cache: Path) -> Workplace:
    """Make the directories of one build below `directory`; the cache may be another build's too."""
    workplace = Workplace(directory / "checkout", directory / "home", directory / "bin", cache)
    for path in (workplace.checkout, workplace.home, workplace.programs, cache):
        path.mkdir(parents=True, exist_ok=True)
    return workplace


def base_environment(workplace: Workplace, own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of every command; `own` is the builder's, of which little is passed on."""
    cache = workplace.cache
    return {
        **{name: own[name] for name in MACHINE_VARIABLES if name in own},
        "PATH": f"{workplace.programs}:{own.get('PATH') or DEFAULT_PATH}",
        "HOME": str(workplace.home),
        "LANG": "C.UTF-8",
        "CI": "true",
        "npm_config_cache": str(cache / "npm"),
        "npm_config_audit": "false",
        "npm_config_fund": "false",
        "npm_config_update_notifier": "false",
        "YARN_CACHE_FOLDER": str(cache / "yarn"),
        "YARN_GLOBAL_FOLDER": str(cache / "yarn-berry"),
        "YARN_ENABLE_TELEMETRY": "0",
        "PNPM_HOME": str(cache / "pnpm"),
        "COREPACK_HOME": str(cache / "corepack"),
        "COREPACK_ENABLE_AUTO_PIN": "0",
        "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
        "COREPACK_ENABLE_STRICT": "0",
        "COREPACK_DEFAULT_TO_LATEST": "0",
        # Its list of signing keys ages, and mirrors serve no signatures. A hash in `packageManager` is still checked.
        "COREPACK_INTEGRITY_KEYS": "0",
        "ASTRO_TELEMETRY_DISABLED": "1",
        "GATSBY_TELEMETRY_DISABLED": "1",
        "NEXT_TELEMETRY_DISABLED": "1",
        "NUXT_TELEMETRY_DISABLED": "1",
    }


def command_environment(base: Mapping[str, str], job: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the project's commands: the base and the job's values, which win."""
    environment = {**base, **job}
    if "PATH" in job:  # the package managers must still be found
        environment["PATH"] = f"{base['PATH']}:{job['PATH']}"
    return environment


def install_environment(environment: Mapping[str, str], locked: bool) -> dict[str, str]:
    """Return the environment to install in."""
    # With NODE_ENV=production the build's own tools would be left out.
    kept = {name: value for name, value in environment.items() if name != "NODE_ENV"}
    # What a lock file names does not change, so the cache may answer; without one the newest version is wanted.
    return {"npm_config_prefer_offline": "true", **kept} if locked else kept


def with_local_programs(environment: Mapping[str, str], *directories: Path) -> dict[str, str]:
    """Put the programs that packages brought first on the PATH, as `npm run` does."""
    found = ":".join(str(directory / "node_modules/.bin") for directory in directories)
    return {**environment, "PATH": f"{found}:{environment['PATH']}"}


def find_program(name: str, environment: Mapping[str, str]) -> str | None:
    """Return where the environment's PATH has the program."""
    return shutil.which(name, path=environment["PATH"])
