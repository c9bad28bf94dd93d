"""Reads the pages that reports are."""

import html
import re
from html.parser import HTMLParser

from sequence_models.report.page import write_report


def page_of(run):
    return write_report(run).read_text(encoding="utf-8")


def text_of(page):
    """What a reader sees, without tags, style and repeated blanks."""
    body = re.sub(r"<(style|svg|script).*?</\1>", " ", page[page.index("<body>") :], flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


class Tags(HTMLParser):
    """Collects tags, attributes, and whether every element is closed."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
