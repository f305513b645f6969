# ruff: noqa: RUF001  letters and digits that only look like ASCII are what some tests are about

"""The border's rules: tables of what is refused and why, and properties that git and other parsers confirm."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate import fields, inputs
from tidegate.exceptions import InvalidRequest, MalformedBody

URL = "https://git.example.com/you/site.git"
DEFAULTS = inputs.BuildDefaults(protocols=("https",), private_hosts=False, cpu=2048, memory=4096)
LOCAL = inputs.BuildDefaults(protocols=("https", "http", "file"), private_hosts=True, cpu=2048, memory=4096)
git_url = partial(fields.git_url, protocols=("https",), private_hosts=False)
local_url = partial(fields.git_url, protocols=("https", "http", "file"), private_hosts=True)
cheap = settings(max_examples=300, deadline=None)
spawning = settings(max_examples=150, deadline=None)


def errors_of(body: dict[str, Any], defaults: inputs.BuildDefaults = DEFAULTS) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        inputs.parse_new_project(body, defaults)
    return {error.field: error.message for error in caught.value.errors}


def value_of(rule: Any, value: Any) -> Any:
    """What a rule makes of a value; `None` if it refuses it."""
    try:
        return rule(value)
    except ValueError:
        return None


def parse(**given: Any) -> inputs.NewProject:
    return inputs.parse_new_project({"gitURL": URL} | given, DEFAULTS)


# --- git URLs ---


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (URL, URL),
        ("HTTPS://GitHub.COM/You/Site", "https://github.com/You/Site"),
        ("https://github.com/you/site/", "https://github.com/you/site/"),
        ("https://git.example.com:8443/a", "https://git.example.com:8443/a"),
        ("https://git.example.com:65535/a", "https://git.example.com:65535/a"),
        ("https://dev.azure.com/org/My%20Project/_git/r", "https://dev.azure.com/org/My%20Project/_git/r"),
        ("https://git.example.com/~you/a+b,c;d=e!$&'()*@:/x", "https://git.example.com/~you/a+b,c;d=e!$&'()*@:/x"),
        ("https://git.example.com/a..b/...", "https://git.example.com/a..b/..."),
        ("https://git.example.com/sit%C3%A9", "https://git.example.com/sit%C3%A9"),
        ("https://xn--bcher-kva.example.com/a", "https://xn--bcher-kva.example.com/a"),
        ("https://8.8.8.8/a", "https://8.8.8.8/a"),
        ("https://[2606:4700::1111]:443/a", "https://[2606:4700::1111]:443/a"),
        ("https://localhost.example.com/a", "https://localhost.example.com/a"),
        ("https://internal.example.com/a", "https://internal.example.com/a"),
        ("https://10.0.0.1.example.com/a", "https://10.0.0.1.example.com/a"),
        (f"https://{'.'.join(['a' * 61] * 4)}.abcde/a", f"https://{'.'.join(['a' * 61] * 4)}.abcde/a"),
        ("https://git.example.com/" + "a" * 2024, "https://git.example.com/" + "a" * 2024),
    ],
)
def test_public_urls(text: str, normal: str) -> None:
    assert git_url(text) == normal
    assert git_url(normal) == normal


PRIVATE_HOSTS = """
localhost LOCALHOST LocalHost foo.localhost intranet git nas.local NAS.LOCAL db.internal metadata.google.internal
ip-10-0-0-1.ec2.internal router.lan box.home.arpa wiki.corp pc.home x.intranet x.private x.localdomain a.test a.invalid
127.0.0.1 127.1.2.3 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1
169.254.169.254 169.254.170.2 100.64.0.1 100.127.255.255 192.0.0.1 192.0.0.8 192.0.0.170 192.0.2.1 192.88.99.1
198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
[::] [::1] [0:0:0:0:0:0:0:1] [::127.0.0.1] [::7f00:1] [::ffff:127.0.0.1] [::FFFF:7f00:1] [::ffff:10.0.0.1]
[::ffff:169.254.169.254] [::ffff:8.8.8.8] [::ffff:0:127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe]
[64:ff9b:1::7f00:1] [2002:7f00:1::] [2002:a9fe:a9fe::1] [2002:808:808::1] [2001::1] [2001:0:7f00:1::] [2001:db8::1]
[2001:20::1] [3fff::1] [5f00::1] [100::1] [fc00::1] [fd00:ec2::254] [fe80::1] [febf::1] [fec0::1] [ff02::1] [ff0e::1]
"""


@pytest.mark.parametrize("host", PRIVATE_HOSTS.split())
def test_private_hosts_are_refused_unless_allowed(host: str) -> None:
    for url in (f"https://{host}/a/b", f"https://{host}:8443/a/b"):
        with pytest.raises(ValueError, match="private, loopback or link-local"):
            git_url(url)
        assert local_url(url) == url.lower()


ODD_HOSTS = """
2130706433 0x7f000001 0X7F000001 017700000001 0177.0.0.1 0x7f.0.0.1 127.1 127.0.1 127.0.0x1 127.0.0.01 010.8.8.8 1 0
0x 0x8.0x8.0x8.0x8 8.8.2056 134744072 4294967297 127.0.0.1.0 256.256.256.256 127.0.0.999 1.2.3 08.8.8.8 a.0x7f a.1
127.0.0.1. 127.0.0.1.. localhost. localhost.. github.com. foo.internal. . .. .a.com a..com -a.com a-.com a.-b.com
[127.0.0.1] [::1%lo] [::1%25lo] [fe80::1%25eth0] [::1 ::1] [:::1] [1::2::3] [12345::] [::g] [] [v1.fe80] [[::1]] ::1
[::1]a 127.0.0.1%00.example.com 127.0.0.1%2f.example.com %6c%6f%63alhost git%2eexample.com git.example.com%20 a_b.com
１２７.0.0.1 １２７．０．０．１ 127。0。0。1 ⑫7.0.0.1 ⓛocalhost ｌocalhost git.exämple.com \u212ait.com ſite.com
git.example.com\\.evil.com evil.com\\ evil.com\\@git.example.com git.example.com#evil.com git.example.com?x
evil.com;.a.com a,b.com a&b.com *.com $(id).com `id`.com 'a'.com {a}.com git.example.com|x <a>.com "a".com a!b.com
~.com a=b.com
"""


@pytest.mark.parametrize("host", [*ODD_HOSTS.split(), "", " ", "a b.com", "a\tb.com", "a\nb.com", "a\x00b.com",
    "a\x7f.com",
                                  "a.com ", " a.com", "a.com\r", "a\u200bb.com", "a\xadb.com", "a.com\u3002",
                                  f"{'a' * 64}.com", f"{'.'.join(['a' * 61] * 4)}.abcdef"])  # fmt: skip
def test_hosts_that_parsers_read_differently_are_refused_everywhere(host: str) -> None:
    for check in (git_url, local_url):
        for url in (f"https://{host}/a/b", f"https://{host}:443/a/b"):
            with pytest.raises(ValueError, match=r"host|user name"):
                check(url)


@pytest.mark.parametrize(
    "port", ["0", "00", "01", "0443", "65536", "99999", "123456", "-1", "+1", "x", "4 3", "", "４４３"]
)
def test_ports_that_do_not_exist_are_refused(port: str) -> None:
    for check in (git_url, local_url):
        with pytest.raises(ValueError, match=r"port|host"):
            check(f"https://git.example.com:{port}/a")


@pytest.mark.parametrize("path", ["", "/", "//", "/a?b", "/a#b", "/?", "/a?token=x", "/a b", "/a\\b", "/a\nb",
    "/a\x00", "/a\x7f",
                                  "/a%", "/a%2", "/a%zz", "/%00", "/a%0ab", "/a%0D", "/a%7f", "/a%5cb", "/..",
                                  "/a/../b", "/./a",
                                  "/a/.", "/%2e%2e/a", "/a/%2E%2e", "/a/.%2e/b", "/a%2f..%2fb", "/%c2%85",
                                  "/sité", "/a[b]",
                                  "/a|b", '/a"b', "/<a>", "/{a}", "/a^b", "/`a`", "/a\u2028", "/\ud800"])  # fmt: skip
def test_paths_that_parsers_read_differently_are_refused(path: str) -> None:
    for check in (git_url, partial(fields.git_url, protocols=("https",), private_hosts=True)):
        with pytest.raises(ValueError, match="path"):
            check(f"https://git.example.com{path}")


@pytest.mark.parametrize(
    "url",
    [
        "https://s3cret@git.example.com/a",
        "https://you:s3cret@git.example.com/a",
        "https://:s3cret@git.example.com/a",
        "https://git.example.com:s3cret@127.0.0.1/a",
        "https://git.example.com@127.0.0.1:443/s3cret",
        "https://you%40s3cret@git.example.com/a",
        "https://@git.example.com/s3cret",
        "https://git.example.com?s3cret@127.0.0.1/a",
        "https://git.example.com#s3cret@127.0.0.1/a",
        "https://git.example.com\\s3cret@127.0.0.1/a",
        "file://s3cret@localhost/a",
    ],
)
def test_credentials_are_refused_and_not_repeated(url: str) -> None:
    for check in (git_url, local_url):
        with pytest.raises(ValueError, match=r"user name or password|must start with https://$") as caught:
            check(url)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("git@github.com:you/site.git", "not an SSH address"),
        ("github.com:you/site.git", "not an SSH address"),
        ("you.name@host:~/site", "not an SSH address"),
        ("ssh://git@github.com/you/site.git", "not an SSH address"),
        ("SSH://git@github.com/you/site.git", "not an SSH address"),
        ("git+ssh://git@github.com/you/site.git", "not an SSH address"),
        ("ext::sh -c touch% /tmp/x", "must start with https://"),
        ("fd::7", "must start with https://"),
        ("https::https://git.example.com/a", "must start with https://"),
        ("http://git.example.com/a", "must start with https://"),
        ("git://git.example.com/a", "must start with https://"),
        ("ftp://git.example.com/a", "must start with https://"),
        ("file:///srv/a", "must start with https://"),
        ("javascript:alert(1)", "must start with https://"),
        ("data:text/html,x", "must start with https://"),
        ("//git.example.com/a", "must start with https://"),
        ("git.example.com/a", "must start with https://"),
        ("/srv/a", "must start with https://"),
        ("./a", "must start with https://"),
        ("-u", "must start with https://"),
        ("--upload-pack=touch /tmp/x", "must start with https://"),
        ("-https://git.example.com/a", "must start with https://"),
        (" https://git.example.com/a", "must start with https://"),
        ("\nhttps://git.example.com/a", "must start with https://"),
        ("\ufeffhttps://git.example.com/a", "must start with https://"),
        ("https:/git.example.com/a", "must start with https://"),
        ("https:git.example.com/a", "must start with https://"),
        ("https:\\\\git.example.com\\a", "must start with https://"),
        ("httpſ://git.example.com/a", "must start with https://"),
        ("https%3a//git.example.com/a", "must start with https://"),
        ("https:///git.example.com/a", "host"),
        ("https://https://git.example.com/a", "host"),
        ("", "empty"),
        ("https://git.example.com/" + "a" * 2025, "longer than 2048"),
        (1, "text"),
        (["https://git.example.com/a"], "text"),
        ({"url": URL}, "text"),
        (True, "text"),
    ],
)
def test_other_forms_are_refused_with_a_helpful_message(url: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        git_url(url)


@pytest.mark.parametrize("url", ["file:///srv/git/site.git", "file:///srv/My Sites/é",
    "http://127.0.0.1:3000/a", "http://localhost/a",
                                 "http://[::1]:8080/a", "https://nas.local/a", "FILE:///srv/a"])  # fmt: skip
def test_what_only_a_local_stack_allows(url: str) -> None:
    assert local_url(url) == url.replace("FILE", "file")
    with pytest.raises(ValueError, match="must"):
        git_url(url)


@pytest.mark.parametrize("url", ["file://", "file:///", "file://host/srv/a", "file://localhost/srv/a",
    "file:/srv/a", "file://../a",
                                 "file:///a?b", "file:///a#b", "file:///a\nb", "file:///a\\b",
                                 "file://C:/a"])  # fmt: skip
def test_odd_files_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        local_url(url)


def test_files_need_both_settings() -> None:
    with pytest.raises(ValueError, match="file:///path"):
        fields.git_url("file:///srv/a", ("https", "file"), private_hosts=False)


class Proxy:
    """What git asks an HTTP proxy to connect to: the host and port that git and curl read in a URL."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.seen: list[str] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                self.seen.append(client.recv(65536).split(b"\r\n")[0].decode())
                client.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def target(self, url: str) -> str | None:
        """`host:port` of the one connection git wants for this URL."""
        self.seen.clear()
        proxy = f"http.proxy=http://127.0.0.1:{self.listener.getsockname()[1]}"
        options = ("-c", proxy, "-c", "http.proxyAuthMethod=basic", "-c", "credential.helper=")
        environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
                       "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https"}  # fmt: skip
        subprocess.run(["git", *options, "ls-remote", url], env=environment, capture_output=True, check=False, cwd="/")
        targets = {line.split()[1] for line in self.seen}
        assert len(targets) <= 1, (url, self.seen)
        return targets.pop() if targets else None


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.listener.close()


@pytest.fixture(scope="module", autouse=True)
def git_is_there() -> None:
    assert shutil.which("git"), "git is needed to compare with"


PIECES = [*"@:/\\?#[]%.-_~ \t\n\x00+&;='\"1０k\u212aé", "//", "..", "%00", "%2f", "%40", "%2e", "127.0.0.1",
"0x7f.1", "[::1]",
          "localhost", "git.example.com", "8.8.8.8", "xn--a", "you", "site.git", "443", "0", "https://"]  # fmt: skip
tricky = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
hosts = st.sampled_from(["git.example.com", "GitHub.com", "8.8.8.8", "[2606:4700::1111]", "a-b.c.de", "127.0.0.1", "x"])
urls = st.builds("{}{}{}{}{}{}{}".format, st.sampled_from(["https://", "HTTPS://"]), tricky | st.just(""), hosts,
                 st.sampled_from(["", "", ":8443", ":443"]) | tricky, st.just("/"), tricky,
                 st.sampled_from(["", "/you/site"]))  # fmt: skip


@cheap
@given(urls | st.text())
def test_an_accepted_url_is_public_canonical_and_plain(url: str) -> None:
    accepted = value_of(git_url, url)
    if accepted is None:
        return
    parts = urlsplit(accepted)
    assert git_url(accepted) == accepted == parts.geturl()
    assert (parts.scheme, parts.username, parts.password, parts.query, parts.fragment) == ("https", None, None, "", "")
    assert accepted.isascii()
    assert "." in parts.netloc or ":" in parts.netloc
    assert parts.hostname not in ("127.0.0.1", "x", "localhost", "::1")


safe_hosts = st.sampled_from(["git.example.com", "8.8.8.8", "[2606:4700::1111]", "x-1.y.co"])
safe_paths = st.text("abZ09._~!$&'()*+,;=:@/-", min_size=1, max_size=20) | tricky


@spawning
@given(st.builds("https://{}{}/{}".format, safe_hosts, st.sampled_from(["", ":8443"]) | tricky, safe_paths))
@example("https://git.example.com//127.0.0.1/a")
@example("https://git.example.com/@127.0.0.1/a:b@c")
@example("https://git.example.com:8443/https://127.0.0.1/a")
def test_git_reads_the_same_host_and_port_in_an_accepted_url(proxy: Proxy, url: str) -> None:
    accepted = value_of(git_url, url)
    if accepted is None:
        return
    parts = urlsplit(accepted)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    assert proxy.target(accepted) == f"{host}:{parts.port or 443}"


@cheap
@given(st.ip_addresses())
def test_no_address_outside_the_public_internet_is_accepted(address: Any) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    if value_of(git_url, f"https://{host}/a") is None:
        return
    kinds = ("multicast", "reserved", "link_local", "loopback", "private", "site_local", "unspecified")
    assert address.is_global
    assert not [kind for kind in kinds if getattr(address, f"is_{kind}", False)]
    assert not [kind for kind in ("ipv4_mapped", "sixtofour", "teredo") if getattr(address, kind, None)]


@cheap
@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_has_one_spelling(number: int) -> None:
    octets = number.to_bytes(4)
    for host in (str(number), hex(number), oct(number).replace("0o", "0"), ".".join(map(hex, octets)),
                 ".".join(f"0{octet:o}" for octet in octets), f"{octets[0]}.{number & 0xFFFFFF}",
                 f"{octets[0]}.{octets[1]}.{number & 0xFFFF}"):  # fmt: skip
        with pytest.raises(ValueError, match="host"):
            local_url(f"https://{host}/a")


# --- slugs, refs, directories, commands ---


@pytest.mark.parametrize("text", ["a", "0", "callous-tender-dog", "a" * 63, "1-2", "a--b"])
def test_slugs(text: str) -> None:
    assert fields.slug(text) == text


@pytest.mark.parametrize("text", ["", "-", "-a", "a-", "A", "a_b", "a.b", "a b", "a" * 64, "xn--a", "é", "a\n",
    "\na", "a\x00", "１",
                                  "a/b", "..", "a%2fb", 1, None, True, [], {}, 1.5])  # fmt: skip
def test_slugs_that_are_no_dns_labels(text: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        fields.slug(text)


@pytest.mark.parametrize("text", ["main", "v1.2.3", "feature/x", "refs/heads/main", "release-1", "a@b", "é",
    "日本", "HEAD", "a{b}", "a+b",
                                  "renovate/@scope/name-1.x", "dependabot/npm_and_yarn/x", "#1",
                                  "a" * 255])  # fmt: skip
def test_refs(text: str) -> None:
    assert fields.ref(text) == text


REFUSED_REFS = ["", "-", "-x", "--upload-pack=x", "/x", "x/", "x//y", ".x", "x/.y", "x.", "x.lock", "x.lock/y",
"a..b", "@", "@{-1}",
                "a@{1}", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "a\x00", "a\n", "a\t", "a\x7f",
                "+x", "+a:b",
                "^a", ":", "..", "a" * 256]  # fmt: skip


@pytest.mark.parametrize("text", [*REFUSED_REFS, 1, True, [], {}, 1.5])
def test_refs_that_git_or_a_refspec_would_misread(text: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        fields.ref(text)


def git_accepts(ref: str) -> bool:
    if "\0" in ref:
        return False
    asked = subprocess.run(["git", "check-ref-format", f"refs/heads/{ref}"], check=False)
    return asked.returncode == 0 and not ref.startswith("-")


ref_pieces = st.sampled_from([*"aZ0.-_/@{}~^:?*[]\\ \t\x7f+#é", "..", ".lock", "@{", "//", "refs/heads/", "HEAD"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(ref_pieces, min_size=1, max_size=5).map("".join)
    | st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
)
def test_refs_are_those_of_git(text: str) -> None:
    accepted = value_of(fields.ref, text) is not None
    assert accepted == (git_accepts(text) and not text.startswith("+") and text != "@")


@pytest.mark.parametrize(
    "commit", ["4b825dc642cb6eb9a060e54bf8d69288fbee4904", "0" * 64, "4B825DC642CB6EB9A060E54BF8D69288FBEE4904"]
)
def test_a_full_commit_id_is_a_commit(commit: str) -> None:
    source = parse(ref=commit).source
    assert (source.commit, source.ref) == (commit.lower(), None)


@pytest.mark.parametrize("text", ["4b825dc", "a" * 39, "a" * 41, "g" * 40, "0" * 63])
def test_anything_else_is_a_branch_or_tag(text: str) -> None:
    source = parse(ref=text).source
    assert (source.commit, source.ref) == (None, text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("", None), (".", None), ("./", None), ("a/..", None), ("a", "a"), ("a/", "a"), ("./a//b/", "a/b"),
    ("a/../b", "b"),
     ("packages/web app", "packages/web app"), ("...", "..."), ("a..b", "a..b"), ("é", "é"), (".github", ".github"),
     ("a" * 512, "a" * 512)],
)  # fmt: skip
def test_directories(text: str, normal: str | None) -> None:
    assert fields.directory(text) == normal


@pytest.mark.parametrize("text", ["..", "../a", "a/../..", "a/../../b", "./..", "/", "/etc", "//a", "~",
    "~root/x", "-rf", "./-rf",
                                  "a/../-rf", "./~", ".git", ".GIT", "a/.git/hooks", ".Git/", "a\\b", "..\\a",
                                  "a\x00b", "a\nb",
                                  "a\x7f", "a\x85b", "a\u2028b", "a" * 513, 1, True, [], {}])  # fmt: skip
def test_directories_that_leave_the_repository(text: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        fields.directory(text)


@cheap
@given(
    st.lists(st.sampled_from(["..", ".", "/", "a", "~", "-", ".git", "\\", " ", "é"]), max_size=8).map("".join)
    | st.text(max_size=20)
)
def test_an_accepted_directory_stays_inside(text: str) -> None:
    accepted = value_of(fields.directory, text)
    if accepted is None:
        return
    root = Path("/srv/checkout")
    inside = Path(os.path.normpath(root / accepted))
    assert inside.is_relative_to(root)
    assert inside == Path(os.path.normpath(root / text))
    assert ".git" not in inside.parts
    assert fields.directory(accepted) == accepted
    assert accepted[0] not in "-~/"


def test_output_directory_may_be_the_projects_own() -> None:
    for text, normal in (("", None), (".", "."), ("./", "."), ("a/..", "."), ("dist/", "dist"), ("./a//b", "a/b")):
        assert fields.output_directory(text) == normal
    assert parse(outputDirectory=".").settings.output_directory == "."
    for text in ("..", "/dist", ".git"):
        with pytest.raises(ValueError, match="relative path"):
            fields.output_directory(text)


@pytest.mark.parametrize(
    "text", ["npm run build", "  make  ", "a && b; c | d > e", "echo $HOME `x`", "a\tb", "é", "x" * 1000]
)
def test_commands(text: str) -> None:
    assert fields.command(text) == text.strip()


@pytest.mark.parametrize(
    "text", ["", " ", "\t\n", "a\nb", "a\rb", "a\x00", "a\x1b[2J", "a\x9b", "a\u2028b", "x" * 1001, 1, [], {}, False]
)
def test_commands_that_are_not_one_line(text: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        fields.command(text)


# --- sizes and environment ---

# docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html, in GiB
FARGATE = {
    256: [0.5, 1, 2],
    512: [1, 2, 3, 4],
    1024: list(range(2, 9)),
    2048: list(range(4, 17)),
    4096: list(range(8, 31)),
    8192: list(range(16, 61, 4)),
    16384: list(range(32, 121, 8)),
}
PAIRS = {(cpu, int(memory * 1024)) for cpu, sizes in FARGATE.items() for memory in sizes}


def test_every_pair_of_cpu_and_memory() -> None:
    cpus = [-1, 0, 1, 128, 255, 256, 257, 512, 1024, 1536, 2048, 3072, 4096, 8192, 12288, 16384, 32768, 2**31, 2**70]
    memories = [*range(0, 124 * 1024, 512), -512, 1, 511, 513, 2**31, 2**70]
    accepted = set()
    for cpu in cpus:
        for memory in memories:
            with contextlib.suppress(InvalidRequest):
                told = parse(cpu=cpu, memory=memory).settings
                accepted.add((told.cpu, told.memory))
    assert accepted == PAIRS
    assert list(errors_of({"gitURL": URL, "cpu": 1025, "memory": 2048})) == ["cpu"]
    assert list(errors_of({"gitURL": URL, "cpu": 1024, "memory": 2049})) == ["memory"]


def test_one_of_cpu_and_memory_goes_with_the_default_of_the_other() -> None:
    for cpu in (0, *FARGATE, 300):
        errors = {} if (cpu, 4096) in PAIRS else errors_of({"gitURL": URL, "cpu": cpu})
        assert errors or parse(cpu=cpu).settings.cpu == cpu
    for memory in range(0, 20000, 512):
        errors = {} if (2048, memory) in PAIRS else errors_of({"gitURL": URL, "memory": memory})
        assert set(errors) == ({"memory"} if errors else set())


@pytest.mark.parametrize("value", ["1024", 1024.0, 1e3, True, False, [1024], {}])
def test_cpu_and_memory_are_whole_numbers(value: Any) -> None:
    assert errors_of({"gitURL": URL, "cpu": value, "memory": value}) == {
        "cpu": "must be a whole number",
        "memory": "must be a whole number",
    }


def test_variables_at_their_limits() -> None:
    for env in (
        {},
        {"A": ""},
        {"_a1": "é\n\t\x01"},
        {"A" * 128: "x"},
        {"A": "x" * 8192},
        {f"V{number:03}": "x" for number in range(100)},
        {f"V{number}": "x" * (8192 - 2) for number in range(8)},
        {"PATH": "/x", "NODE_ENV": "production", "TIDEGATEWAY": "x"},
    ):
        new = parse(env=env)
        assert (new.env, new.settings.env_names) == (env, tuple(sorted(env)))


@pytest.mark.parametrize("name", ["", "1A", "A B", "A-B", "A=B", "A.B", "é", "A\n", "A\x00", "A" * 129,
    "GIT_REPOSITORY_URL", "PROJECT_ID",
                                  "BUILD_ID", "JOB_URL", "TIDEGATE_X"])  # fmt: skip
def test_names_that_variables_cannot_have(name: str) -> None:
    assert list(errors_of({"gitURL": URL, "env": {"GOOD": "s3cret", name: "s3cret"}})) == [f"env.{name[:50]}"]


@pytest.mark.parametrize("value", [1, None, True, ["s3cret"], {"x": "s3cret"}, "s3cret\0", "s3cret" * 1400, "é" * 4097])
def test_values_that_variables_cannot_have(value: Any) -> None:
    errors = errors_of({"gitURL": URL, "env": {"GOOD": "x", "BAD": value}})
    assert list(errors) == ["env.BAD"]
    assert "s3cret" not in str(errors)


@pytest.mark.parametrize("env", [{f"V{number}": "" for number in range(101)},
    {f"V{number}": "x" * 8190 for number in range(8)} | {"W": ""},
                                 [], "A=1", 1, True, [["A", "1"]]])  # fmt: skip
def test_environments_that_are_none_or_too_large(env: Any) -> None:
    assert list(errors_of({"gitURL": URL, "env": env})) == ["env"]


# --- the whole body ---

FIELDS = (
    "gitURL",
    "slug",
    "ref",
    "rootDirectory",
    "installCommand",
    "buildCommand",
    "outputDirectory",
    "env",
    "cpu",
    "memory",
)


def test_null_is_absent() -> None:
    assert parse(**dict.fromkeys(FIELDS[1:])) == parse()
    assert errors_of(dict.fromkeys(FIELDS)) == {"gitURL": "is required"} == errors_of({})


@pytest.mark.parametrize("field", FIELDS)
def test_wrong_types_name_the_field(field: str) -> None:
    for value in (True, 1.5, [], ["a"], "\x00", -1):
        errors = errors_of({"gitURL": URL, field: value})
        assert list(errors) == [field], value
        assert errors[field].startswith(("must", "has")), errors


def test_every_wrong_field_is_named_at_once() -> None:
    body: dict[str, Any] = {field: [] for field in FIELDS} | {"extra": 1, "giturl": URL, "env": {"A-": "x", "B-": "y"}}
    assert set(errors_of(body)) == {*FIELDS, "extra", "giturl", "env.A-", "env.B-"} - {"env"}
    assert set(errors_of({"slug": "-", "cpu": 1, "memory": 1})) == {"gitURL", "slug", "cpu"}


def test_unknown_fields_are_refused_and_not_all_repeated() -> None:
    assert errors_of({"gitURL": URL, "x" * 1000: 1}) == {"x" * 100: "is not a known field"}
    assert len(errors_of({"gitURL": URL} | {f"x{number}": 1 for number in range(10000)})) == inputs.MAX_ERRORS


def test_everything_at_once() -> None:
    new = inputs.parse_new_project(
        {"gitURL": "file:///srv/a", "slug": "s", "ref": "main", "rootDirectory": "./a/",
        "installCommand": " i ", "buildCommand": "b",
         "outputDirectory": "out", "env": {"B": "2", "A": "1"}, "cpu": 256, "memory": 512},
        LOCAL,
    )  # fmt: skip
    assert (new.slug, new.source.url, new.source.ref, new.env) == ("s", "file:///srv/a", "main", {"B": "2", "A": "1"})
    told = new.settings
    assert (told.root_directory, told.install_command, told.build_command, told.output_directory) == (
        "a",
        "i",
        "b",
        "out",
    )
    assert (told.cpu, told.memory, told.env_names) == (256, 512, ("A", "B"))


BROKEN_BODIES = [
    b"", b" ", b"{", b"}", b"{}}", b"{} x", b"[]", b"null", b"1", b'"a"', b"true", b"[{}]", b"NaN",
    b'{"a":NaN}', b'{"a":Infinity}',
    b"{'a':1}", b'{"a":1,}', b"{a:1}", b'{"a":1}{"a":1}', b"// x\n{}", b"\xef\xbb\xbf{}", '{"a":"é"}'.encode("latin-1"),
    '{"a":1}'.encode("utf-16"), b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xff"}',
    rb'{"a":"\ud800"}', rb'{"a":"\ud800x"}',
    rb'{"a":"\udc00"}', rb'{"a":"\ud800\ud800"}', rb'{"\ud800":1}', b'{"a":"\x01"}', b'{"a":"\n"}',
    rb'{"a":"\x41"}', b'{"a":1,"a":1}',
    rb'{"a":1,"\u0061":1}', b'{"b":{"a":1,"a":2}}', b'{"b":[{"a":1,"a":2}]}', b'{"a":' * 20000,
    b'{"a":' + b"[" * 100000, b"[" * 5000 + b"]" * 5000,
    b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", b'{"a":' + b"9" * 5000 + b"}", b'{"a":1e999}', b"gitURL=x",
    b"\x1f\x8b\x08\x00", b"\x00",
]  # fmt: skip


@pytest.mark.parametrize("body", BROKEN_BODIES, ids=lambda body: repr(body[:20]))
def test_bodies_that_are_no_json_objects(body: bytes) -> None:
    with pytest.raises(MalformedBody) as caught:
        inputs.parse_json_object(body)
    assert len(caught.value.detail) < 200
    assert ("empty" in caught.value.detail) == (not body.strip())


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@cheap
@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_any_json_object_is_read_as_it_is(value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        body = json.dumps(value).encode()
        with pytest.raises(MalformedBody):
            inputs.parse_json_object(body)
    else:
        assert inputs.parse_json_object(body) == value


@cheap
@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_malformed(body: bytes) -> None:
    with contextlib.suppress(MalformedBody):
        assert isinstance(inputs.parse_json_object(body), dict)


@cheap
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), values | tricky | urls, max_size=6))
def test_any_object_is_a_project_or_names_what_is_wrong(body: dict[str, Any]) -> None:
    try:
        new, errors = inputs.parse_new_project(body, DEFAULTS), ()
    except InvalidRequest as refused:
        new, errors = None, refused.errors
    assert (new is None) == bool(errors)
    assert new is None or set(body) <= set(FIELDS)
    for error in errors:
        assert error.field in {"gitURL", "cpu", "memory", *body} or error.field.startswith("env.")
        assert 0 < len(error.message) < 200


# --- what stands in addresses ---


def test_build_ids() -> None:
    good = "01JD6Q2V8W3M4N5P6R7S8T9VAB"
    assert fields.build_id(good) == good
    for text in (
        "",
        good.lower(),
        good[:-1],
        good + "A",
        "8" + good[1:],
        good[:-1] + "U",
        good + "\n",
        "slots",
        "../" + good[3:],
    ):
        with pytest.raises(ValueError, match="id"):
            fields.build_id(text)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "+1", "101", "1.0", "1e1", " 1", "1 ", "1\n", "１", "0x1", "x", "9" * 30, "1,2"]
)
def test_limits_that_are_no_numbers_or_too_large(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 100"):
        fields.limit(text, 20, 100)


def test_limits() -> None:
    assert [fields.limit(text, 20, 100) for text in (None, "1", "007", "100")] == [20, 1, 7, 100]
