"""Content types and cache headers."""

import mimetypes

import pytest

from tidegate_builder.content import IMMUTABLE, REVALIDATE, cache_control, content_type, is_text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("index.html", "text/html"),
        ("a/b.JS", "text/javascript"),
        ("x.mjs", "text/javascript"),
        ("style.css", "text/css"),
        ("x.js.map", "application/json"),
        ("site.webmanifest", "application/manifest+json"),
        ("font.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.svg", "image/svg+xml"),
        ("a.avif", "image/avif"),
        ("feed.xml", "application/xml"),
        ("favicon.ico", "image/x-icon"),
        (".well-known/apple-app-site-association", "application/json"),
        ("CNAME", "application/octet-stream"),
        ("x.unheard-of", "application/octet-stream"),
        ("a.doc", "application/msword"),
    ],
)
def test_content_type_goes_by_the_extension(path, expected):
    assert content_type(path) == expected


def test_the_machines_own_table_is_not_asked():
    mimetypes.add_type("text/x-of-this-machine", ".js")
    mimetypes.add_type("text/x-of-this-machine", ".unheard-of")
    try:
        assert content_type("a.js") == "text/javascript"
        assert content_type("a.unheard-of") == "application/octet-stream"
    finally:
        mimetypes.init()


def test_text_needs_a_charset_and_the_rest_does_not():
    assert is_text("text/html")
    assert is_text("text/javascript")
    assert not is_text("application/json")
    assert not is_text("image/svg+xml")


@pytest.mark.parametrize(
    "path",
    [
        "assets/index-DiwrgTD4.js",  # Vite
        "assets/index-CL_X9sGl.js",
        "assets/logo-B-9dwWQf.svg",
        "_astro/anything.css",
        "_app/immutable/entry/app.js",
        "docs/_next/static/abc/_buildManifest.js",
        "_nuxt/entry.js",
        "static/js/main.4f2a9c1b.chunk.js",  # Create React App
        "static/js/main.4f2a9c1b.js.map",
        "main-es2015.0a1b2c3d4e5f60718293.js",  # webpack's contenthash
        "assets/index.md.tFkU3fq-.lean.js",  # VitePress
        "chunk-ABCD2EFG.js",  # esbuild
        "image.9b74c9897bac770ffc029102a200c5de.png",
    ],
)
def test_fingerprinted_files_are_kept_for_ever(path):
    assert cache_control(path) == IMMUTABLE


@pytest.mark.parametrize(
    "path",
    [
        "index.html",
        "assets/index-DiwrgTD4.html",
        "_astro/page.html",
        "app.js",
        "robots.txt",
        "hero-1280x720.jpg",
        "photo-20240115.jpg",
        "report_12345678.pdf",
        "assets/logo-TideGate.svg",
        "page-Overview.js",
        "docs/part-Chapter1.js",
        "jquery-3.7.1.min.js",
        "bootstrap.bundle.min.js",
        "my-favourite-things.css",
        "some-deadbeef.js",
        "part-VERSION2.js",
        "sw.js",
    ],
)
def test_everything_else_is_asked_for_again(path):
    assert cache_control(path) == REVALIDATE
