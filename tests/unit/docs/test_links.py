"""The pages' links to files lead somewhere."""

import re

import pytest

from tests.places import ROOT

HIDDEN = re.compile(r"(^|/)\.")
PAGES = [
    page for page in sorted(ROOT.rglob("*.md")) if not HIDDEN.search(str(page.relative_to(ROOT)))
]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
