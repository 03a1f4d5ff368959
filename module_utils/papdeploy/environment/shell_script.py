"""A POSIX shell script, read as far as its environment decides it: which variables it sets, which commands it runs.

Nothing is executed. Conditions that compare strings are decided; behind all others a step is uncertain.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

_STEPS = 2_000
_OPERATORS = {";", ";;", "&&", "||", "|", "&", "(", ")"}
_REFERENCE = re.compile(r"\$(?:(\w+|[@*#?])|\{(\w+|[@*])(?:(:?[-=+?])([^}]*))?\})")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_DECLARES = {"export", "readonly", "declare", "typeset", "local"}


@dataclass(frozen=True)
class Step:
    """One simple command. ``assignments`` last, ``own`` are for this command alone."""

    line: int
    words: tuple[str, ...]
    assignments: tuple[tuple[str, str], ...] = ()
    own: tuple[tuple[str, str], ...] = ()
    certain: bool = True


def steps(text: str, variables: Mapping[str, str], arguments: Sequence[str] = ()) -> Iterator[Step]:
    """The commands that run, or could. ``variables`` is read anew for each: whoever takes a step's assignments over
    puts them in there."""
    return _Script(variables, arguments).run(text)


class _Script:
    def __init__(self, variables: Mapping[str, str], arguments: Sequence[str]) -> None:
        self.variables, self.arguments = variables, arguments
        self.blocks: list[Optional[bool]] = []  # of each open block: whether it runs; None where that is not known
        self.taken: list[Optional[bool]] = []  # of each open "if": whether a branch of it ran already
        self.unknown = False  # a word was met whose value only running would tell
        self.condition = False  # between "if" and "then"
        self.function = False  # its body opens next
        self.before: Optional[bool] = True  # whether && and || let the next command run
        self.status: Optional[bool] = True  # whether the last command succeeded

    def run(self, text: str) -> Iterator[Step]:
        for count, (line, tokens) in enumerate(_lines(text)):
            if count > _STEPS:
                return
            self.before = True
            word: list[str] = []
            operator = ";"
            for token in [*tokens, ";"]:
                if token not in _OPERATORS:
                    word.append(token)
                    continue
                result: Optional[bool] = None
                if word:
                    step = self._command(line, word)
                    result = self._result(word)
                    if self.condition and operator in ("&&", "||"):
                        self._combine(operator, result)
                    if step:
                        yield step
                    if result is None and token == "&&" and not any(map(_is_test, word)):
                        result = True  # what is no test is taken to succeed
                    self._went_on(token, result)
                word, operator = [], token

    def _went_on(self, operator: str, result: Optional[bool]) -> None:
        """After a command: whether ``&&`` or ``||`` lets the next one run. One that was left out changes nothing."""
        if self.before is not False:
            self.status = result if self.before else None
        opposite = None if self.status is None else not self.status
        self.before = self.status if operator == "&&" else opposite if operator == "||" else True

    def _combine(self, operator: str, result: Optional[bool]) -> None:
        """A condition of several commands: ``[ a = b ] && [ c = d ]``."""
        settled = operator == "||"  # the value that decides the whole by itself
        state = self.blocks[-1]
        combined = settled if settled in (state, result) else (None if None in (state, result) else not settled)
        self.blocks[-1] = self.taken[-1] = combined

    def _runs(self) -> Optional[bool]:
        if any(state is False for state in self.blocks):
            return False
        return None if any(state is None for state in self.blocks) else True

    def _command(self, line: int, words: list[str]) -> Optional[Step]:
        words = list(words)
        while words and self._keyword(words):
            words.pop(0)
        runs = self._runs()
        if not words or runs is False or self.before is False or _is_test(words[0]):
            return None
        self.unknown = False
        if words[0] in _DECLARES:
            pairs = tuple(m.groups() for m in map(_ASSIGNMENT.fullmatch, words[1:]) if m)
            assignments = tuple((str(name), self._word(str(value))) for name, value in pairs)
            return Step(line, (), assignments, (), bool(runs and self.before and not self.unknown))
        own = []
        while words and (match := _ASSIGNMENT.fullmatch(words[0])):
            own.append((match[1], self._word(match[2])))
            words.pop(0)
        certain = bool(runs and self.before and not self.unknown)
        expanded = tuple(each for word in words for each in self._words(word))
        if not words:
            return Step(line, (), tuple(own), (), certain)
        return Step(line, expanded, (), tuple(own), certain)

    def _keyword(self, words: list[str]) -> bool:
        """Whether the first word is one of the shell's grammar; notes what it opens or closes."""
        word, rest = words[0], words[1:]
        if word == "if":
            state = self._result(rest)
            self.blocks.append(state)
            self.taken.append(state)
            self.condition = True
            del words[1:]
        elif word == "elif" and self.taken:
            taken, state = self.taken[-1], self._result(rest)
            self.blocks[-1] = False if taken or state is False else (state if taken is False else None)
            self.taken[-1] = True if taken or state else (None if None in (taken, state) else False)
            self.condition = True
            del words[1:]
        elif word == "else" and self.taken:
            self.blocks[-1] = None if self.taken[-1] is None else not self.taken[-1]
        elif word == "fi" and self.taken:
            self.taken.pop()
            self.blocks.pop()
        elif word in ("case", "while", "until", "for", "select"):
            self.blocks.append(None)
            if word in ("case", "for", "select"):
                del words[1:]
        elif word.endswith("()"):
            self.function = True
        elif word == "{":
            self.blocks.append(None if self.function else self.before)
            self.function = False
        elif word in ("done", "}", "esac") and self.blocks:
            self.blocks.pop()
        elif word in ("then", "do", "!", "time", "function"):
            self.condition = self.condition and word != "then"
        else:
            return False
        return True

    def _result(self, words: Sequence[str]) -> Optional[bool]:
        """Whether a command succeeds, where its words and the variables decide it."""
        words = [word for word in words if word not in ("if", "elif", "then", "else", "do")]
        negated = bool(words) and words[0] == "!"
        words = words[1:] if negated else words
        if not words:
            return None
        if words[0] in ("true", ":", "export", "set"):
            return not negated
        if not _is_test(words[0]):
            return negated if words[0] == "false" else None
        self.unknown = False
        inside = [self._word(word) for word in words[1:] if word not in ("]", "]]")]
        found = None if self.unknown else _compared(inside)
        return None if found is None else found is not negated

    def _words(self, word: str) -> list[str]:
        if word in ("$@", "${@}", "$*"):
            return list(self.arguments)
        return [self._word(word)]

    def _word(self, word: str) -> str:
        if "$(" in word or "`" in word or "\0" in word:
            self.unknown = True
            return word.replace("\0", "1")
        return _REFERENCE.sub(self._value, word)

    def _value(self, match: re.Match[str]) -> str:
        name, operator, default = match[1] or match[2], match[3] or "", match[4] or ""
        if name.isdigit():
            number = int(name)
            known = self.arguments[number - 1] if 0 < number <= len(self.arguments) else None
        elif name in ("@", "*"):
            known = " ".join(self.arguments)
        elif name in ("#", "?"):
            self.unknown = name == "?"
            known = str(len(self.arguments))
        else:
            known = self.variables.get(name)
        if operator.endswith("+"):
            return default if known else ""
        if known is None or (not known and operator.startswith(":")):
            return _REFERENCE.sub(self._value, default)
        return known


def _is_test(word: str) -> bool:
    return word in ("[", "[[", "test")


def _compared(words: Sequence[str]) -> Optional[bool]:
    if len(words) == 3 and words[1] in ("=", "==", "!="):
        return (words[0] == words[2]) is (words[1] != "!=")
    if len(words) == 2 and words[0] in ("-n", "-z"):
        return bool(words[1]) is (words[0] == "-n")
    return None


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and tokens of each logical line; the bodies of here-documents are left out."""
    held, start, until = "", 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if until:
            until = "" if line.strip() == until else until
            continue
        held, start = (held + line, start) if held else (line, number)
        if held.endswith("\\") and not held.endswith("\\\\"):
            held = held[:-1] + " "
            continue
        lexer = shlex.shlex(_marked(held), posix=True, punctuation_chars=";&|()")
        lexer.whitespace_split, lexer.commenters = True, "#"
        try:
            tokens = list(lexer)
        except ValueError:  # a quotation that goes on in the next line
            held += "\n"
            continue
        here = re.search(r"<<-?\s*[\"']?(\w+)", held)
        until = here[1] if here else ""
        held = ""
        yield start, _joined(tokens)


def _marked(line: str) -> str:
    """The line with every ``$(…)`` as one character that stands for what only running would tell."""
    return re.sub(r"\$\([^()]*(?:\([^()]*\)[^()]*)*\)|`[^`]*`", "\0", line)


def _joined(tokens: Sequence[str]) -> list[str]:
    """Operators as the shell reads them, and ``name ( )`` as one word."""
    found: list[str] = []
    for token in tokens:
        if token and set(token) <= set(";&|()"):
            if token.startswith("()") and found:
                found[-1] += "()"
                token = token[2:]
            found += re.findall(r";;|&&|\|\||.", token)
        else:
            found.append(token)
    return found
