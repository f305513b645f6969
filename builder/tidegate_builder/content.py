"""How a file is served: its content type and how long browsers may keep it."""

import mimetypes
import re
from functools import cache
from pathlib import PurePosixPath

# The machine's own table is not asked, and Python's differs by version: what the web uses is pinned here.
TYPES = {
    "aac": "audio/aac",
    "apng": "image/apng",
    "atom": "application/atom+xml",
    "avif": "image/avif",
    "bin": "application/octet-stream",
    "bmp": "image/bmp",
    "cjs": "text/javascript",
    "css": "text/css",
    "csv": "text/csv",
    "eot": "application/vnd.ms-fontobject",
    "flac": "audio/flac",
    "geojson": "application/geo+json",
    "gif": "image/gif",
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/x-icon",
    "ics": "text/calendar",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "json5": "application/json5",
    "jsonld": "application/ld+json",
    "jxl": "image/jxl",
    "m3u8": "application/vnd.apple.mpegurl",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "rss": "application/rss+xml",
    "svg": "image/svg+xml",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "ts": "video/mp2t",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
}
NAMES = {"apple-app-site-association": "application/json"}
DEFAULT_TYPE = "application/octet-stream"

IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "public, max-age=0, must-revalidate"

# Folders whose every file is named after its content or its build, by their frameworks' own word.
IMMUTABLE_FOLDERS = ("_app/immutable/", "_astro/", "_next/static/", "_nuxt/")
# The part of a name that looks like a hash of the content: `index-DiwrgTda.js`, `main.4f2a9c1b.chunk.css`.
HASHED_PART = re.compile(
    r"[-._](?P<hash>[A-Za-z0-9_-]{8}|[0-9a-f]{9,64})(?:\.(?:chunk|bundle|min|module|esm|lean))?\.\w+(?:\.(?:map|gz|br))?$"
)
HEX = re.compile(r"(?=.*[0-9])(?=.*[a-f])[0-9a-f]{8,64}")
MIXED_CASE = re.compile(r"(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9_-]{8}")
BASE32 = re.compile(r"(?=.*[0-9][A-Z])[A-Z2-7]{8}")
# A word or several, perhaps with a number: `HomePage`, `Chapter1`. Better asked for again than kept when it changes.
WORDS = re.compile(r"(?:[A-Z]?[a-z]+|[A-Z]+)(?:[-_]?[A-Z][a-z]+)*[-_]?[0-9]*")


def content_type(path: str) -> str:
    """Return the media type of a file by its name, without a charset."""
    name = PurePosixPath(path)
    extension = name.suffix[1:].lower()
    return NAMES.get(name.name) or TYPES.get(extension) or _python_types().get(f".{extension}", DEFAULT_TYPE)


@cache
def _python_types() -> dict[str, str]:
    return mimetypes.MimeTypes().types_map[True]  # a table of its own, without what the machine's files add


def is_text(media_type: str) -> bool:
    """Say whether browsers need to be told this type's charset."""
    return media_type.startswith("text/")


def cache_control(path: str) -> str:
    """Return how long a file may be kept: for ever if its name changes with its content."""
    if content_type(path) in {"text/html", "application/xhtml+xml"}:
        return REVALIDATE
    return IMMUTABLE if is_fingerprinted(path) else REVALIDATE


def is_fingerprinted(path: str) -> bool:
    """Say whether the file's name holds a hash of its content."""
    if any(path.startswith(folder) or f"/{folder}" in path for folder in IMMUTABLE_FOLDERS):
        return True
    match = HASHED_PART.search(PurePosixPath(path).name)
    if not match:
        return False
    found = match["hash"]
    if HEX.fullmatch(found) or BASE32.fullmatch(found):
        return True
    return bool(MIXED_CASE.fullmatch(found)) and not WORDS.fullmatch(found)
