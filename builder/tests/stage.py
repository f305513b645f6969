"""A stage for the builder: a repository, a server that gives the job and takes the site, the builder's process."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BUILDER = Path(__file__).parents[1]
BUILD_ID = "01JD6Q2V8W3M4N5P6R7S8T9VAB"
PREFIX = f"sites/my-site/{BUILD_ID}/1/"


@dataclass
class Stored:
    """An uploaded object."""

    content: bytes
    content_type: str
    cache_control: str


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        bucket = self.server.bucket
        answers = bucket.get_answers
        status, body = answers.pop(0) if answers else (200, json.dumps(bucket.job).encode())
        self.answer(status, body)

    def do_POST(self):
        bucket = self.server.bucket
        body = self.rfile.read(int(self.headers["Content-Length"]))
        aside = f"{PREFIX}source.json".encode() in body  # comes beside the others, whenever it does
        bucket.requests += not aside
        if bucket.post_answers and not aside:
            status = bucket.post_answers.pop(0)
            if status == "drop":
                self.close_connection = True
                return
            self.answer(status, b"<Error><Code>Said</Code><Message>So told</Message></Error>")
            return
        problem = bucket.store(self.headers["Content-Type"], body)
        self.answer(403 if problem else 204, problem.encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Bucket:
    """A bucket that takes presigned POSTs as S3 does, and the place the job is fetched from."""

    def __init__(self):
        self.objects = {}
        self.order = []
        self.job = None
        self.get_answers = []
        self.post_answers = []
        self.requests = 0
        self.fields = {"policy": "cG9saWN5", "x-amz-signature": "abc"}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.bucket = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def store(self, content_type, body):
        """Store a form's file; return why not, if so."""
        message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
        parts = list(message.iter_parts())
        names = [part.get_param("name", header="content-disposition") for part in parts]
        if names[-1] != "file" or names.count("file") != 1:
            return f"the file must be the last field: {names}"
        # The parser reads text as a mail client would; the content is taken from the bytes themselves.
        boundary = message.get_boundary().encode()
        content = body.split(b"--" + boundary, len(parts))[-1].split(b"\r\n\r\n", 1)[1]
        content = content[: content.rindex(b"\r\n--" + boundary)]
        fields = {
            name: part.get_payload(decode=True).decode() for name, part in zip(names[:-1], parts[:-1], strict=True)
        }
        if {name: fields.get(name) for name in self.fields} != self.fields:
            return f"the policy's fields are not there: {fields}"
        if set(fields) - set(self.fields) - {"key", "Content-Type", "Cache-Control"}:
            return f"fields that the policy does not admit: {fields}"
        if not fields["key"].startswith(PREFIX):
            return "outside of the prefix"
        with self._lock:
            self.objects[fields["key"]] = Stored(content, fields["Content-Type"], fields["Cache-Control"])
            self.order.append(fields["key"])
        return ""

    @property
    def site(self):
        """The published files by their path."""
        start = f"{PREFIX}files/"
        return {key.removeprefix(start): stored for key, stored in self.objects.items() if key.startswith(start)}

    @property
    def result(self):
        stored = self.objects.get(f"{PREFIX}result.json")
        return stored and json.loads(stored.content)


@dataclass
class Run:
    """A builder's run that has ended."""

    exit_code: int
    log: str
    result: dict
    site: dict = field(repr=False)

    @property
    def lines(self):
        return self.log.splitlines()


def git(directory, *arguments):
    return subprocess.run(
        ("git", "-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main", *arguments),
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
    ).stdout.strip()


class Stage:
    def __init__(self, directory, bucket):
        self.directory = directory
        self.bucket = bucket
        self.repository_path = directory / "repository"
        self.cache = None

    def write(self, files):
        """Write files into the repository; a dict becomes JSON."""
        for name, content in files.items():
            path = self.repository_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(content) if isinstance(content, dict) else content
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def commit(self, files, message="Change"):
        """Commit files to the repository, made at the first time; return the commit's id."""
        if not self.repository_path.exists():
            self.repository_path.mkdir()
            git(self.repository_path, "init", "--quiet")
        self.write(files)
        git(self.repository_path, "add", "--all", "--force")
        git(self.repository_path, "commit", "--quiet", "--allow-empty", "--message", message)
        return git(self.repository_path, "rev-parse", "HEAD")

    def job(self, **changes):
        """Return a job for the repository; `source__ref="x"` changes job["source"]["ref"]."""
        job = {
            "version": 1,
            "buildId": BUILD_ID,
            "projectSlug": "my-site",
            "attempt": 1,
            "source": {
                "url": f"file://{self.repository_path}",
                "ref": None,
                "commit": None,
                "protocols": ["file"],
            },
            "settings": {"rootDirectory": None, "installCommand": None, "buildCommand": None, "outputDirectory": None},
            "env": {},
            "timeoutSeconds": 120,
            "limits": {"files": 20000, "fileBytes": 104857600, "siteBytes": 1073741824},
            "upload": {"url": self.bucket.url + "/bucket", "fields": self.bucket.fields, "prefix": PREFIX},
        }
        for name, value in changes.items():
            section, _, key = name.partition("__")
            if key:
                job[section][key] = value
            else:
                job[section] = value
        return job

    def start(self, environ=None, **changes):
        """Start the builder as a process."""
        self.bucket.job = self.job(**changes)
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        network = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy", "npm_config_registry")
        return subprocess.Popen(
            (sys.executable, "-m", "tidegate_builder"),
            env={
                **{name: os.environ[name] for name in network if name in os.environ},
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(BUILDER),
                "HOME": str(home),
                "TMPDIR": str(self.directory),
                "JOB_URL": f"{self.bucket.url}/job?signature=verysecret",
                "BUILD_ID": BUILD_ID,
                "PROJECT_ID": "my-site",
                "GIT_REPOSITORY_URL": "unused",
                **({"TIDEGATE_CACHE_DIR": str(self.cache)} if self.cache else {}),
                **(environ or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def build(self, environ=None, **changes):
        """Run the builder to its end."""
        with self.start(environ, **changes) as process:
            log = process.communicate(timeout=240)[0].decode()
        return Run(process.returncode, log, self.bucket.result, self.bucket.site)


def npm_package(**more):
    """A package.json whose build needs nothing but Node.js."""
    return {"name": "site", "version": "1.0.0", "private": True, **more}


def build_script(code):
    """A package.json with a build script that runs this JavaScript."""
    return {"package.json": npm_package(scripts={"build": "node build.cjs"}), "build.cjs": code}
