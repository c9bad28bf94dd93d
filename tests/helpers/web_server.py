"""A small web server for the tests, which also answers what s3fs asks of S3; it can be told to misbehave."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class Behaviour:
    """What a server does.

    Args:
        has_ranges: Whether it gives parts of files.
        has_etags, has_times: Whether it names ETags and times.
        break_after: Close each connection after so many bytes of a file; None for never.
        dies_after: Answer nothing but 503 once so many bytes were sent in all; None for never.
        failures: How many of the next requests to answer with 503.
        token: A query without which it answers 403; "" if everyone may read.
        asked: The requests so far: method, path with query, Range.
    """

    has_ranges: bool = True
    has_etags: bool = True
    has_times: bool = True
    break_after: int | None = None
    dies_after: int | None = None
    failures: int = 0
    token: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    sent: int = 0


@contextmanager
def web_server(folder: Path, behaviour: Behaviour | None = None) -> Iterator[str]:
    """Serves the files below a folder at the address that it yields, such as "http://127.0.0.1:4711"."""
    does = behaviour or Behaviour()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(is_head=True)

        def do_GET(self) -> None:
            self._answer(is_head=False)

        def _answer(self, *, is_head: bool) -> None:
            address, wanted = urlsplit(self.path), self.headers.get("Range", "")
            does.asked.append((self.command, self.path, wanted))
            path, query = folder / unquote(address.path).lstrip("/"), parse_qs(address.query)
            if does.failures > 0 or (does.dies_after is not None and does.sent >= does.dies_after):
                does.failures -= 1
                return self._send(503, b"", is_head=is_head)
            if does.token and address.query != does.token:
                return self._send(403, b"", is_head=is_head)
            if "list-type" in query:
                return self._send(200, listing(folder, path.name, query), is_head=is_head)
            if path.is_dir() and path.parent == folder and is_head:  # a bucket
                return self._send(200, b"", is_head=is_head)
            if not path.is_file():
                return self._send(404, b"", is_head=is_head)
            content, headers = path.read_bytes(), self._headers_of(path)
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
            if not span or not does.has_ranges:
                return self._send(200, content, headers, is_head=is_head)
            first, last = int(span[1]), min(int(span[2]), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self._send(206, content[first : last + 1], headers, is_head=is_head)

        def _headers_of(self, path: Path) -> dict[str, str]:
            headers = {"Accept-Ranges": "bytes"} if does.has_ranges else {}
            headers |= {"ETag": etag(path)} if does.has_etags else {}
            changed = formatdate(path.stat().st_mtime, usegmt=True)
            return headers | ({"Last-Modified": changed} if does.has_times else {})

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, is_head: bool) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if is_head:
                return
            short = does.break_after is not None and len(body) > does.break_after
            self.wfile.write(body[: does.break_after] if short else body)
            does.sent += len(body)
            self.close_connection = self.close_connection or short

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client has seen enough
                super().handle()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def etag(path: Path) -> str:
    """The hash of a file, in quotes, as S3 gives it."""
    return f'"{hashlib.md5(path.read_bytes()).hexdigest()}"'


def listing(folder: Path, bucket: str, query: dict[str, list[str]]) -> bytes:
    """What S3 answers to ListObjectsV2, in one page."""
    prefix, delimiter = (query.get(name, [""])[0] for name in ("prefix", "delimiter"))
    files = sorted(path for path in (folder / bucket).rglob("*") if path.is_file())
    keys = {path.relative_to(folder / bucket).as_posix(): path for path in files}
    keys = {key: path for key, path in keys.items() if key.startswith(prefix)}
    rest = {key: key[len(prefix) :] for key in keys}
    below = {prefix + rest[key].split("/")[0] + "/" for key in keys if delimiter and "/" in rest[key]}
    here = [key for key in keys if not (delimiter and "/" in rest[key])]
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{keys[key].stat().st_size}</Size><ETag>{etag(keys[key])}</ETag>"
        f"<LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>"
        for key in here
    )
    prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(below))
    return (
        f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated>"
        f"<KeyCount>{len(here) + len(below)}</KeyCount>{contents}{prefixes}</ListBucketResult>"
    ).encode()
