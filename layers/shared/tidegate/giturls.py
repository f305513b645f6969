"""Addresses of git repositories, checked before anything is sent to them."""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from urllib.parse import unquote

MAX_HOST = 253
_SSH = re.compile(r"(ssh|git\+ssh|ssh\+git)://|[^/:]*[@.][^/:]*:", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::([0-9]{1,5}))?")
_URL_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})+")
_FILE_PATH = re.compile(r"/[^\x00-\x1f\x7f?#\\]+")
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_ENDS_IN_NUMBER = re.compile(r"(^|\.)(0x[0-9a-f]*|[0-9]+)$")  # url.spec.whatwg.org/#ends-in-a-number-checker
_PRIVATE_NAMES = re.compile(
    r"[^.]*|.*\.(localhost|local|localdomain|internal|intranet|private|lan|corp|home|home\.arpa|test|invalid)"
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# What Python's releases disagree about, and addresses that carry IPv4 ones.
_NOT_PUBLIC = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def normal(text: str, protocols: tuple[str, ...], *, private_hosts: bool) -> str:
    """The one spelling of a repository's address; raises ValueError for one that must not be built.

    The form is strict, so that no two URL parsers (this one, git's, curl's) can read different hosts in it. No message
    repeats the text: it may hold a password.
    """
    scheme, mark, rest = text.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in protocols:
        if _SSH.match(text):
            raise ValueError("must be a URL such as https://host/owner/repository, not an SSH address")
        raise ValueError(f"must start with {' or '.join(f'{name}://' for name in protocols)}")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        raise ValueError("must not hold a user name or password")
    if scheme == "file":
        if authority or not private_hosts or not _FILE_PATH.fullmatch(slash + path):
            raise ValueError("must name a directory of this machine: file:///path")
        return f"file:///{path}"
    found = _AUTHORITY.fullmatch(authority.lower()) if text.isascii() else None
    if found is None:
        raise ValueError("must have a host and a path, both in ASCII")
    _check_host(found[1], private_hosts=private_hosts)
    if found[2] and (found[2].startswith("0") or int(found[2]) > 65535):
        raise ValueError("has a port that does not exist")
    _check_path(slash + path)
    return f"{scheme}://{found[0]}/{path}"


def _check_path(path: str) -> None:
    decoded = unquote(path)
    if not _URL_PATH.fullmatch(path) or not path.strip("/"):
        raise ValueError("must have the repository's path, without query or fragment")
    if _CONTROL.search(decoded) or "\\" in decoded or {".", ".."} & set(decoded.split("/")):
        raise ValueError("must have a path without . and .., backslashes and control characters")


def _check_host(host: str, *, private_hosts: bool) -> None:
    """Check a host; an address has one spelling only, as parsers disagree about 127.1, 0177.1 and 0x7f000001."""
    address: IPv4Address | IPv6Address | None = None
    try:
        if host.startswith("["):
            address = IPv6Address(host[1:-1])
        elif _ENDS_IN_NUMBER.search(host):
            address = IPv4Address(host)
    except ValueError as error:
        raise ValueError("must have a host's name, or an address in its usual form") from error
    if address is None and not (_HOST.fullmatch(host) and len(host) <= MAX_HOST):
        raise ValueError("must have a valid host")
    public = _is_public(address) if address else not _PRIVATE_NAMES.fullmatch(host)
    if not public and not private_hosts:
        raise ValueError("must not name a private, loopback or link-local host")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)
