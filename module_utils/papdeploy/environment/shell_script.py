"""A POSIX shell script, read as far as its environment decides it: which variables it sets, which commands it runs.

Nothing is executed. Comparisons of strings, ``case``, loops over known words and functions are followed; what is
behind another condition is uncertain. Three values stand for that everywhere: it runs, it does not, it is not known.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from . import shell_commands
from .shell_commands import Known, both, negated

_STEPS = 2_000
_COMMANDS = 20_000
_CALLS = 20  # of functions in each other
_REFERENCE = re.compile(r"\$(?:(\w+|[@*#?])|\{(\w+|[@*])(?:(:?[-=+?])([^{}]*(?:\$\{[^}]*\}[^{}]*)*))?\})")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_SUBSTITUTION = re.compile(r"\$\(([^()]*(?:\([^()]*\)[^()]*)*)\)|`([^`]*)`")
_DESCRIPTORS = re.compile(r"(?<![\w\"'])\d*>&\d+-?|&>>?\s*[^\s;&|]+")
_DECLARES = {"export", "readonly", "declare", "typeset", "local"}
_SUCCEEDS = {"true", ":", "set", "cd", "shift", "echo", "printf", *_DECLARES}


@dataclass(frozen=True)
class Step:
    """One simple command. ``assignments`` last, ``own`` are for this command alone; ``inside``: the commands whose
    output is a part of it. ``unnamed``: it sets variables whose names only running tells."""

    line: int
    words: tuple[str, ...]
    assignments: tuple[tuple[str, str], ...] = ()
    own: tuple[tuple[str, str], ...] = ()
    certain: bool = True
    inside: tuple[str, ...] = ()
    unnamed: bool = False


@dataclass(frozen=True)
class _Token:
    line: int
    text: str
    operator: bool = False


def steps(
    text: str,
    variables: Mapping[str, str],
    arguments: Sequence[str] = (),
    matching: Callable[[str], Sequence[str]] = lambda pattern: (),
    reading: Callable[[str], Optional[str]] = lambda path: None,
    own_path: str = "",
) -> Iterator[Step]:
    """The commands that run, or could. ``variables`` is read anew for each: whoever takes a step's assignments over
    puts them in there. ``matching`` gives the files of a pattern, ``reading`` the content of one; ``own_path`` is $0.
    """
    script = _Script(text, variables, arguments, matching, reading, own_path)
    for count, step in enumerate(script.run(True, ())):
        if count > _STEPS:
            return
        yield step


class _Script:
    def __init__(
        self,
        text: str,
        variables: Mapping[str, str],
        arguments: Sequence[str],
        matching: Callable[[str], Sequence[str]],
        reading: Callable[[str], Optional[str]],
        own_path: str,
    ) -> None:
        self.inside: list[str] = []
        self.tokens = list(self._tokens(text))
        self.variables, self.arguments, self.matching = variables, arguments, matching
        self.reading, self.own_path = reading, own_path
        self.read: set[str] = set()  # variables that hold what was read from somewhere
        self.functions: dict[str, int] = {}
        self.at = self.depth = 0
        self.left = _COMMANDS
        self.status: Known = True
        self.test = False  # the last command was a test: only that may be taken to have failed
        self.ended = False
        self.unknown = False  # a word was met whose value only running would tell

    # Reading.

    def _tokens(self, text: str) -> Iterator[_Token]:
        held, start, until = "", 0, ""
        for number, line in enumerate(text.splitlines(), 1):
            if until:  # in a here-document
                until = "" if line.strip() == until else until
                continue
            held, start = (held + line, start) if held else (line, number)
            if held.endswith("\\") and not held.endswith("\\\\"):
                held = held[:-1] + " "
                continue
            marked = _SUBSTITUTION.sub(self._mark, _DESCRIPTORS.sub("", held))
            lexer = shlex.shlex(marked, posix=True, punctuation_chars=";&|()")
            lexer.whitespace_split, lexer.commenters = True, "#"
            try:
                words = list(lexer)
            except ValueError:  # a quotation that goes on in the next line
                held += "\n"
                continue
            here = re.search(r"<<-?\s*[\"']?(\w+)", held)
            until, held = here[1] if here else "", ""
            for word in words:
                if word and set(word) <= set(";&|()"):
                    yield from (_Token(start, part, True) for part in re.findall(r";;|&&|\|\||.", word))
                else:
                    yield _Token(start, word)
            yield _Token(start, ";", True)

    def _mark(self, match: re.Match[str]) -> str:
        """One word that stands for what only running would tell."""
        self.inside.append(match[1] or match[2] or "")
        return f"\0{len(self.inside) - 1}\0"

    def _peek(self, ahead: int = 0) -> _Token:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else _Token(0, "", True)

    def _next(self) -> _Token:
        token = self._peek()
        self.at += 1
        return token

    def _skip(self, *words: str) -> None:
        while self.at < len(self.tokens) and (self._peek().text in words or self._peek().text == ";"):
            self.at += 1

    # Following.

    def run(self, runs: Known, until: Collection[str]) -> Iterator[Step]:
        """The commands up to one of the words ``until``, which stays."""
        chain, before = self.status, runs
        while self.at < len(self.tokens) and self.left:
            self.left -= 1
            token = self._peek()
            if token.text in until:
                return
            if token.operator and token.text != "(":
                self.at += 1
                before = runs
                continue
            now = False if self.ended else before
            yield from self._command(now)
            if now is not False:
                chain = self.status
            follows = self._peek()
            if follows.operator and follows.text in ("&&", "||"):
                self.at += 1
                went_well = True if chain is None and not self.test and follows.text == "&&" else chain
                before = both(runs, went_well if follows.text == "&&" else negated(went_well))
            else:
                before = runs

    def _command(self, runs: Known) -> Iterator[Step]:
        word = self._peek().text
        after = self._peek(1)
        if word == "if":
            yield from self._if(runs)
        elif word == "case":
            yield from self._case(runs)
        elif word in ("for", "select"):
            yield from self._for(runs)
        elif word in ("while", "until"):
            self.at += 1
            yield from self.run(both(runs, None), ("do",))
            self._skip("do")
            yield from self.run(both(runs, None), ("done",))
            self.at += 1
        elif word in ("{", "("):
            self.at += 1
            yield from self.run(runs, ("}" if word == "{" else ")",))
            self.at += 1
        elif word == "function" or (after.text == "(" and self._peek(2).text == ")"):
            self.at += word == "function"
            name = self._next().text
            self._skip("(", ")")
            self._skip("{")
            if runs is not False:
                self.functions[name] = self.at
            yield from self.run(False, ("}",))
            self.at += 1
        elif word == "!":
            self.at += 1
            yield from self._command(runs)
            self.status = negated(self.status)
        elif word in ("then", "do", "time", "else"):
            self.at += 1
        else:
            yield from self._simple(runs)

    def _if(self, runs: Known) -> Iterator[Step]:
        left: Known = runs  # whether no branch was taken before
        while self._peek().text in ("if", "elif"):
            self.at += 1
            yield from self.run(left, ("then",))
            state = self.status
            self._skip("then")
            yield from self.run(both(left, state), ("elif", "else", "fi"))
            left = both(left, negated(state))
        if self._peek().text == "else":
            self.at += 1
            yield from self.run(left, ("fi",))
        self.at += 1

    def _case(self, runs: Known) -> Iterator[Step]:
        self.at += 1
        subject = self._known(self._next().text)
        self._skip("in")
        left: Known = runs
        while self.at < len(self.tokens) and self._peek().text != "esac":
            self._skip("(")
            patterns = []
            while self.at < len(self.tokens) and self._peek().text != ")":
                token = self._next()
                patterns += [] if token.operator else [self._known(token.text)]
            self.at += 1
            matched: Known = None
            if subject is not None and None not in patterns:
                matched = any(fnmatch.fnmatchcase(subject, str(pattern)) for pattern in patterns)
            yield from self.run(both(left, matched), (";;", "esac"))
            left = both(left, negated(matched))
            self._skip(";;")
        self.at += 1

    def _for(self, runs: Known) -> Iterator[Step]:
        self.at += 1
        name, words = self._next().text, []
        if self._peek().text == "in":
            self.at += 1
            while not self._peek().operator:
                words.append(self._next().text)
        else:
            words = ["$@"]
        self._skip("do")
        begin, values = self.at, [value for word in words for value in self._matched(word)]
        yield from self.run(False, ("done",))
        end = self.at + 1
        if runs is not False:
            for value in values[:50]:
                yield Step(self._peek().line, (), ((name, value or ""),), (), runs is True and value is not None)
                self.at = begin
                yield from self.run(both(runs, True if value is not None else None), ("done",))
        self.at = end

    def _matched(self, word: str) -> list[Optional[str]]:
        if re.search(r"[*?\[]", word) and word not in ("$*", "$?"):
            known = self._known(word)
            return list(self.matching(known)) if known else [None]
        if word in ("$@", "$*"):
            return list(self.arguments)
        return [self._known(word)]

    def _simple(self, runs: Known) -> Iterator[Step]:
        line, words = self._peek().line, []
        while not self._peek().operator:
            words.append(self._next().text)
        if not words:  # a lone operator
            self.at += 1
            return
        words = shell_commands.without_redirections(words)
        inside = tuple(self.inside[int(number)] for word in words for number in re.findall("\0(\\d+)\0", word))
        self.unknown, self.test = False, bool(words) and words[0] in ("[", "[[", "test")
        if not words or runs is False:
            return
        if self.test:
            found = shell_commands.compared(
                [self._word(word) for word in words[1:] if word not in ("]", "]]")], self.matching
            )
            self.status = None if self.unknown else found
            return
        self.status = True if words[0] in _SUCCEEDS else False if words[0] == "false" else None
        if words[0] in _DECLARES:
            given = [word for word in words[1:] if not word.startswith("-")]
            pairs, unnamed = self._pairs(given), any(map(self._unnamed, given))
            yield Step(line, (), pairs, (), bool(runs and not self.unknown), inside, unnamed)
            return
        if words[0] == "read":
            self.read.update(words[1:])
        number = next((n for n, word in enumerate(words) if not _ASSIGNMENT.fullmatch(word)), len(words))
        own, certain = self._pairs(words[:number]), bool(runs and not self.unknown)
        expanded = tuple(each for word in words[number:] for each in self._words(word))
        if not expanded:
            self.status = True
            yield Step(line, (), own, (), certain, inside)
        elif expanded[0] in self.functions and self.depth < _CALLS:
            yield from self._call(expanded, runs)
        else:
            sure = bool(runs and not self.unknown) if own or expanded[0] in ("cd", "eval") else bool(runs)
            yield Step(line, expanded, (), own, sure, inside, expanded[0] == "eval" and self.unknown)
            leaves = expanded[0] == "exit" or (expanded[0] == "exec" and len(expanded) > 1)
            self.ended = self.ended or (leaves and runs is True)

    def _call(self, words: Sequence[str], runs: Known) -> Iterator[Step]:
        place, arguments = self.at, self.arguments
        self.at, self.arguments, self.depth = self.functions[words[0]], words[1:], self.depth + 1
        yield from self.run(runs, ("}",))
        self.at, self.arguments, self.depth = place, arguments, self.depth - 1

    # Words.

    def _pairs(self, words: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """What the words assign; a name may be put together as well: ``"$(basename "$file")=$(cat "$file")"``."""
        found: list[tuple[str, str]] = []
        for word in words:
            match, before = _ASSIGNMENT.fullmatch(word), self.unknown
            whole = _ASSIGNMENT.fullmatch(self._word(word))
            if match and whole:
                found.append((match[1], whole[2]))
            elif whole and not self._unnamed(word):
                found.append((whole[1], whole[2]))
            else:
                self.unknown = before
        return tuple(found)

    def _unnamed(self, word: str) -> bool:
        """Whether only running tells which variable the word of a declaration is about."""
        before, self.unknown = self.unknown, False
        self._word(word.partition("=")[0])
        unnamed, self.unknown = self.unknown, before
        return unnamed

    def _words(self, word: str) -> list[str]:
        return list(self.arguments) if word in ("$@", "${@}", "$*") else [self._word(word)]

    def _known(self, word: str) -> Optional[str]:
        self.unknown = False
        value = self._word(word)
        return None if self.unknown else value

    def _word(self, word: str) -> str:
        return re.sub("\0(\\d+)\0", self._put_output, _REFERENCE.sub(self._value, word))

    def _put_output(self, match: re.Match[str]) -> str:
        output = self._output(self.inside[int(match[1])])
        self.unknown = self.unknown or output is None
        return "1" if output is None else output

    def _output(self, command: str) -> Optional[str]:
        """What a command prints that only takes words and files apart; None for any other."""
        try:
            words = shlex.split(_SUBSTITUTION.sub(self._mark, shell_commands.plain(command)))
        except ValueError:
            return None
        before, self.unknown = self.unknown, False
        expanded = [each for word in shell_commands.without_redirections(words) for each in self._words(word)]
        unknown, self.unknown = self.unknown, before
        return None if unknown else shell_commands.printed(expanded, self.reading)

    def _value(self, match: re.Match[str]) -> str:
        name, operator, default = match[1] or match[2], match[3] or "", match[4] or ""
        known: Optional[str]
        if name.isdigit():
            number = int(name)
            own = self.own_path or None
            known = own if not number else self.arguments[number - 1] if number <= len(self.arguments) else None
            self.unknown = self.unknown or not (number or own)
        elif name in ("@", "*"):
            known = " ".join(self.arguments)
        elif name in ("#", "?"):
            self.unknown = self.unknown or name == "?"
            known = str(len(self.arguments))
        else:
            known = self.variables.get(name)
            self.unknown = self.unknown or name in self.read
        if operator.endswith("+"):
            return default if known else ""
        if known is None or (not known and operator.startswith(":")):
            return _REFERENCE.sub(self._value, default)
        return known
