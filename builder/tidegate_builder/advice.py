"""What to do about failures whose cause stands in a command's output."""

LOCK = "does not fit package.json"
# The first that is found counts, so the surest come first.
ADVICE = (
    (
        b"can only install packages when your package.json and package-lock.json",
        f"package-lock.json {LOCK}: run `npm install` and commit package-lock.json.",
    ),
    (b"ERR_PNPM_OUTDATED_LOCKFILE", f"pnpm-lock.yaml {LOCK}: run `pnpm install` and commit pnpm-lock.yaml."),
    (
        b"ERR_PNPM_LOCKFILE_CONFIG_MISMATCH",
        "pnpm-lock.yaml was made by another version of pnpm: name yours in package.json's packageManager.",
    ),
    (b"Your lockfile needs to be updated", f"yarn.lock {LOCK}: run `yarn install` and commit yarn.lock."),
    (
        b"YN0028",
        f"yarn.lock {LOCK} or this yarn: run `yarn install`, commit yarn.lock, name your yarn in packageManager.",
    ),
    (
        b"code ERESOLVE",
        "Packages exclude one another: change versions, or use the installCommand `npm install --legacy-peer-deps`.",
    ),
    (b"code ETARGET", "package.json asks for a version that does not exist: change it, then commit the lock file."),
    (
        b"code E404",
        "A package is not in the registry: check its name; a private one needs an .npmrc and a token in env.",
    ),
    (b"code E401", "The registry wants a password: add an .npmrc that takes the token from the project's env."),
    (b"JavaScript heap out of memory", "Node.js ran out of memory: give the build more, or make it need less."),
    (b"ENOSPC", "The disk is full: make the build write less."),
    (
        b"digital envelope routines::unsupported",
        "The bundler is too old for this Node.js: update it, or add NODE_OPTIONS=--openssl-legacy-provider to env.",
    ),
    (b"Missing script:", "package.json has no such script: add it, or change the command."),
    *(
        (
            b"Cannot find module " + quote + b".",
            "A file was not found: commit it; mind that capital letters in names count.",
        )
        for quote in (b"'", b'"')
    ),
    (
        b"Cannot find module",
        "A module was not found: add its package to package.json; mind that capital letters in file names count.",
    ),
    (
        b"Rollup failed to resolve import",
        "An import was not found: add its package to package.json; mind that capital letters in file names count.",
    ),
    (b"EAI_AGAIN", "The network failed: build again."),
    (b"ECONNRESET", "The network failed: build again."),
)


class Symptoms:
    """Known causes of failures, looked for in output as it passes."""

    def __init__(self) -> None:
        self._unseen = [text for text, _ in ADVICE]
        self._seen: set[bytes] = set()

    def look_at(self, text: bytes) -> None:
        """Look for causes in some lines."""
        found = [symptom for symptom in self._unseen if symptom in text]
        if found:
            self._seen.update(found)
            self._unseen = [symptom for symptom in self._unseen if symptom not in found]

    def advice(self) -> str | None:
        """Return what to do about the surest cause that was seen."""
        return next((advice for text, advice in ADVICE if text in self._seen), None)
