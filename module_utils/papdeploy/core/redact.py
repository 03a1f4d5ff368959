"""Take secrets out of text where it leaves: terminal, journal, report, receipt, notification, exception.

A :class:`Redactor` knows the secrets of a stack and finds each of them in any spelling; what merely looks like a secret
goes as well (``secret_patterns``). It is never applied to what is compared, executed, or stored for that.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable, Optional
from urllib.parse import unquote

from . import secret_patterns
from .database_url import MASK
from .secret_names import harmless_value, names_a_secret, secrets_of, words
from .visible import visible, visible_block

# Under these keys a record holds text for people, much of it from elsewhere. A new text goes under one of them.
TEXTS = words(
    """
    message hint lines why sentence summary note notices reason detail what line said log output stderr traceback
    exception sql statement statements query repair diff sample first_sample last_sample problem problems
    refused cannot_tell outcome msg events downgrade_loses attention instead_of differences drift argv
    live steps cost_sentence closed besides
    """
)
_BLOCKS = words("sql statement statements query repair diff traceback exception log output stderr")

_SHORTEST = 4  # a shorter secret is found in every second word
_SHORTEST_MAYBE = 6
_ANYWHERE = 12  # a secret of letters alone may be a word, and is then part of others
_ENCODED = 10  # a shorter encoding may be a part of anything
_LINE = 16  # of a secret of several lines (a private key) each line so long is one
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
# Before it: no letter or digit, unless that one ends an escape (%40, \n, \u0026, &amp; ends in no letter).
_BEFORE = r"(?:(?<![A-Za-z0-9_])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\x[0-9A-Fa-f]{2}))"
_AFTER = r"(?![A-Za-z0-9_])"
_ESCAPE = r"\\{1,8}"  # a text in a text in a text


class Redactor:
    """Masks what it knows and what looks like a secret. Made once for a stack; it learns the environments of the API as
    they are read. ``secrets`` are believed as they are."""

    def __init__(self, secrets: Iterable[str] = (), *, environment: Optional[Mapping[str, str]] = None) -> None:
        self._known: dict[str, bool] = {}  # a secret, and whether it is found inside words too
        self._patterns: list[tuple[str, re.Pattern[str]]] = []
        self.learn(secrets)
        if environment:
            self.learn_environment(environment)

    def __repr__(self) -> str:
        return f"Redactor({len(self._known)} secrets)"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What it knows. For another process's redactor alone, over a pipe."""
        return tuple(self._known)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these too, from now on."""
        for secret in secrets:
            self._add(secret, sure=True)

    def learn_environment(self, environment: Mapping[str, str], *, inherited: Mapping[str, str] = {}) -> None:
        """Mask every value that is not plainly harmless, too; of what is ``inherited`` (from a shell, a runner of
        pipelines) only what its name or form promises to be a secret."""
        sure, maybe = secrets_of(environment)
        for secret in sure:
            self._add(secret, sure=True)
        for secret in maybe - set(inherited.values()):
            self._add(secret, sure=False)

    def _add(self, secret: str, *, sure: bool) -> None:
        # A key of several lines stands in an environment with the ends of its lines spelled out, as a rule.
        lines = [line.strip() for line in secret.replace("\\n", "\n").splitlines()]
        forms = {
            secret.strip(),
            unquote(secret),
            *(line for line in lines if len(line) >= _LINE and "-----" not in line),
        }
        for form in forms:
            if len(form.strip()) >= (_SHORTEST if sure else _SHORTEST_MAYBE):
                anywhere = sure and (len(form) >= _ANYWHERE or (len(form) >= _SHORTEST_MAYBE and not form.isalpha()))
                if form not in self._known or (anywhere and not self._known[form]):
                    self._known[form] = anywhere
                    self._patterns = []

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        if not self._patterns:
            longest_first = sorted(self._known.items(), key=lambda item: -len(item[0]))
            self._patterns = [(_anchor(secret), _pattern(secret, anywhere)) for secret, anywhere in longest_first]
            self._patterns += [made for secret, sure in longest_first if sure for made in _encoded(secret)]
        for anchor, pattern in self._patterns:
            if anchor in text:
                text = pattern.sub(MASK, text)
        return secret_patterns.masked(text)

    def data(self, value: Any) -> Any:
        """The same for plain data: every text in lists and dictionaries, and whole what a key names as a secret."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self._value(key, item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.data(item) for item in value]
        return value

    def record(self, value: Any) -> Any:
        """The same for a record that programs decide by as well: only its texts are masked (``TEXTS``), never names,
        paths, versions or fingerprints, whatever a password happens to be. Of a URL the password goes everywhere."""
        if isinstance(value, Mapping):
            return {key: self.data(item) if key in TEXTS else self.record(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.record(item) for item in value]
        return secret_patterns.url_masked(value) if isinstance(value, str) else value

    def shown(self, value: Any) -> Any:
        """A record as it leaves for people: masked, and in its texts what would act on a terminal is spelled out."""
        return _spelled_out(self.record(value))

    def shown_error(self, message: str, hint: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """The same for an error, whose data no decision depends on: ``{"msg", "hint", "data"}``."""
        return dict(_spelled_out(self.data({"msg": message, "hint": hint, "data": data}), visible))

    def _value(self, key: Any, item: Any) -> Any:
        hide = isinstance(item, str) and isinstance(key, str) and names_a_secret(key) and not harmless_value(item)
        return MASK if hide else self.data(item)


def _spelled_out(value: Any, change: Callable[[str], str] = str) -> Any:
    """Every text on one line, but for those that have lines (``_BLOCKS``)."""
    if isinstance(value, Mapping):
        how = {key: visible_block if key in _BLOCKS else visible if key in TEXTS else change for key in value}
        return {key: _spelled_out(item, how[key]) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled_out(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _anchor(secret: str) -> str:
    """The longest run of letters and digits: no usual spelling touches it, so a text without it holds no secret."""
    runs: list[str] = re.findall(r"[A-Za-z0-9]+", secret)
    return max(runs, key=len, default="")


def _pattern(secret: str, anywhere: bool) -> re.Pattern[str]:
    """Finds the secret in any spelling: plain, quoted for a URL (all of it or a part, once or twice), JSON, HTML, SQL,
    ``repr``, a connection string, and what SQLAlchemy renders."""
    spelled = "".join(_character(letter) for letter in secret)
    return re.compile(spelled if anywhere else f"{_BEFORE}{spelled}{_AFTER}")


def _encoded(secret: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    """Finds the secret in base64, alone or within a longer text that was encoded (a login of HTTP), and in hex: the
    part that only the secret decides, and the rest of that word."""
    data = secret.encode("utf-8", "surrogatepass")
    for before in range(3):
        first = base64.b64encode(bytes(before) + data).decode()
        whole = first[-(-before * 4 // 3) : (before + len(data)) * 4 // 3]
        for core in {whole, whole.replace("+", "-").replace("/", "_")}:
            if len(core) >= _ENCODED:
                yield core, re.compile(rf"[\w+/-]{{0,99}}{re.escape(core)}[\w+/=-]{{0,99}}", re.ASCII)
    if 2 * len(data) >= _ENCODED:
        yield from ((each, re.compile(each)) for each in (data.hex(), data.hex().upper()))


def _character(letter: str) -> str:
    """One character in every spelling."""
    if letter.isascii() and letter.isalnum():
        return letter
    code = ord(letter)
    encoded = letter.encode("utf-8", "surrogatepass")
    units = letter.encode("utf-16-be", "surrogatepass")
    forms = [
        "".join(f"%(?:25)?(?i:{byte:02x})" for byte in encoded),
        f"&#0*{code};|&#[xX]0*(?i:{code:x});",
        "".join(f"{_ESCAPE}u(?i:{units[at]:02x}{units[at + 1]:02x})" for at in range(0, len(units), 2)),
        f"{_ESCAPE}U(?i:{code:08x})",
        "".join(f"{_ESCAPE}x(?i:{byte:02x})" for byte in encoded),
        "".join(f"{_ESCAPE}{byte:03o}" for byte in encoded),
    ]
    if code < 256:
        forms += [f"{_ESCAPE}x(?i:{code:02x})", f"%(?i:{code:02x})"]
    if letter in _ENTITIES:
        forms.append(f"&(?:amp;)?{_ENTITIES[letter]};")
    if letter.isspace():
        named = {"\n": "n", "\r": "r", "\t": "t"}.get(letter)
        forms += [r"\s+", r"\+", *([_ESCAPE + named] if named else [])]
    if letter == "'":
        forms += ["''", "'\"'\"'"]  # SQL; a shell
    if letter == "\\":
        return f"(?:{'|'.join([*forms, _ESCAPE])})"
    # In a string of a program, a connection string or a shell it may stand behind a backslash, or several.
    return rf"\\{{0,8}}(?:{'|'.join([*forms, re.escape(letter)])})"
