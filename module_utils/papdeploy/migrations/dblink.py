"""Statements that connect by ``dblink``: the server opens that connection, so no environment reaches it."""

from __future__ import annotations

import re

from ..core import database_url, url_spellings
from ..core.errors import Refused
from ..core.url_spellings import Spelled


def pointed(text: str, live: str, copy: str) -> str:
    """``text`` with every connection string and URL of database ``live`` in it as one of ``copy``, if it uses dblink.

    An address that is put together, or comes as a parameter, is not seen.
    """
    if "dblink" not in text.lower() or live not in text:
        return text
    named = re.compile(rf"(\bdbname\s*=\s*'*){re.escape(live)}(?![\w$-])")

    def of_url(url: Spelled) -> str | None:
        try:
            found = database_url.find(url.plain)
        except Refused:
            return None
        same = found is not None and found.dbname == live
        return url.with_plain(database_url.with_database(url.plain, copy)) if same else None

    return url_spellings.replaced(named.sub(lambda match: match[1] + copy, text), of_url)
