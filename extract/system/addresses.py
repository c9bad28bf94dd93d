"""Addresses of videos that are not on a local disk: s3://bucket/key and https://host/path.

What is behind them is read in extract/videos/remote.py. Nobody but that module sees the query of an address, which
often holds a signature: messages and stores get the address without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from extract.errors import UsageError

SCHEMES = ("https", "http", "s3")
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)
_WITHOUT_A_SLASH = re.compile(r"(s3|https?):/[^/]", re.IGNORECASE)  # what pathlib makes of an address


@dataclass(frozen=True, repr=False)
class Address:
    """Where a video is. As text it has no query; a lone "?" says that there was one.

    Args:
        url: The whole address, with its query.
    """

    url: str

    def __str__(self) -> str:
        return f"{self._plain}?" if self.has_query else self._plain

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    @property
    def scheme(self) -> str:
        """https, http or s3."""
        return self.url.partition("://")[0].lower()

    @property
    def has_query(self) -> bool:
        """Whether there is, or was, a query; keys of S3 have none."""
        return self.scheme != "s3" and "?" in self.url

    @property
    def clip_id(self) -> str:
        """Host or bucket and path, such as "bucket/hug/a.mp4": the name of a clip in a list."""
        rest = self._plain.partition("://")[2]
        return rest if self.scheme == "s3" else unquote(rest)

    @property
    def name(self) -> str:
        """The last part of the path, such as "a.mp4"."""
        return PurePosixPath(self.clip_id).name

    def is_dir(self) -> bool:
        """False, as for a file: folders of pictures are read from a local disk only."""
        return False

    @property
    def _plain(self) -> str:
        return self.url.partition("?")[0] if self.scheme != "s3" else self.url


def as_address(text: str) -> Address | None:
    """The address in a text; None if it is none, but a path.

    Raises:
        UsageError: It is one that cannot be read, or it holds a password.
    """
    match = _ADDRESS.match(text)
    if match is None:
        if _WITHOUT_A_SLASH.match(text):
            raise UsageError(
                f"{text} has lost a slash after {text.partition('/')[0]}; give an address as text, not as a Path"
            )
        return None
    address, scheme = Address(text), match["scheme"].lower()
    if scheme not in SCHEMES:
        raise UsageError(
            f"{address}: {match['scheme']}:// is not supported, only s3:// and https:// are; copy the videos to a "
            "folder, or mount it, and give that"
        )
    if "@" in match["rest"].partition("/")[0] and scheme != "s3":
        raise UsageError(
            f"{scheme}://...{address.url.rpartition('@')[2].partition('?')[0]}: an address must not hold a name or "
            "password; put them into fsspec's configuration (docs/videos.md)"
        )
    return address
