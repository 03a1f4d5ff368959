"""Text of databases in every encoding that a server can have, without loss.

Sessions of ours ask for no conversion (client_encoding SQL_ASCII): PostgreSQL cannot convert everything that it stores
to UTF-8 (SQL_ASCII holds any bytes, MULE_INTERNAL and some characters have no equivalent). What comes is read by the
database's own encoding; bytes that are not a character of it become lone surrogates, and are written back as they were.
"""

from __future__ import annotations

_CODECS = {
    "UTF8": "utf-8",
    "EUC_JP": "euc_jp",
    "EUC_CN": "gb2312",
    "EUC_KR": "euc_kr",
    "EUC_JIS_2004": "euc_jis_2004",
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
    **{f"LATIN{number}": f"iso8859-{part}" for number, part in zip(range(1, 11), (1, 2, 3, 4, 9, 10, 13, 14, 15, 16))},
    **{f"ISO_8859_{part}": f"iso8859-{part}" for part in (5, 6, 7, 8)},
    **{f"WIN{page}": f"cp{page}" for page in (866, 874, *range(1250, 1259))},
}


def codec(server_encoding: str) -> str:
    """Python's codec for what a database with that encoding sends. Those without one (SQL_ASCII, EUC_TW,
    MULE_INTERNAL) are mostly UTF-8 in fact, or ASCII; a byte that is not stays as it is."""
    return _CODECS.get(server_encoding, "utf-8")


def decoded(data: bytes, name: str) -> str:
    """Text of ``data``. Where the codec would not give the same bytes back, every byte above ASCII stays a byte."""
    text = data.decode(name, "surrogateescape")
    if name == "utf-8" or text.encode(name, "surrogateescape") == data:
        return text
    return data.decode("ascii", "surrogateescape")


def encoded(text: str, name: str) -> bytes:
    """The bytes of ``text`` in the database's encoding; a character that it does not have goes as UTF-8, and the server
    refuses it."""
    try:
        return text.encode(name, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
