"""Shell scripts, read: what certainly runs, what perhaps does, and what does not."""

from __future__ import annotations

import random
import subprocess
import time

import pytest
from papdeploy.environment.shell_script import steps

ENVIRONMENT = {"A": "x", "B": "", "STAGE": "production"}
FILES = {"there": ["there"], "conf/*": ["conf/a", "conf/b"]}
TEXTS = {"there": "text\n"}
# A script, what is certainly set in the end, and what perhaps is (a ? before it).
SCRIPTS: dict[str, tuple[str, str]] = {
    "plain": ("export V=1\nW=2 X='a b'\n", "V=1 W=2 X=a b"),
    "comments and here-documents": ("# export V=1\ncat <<EOF\nexport V=2\nEOF\nV=3 # x\n", "V=3"),
    "defaults": ('V=${A:-1}\nW=${B:-2}\nX=${B-3}\nY="${C:-${A}y}"\nZ=${A:+4}\n', "V=x W=2 X= Y=xy Z=4"),
    "if": ("if [ $A = y ]; then\n V=1\nelif test -n \"$A\" && [ $STAGE != dev ]; then\n V=2\nelse\n V=3\nfi\n", "V=2"),
    "if not known": ("if [ -f nowhere ]; then V=1; else W=1; fi\nif ls; then X=1; fi\n", "?V=1 ?W=1 ?X=1"),
    "a file that is there": ("[ -f there ] && V=1\n[ -f nowhere ] || W=1\n", "V=1 ?W=1"),
    "not": ("if ! [ $A = x ]; then V=1; else V=2; fi\n[ ! -z $A ] && W=1\n", "V=2 W=1"),
    "and, or": ("[ $A = x ] && V=1 || V=2\n[ $A = y ] && W=1 || W=2\n[ a = b -o $A = x ] && X=1\nfalse || Y=1\n",
                "V=1 W=2 X=1 Y=1"),
    "after a command": ("make && V=1\nmake || W=1\nmake >/dev/null 2>&1 ; X=1\n", "V=1 ?W=1 X=1"),
    "case": ("case $STAGE in\n dev|test) V=1 ;;\n prod*) V=2 ;;\n *) V=3 ;;\nesac\ncase $(id) in 0) W=1;; esac\n", "V=2 ?W=1"),
    "for": ("for n in 1 2; do V=$n; done\nfor f in conf/*; do W=$f; done\nfor x in $(ls); do X=1; done\n",
            "n=1 V=1 n=2 V=2 f=conf/a W=conf/a f=conf/b W=conf/b ?x= ?X=1"),
    "while": ("while read line; do V=1; done < there\n", "?V=1"),
    "functions": ("f() {\n V=$1\n}\nfunction g { W=1; }\nh ()\n{ X=1; }\nf 7\nh\n", "V=7 X=1"),
    "a function that calls itself": ("f() { f; f; f; }\nf\nV=1\n", ""),
    "the end": ("V=1\nif [ $A = x ]; then exit 0; fi\nW=1\n", "V=1"),
    "no end": ("[ -f nowhere ] && exit 1\nexec 3>&1\nV=1\n", "V=1"),
    "groups": ("{ V=1; }\n(W=1; X=2)\n[ $A = y ] && { Y=1; Z=2; }\n", "V=1 W=1 X=2"),
    "names and files taken apart": (
        "V=$(basename $A/y.sh .sh)\nW=`dirname /a/b`\nX=$(cat there)\nY=$(cat there nowhere)\nZ=$(echo \"$A\" y)\nU=$(cat there | wc)\n",
        "V=y W=/a X=text ?Y=1 Z=x y ?U=1",
    ),
    "its own place": ("V=$(dirname \"$0\")\nW=$(cd \"$(dirname \"$0\")/..\" && pwd)\n", "V=/app/bin W=/app/bin/.."),
    "names that are put together": (
        "for f in conf/*; do export \"V_$(basename $f)=$f\"; done\nread x\nexport \"$x=1\" W=$x\n",
        "f=conf/a V_a=conf/a f=conf/b V_b=conf/b ?W=",
    ),
    "what only running tells": ("V=$(date)\nW=`id`\nexport X=a$(x)\n", "?V=1 ?W=1 ?X=a1"),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_read_as_the_shell_would(name: str) -> None:
    text, wanted = SCRIPTS[name]
    known = dict(ENVIRONMENT)
    found = []
    for step in steps(text, known, (), lambda pattern: FILES.get(pattern, ()), TEXTS.get, "/app/bin/run"):
        for variable, value in (*step.assignments, *step.own):
            found.append(f"{'' if step.certain else '?'}{variable}={value}")
            if step.certain:
                known[variable] = value
    assert " ".join(found) == wanted


PIECES = [
    "if", "then", "else", "elif", "fi", "for", "in", "do", "done", "while", "case", "esac", ";;", ";", "&&", "||", "\n", "(",
    ")", "{", "}", "f()", "f", "!", "[ $A = x ]", "[ $A = y ]", "export V=1", "W=$A", "exit", "a", "'q r'", "$(x)", "<<E", "E",
    "function", "|", "&", "$@", "x)",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_whatever_a_script_is_it_is_read_to_an_end(seed: int) -> None:
    source = random.Random(seed)
    began = time.monotonic()
    for _ in range(100):
        list(steps(" ".join(source.choices(PIECES, k=source.randint(1, 60))), {"A": "x"}, ["one"]))
    assert time.monotonic() - began < 20


BLOCKS = [
    "if [ $A = {v} ]; then\n{0}\nelse\n{1}\nfi", "[ $A = {v} ] && {{ {0}\n}}", "[ $A = {v} ] || {{ {0}\n}}",
    "case $A in {v}|z) {0}\n;; *) {1}\n;; esac", "for x in 1 2; do\n{0}\ndone", "f{n}() {{\n{0}\n}}\n{1}\nf{n}",
    "if [ $A != {v} ] && [ -n \"$B\" ]; then\n{0}\nfi", "{0}\n{1}", "if ! test $A = {v}; then\n{0}\nelif [ -z \"$C\" ]; then\n{1}\nfi",
]  # fmt: skip


def made(source: random.Random, depth: int = 0) -> str:
    if depth > 3 or source.random() < 0.25:
        return f"export {source.choice('VWXYZ')}={source.randint(1, 9)}"
    return source.choice(BLOCKS).format(
        made(source, depth + 1), made(source, depth + 1), v=source.choice("xy"), n=source.randint(1, 9)
    )


@pytest.mark.parametrize("seed", range(25))
def test_it_ends_as_the_shell_itself_does(seed: int) -> None:
    """Scripts of a generator whose conditions are all decided, against the shell."""
    text = made(random.Random(seed))
    known = {"A": "x", "B": "1"}
    for step in steps(text, known):
        assert step.certain
        known.update({**dict(step.assignments), **dict(step.own)})
    shown = "\n" + "\n".join(f'echo "{name}=${name}"' for name in "VWXYZ")
    run = subprocess.run(
        ["sh", "-c", text + shown], env={"A": "x", "B": "1", "PATH": "/bin:/usr/bin"}, capture_output=True, text=True
    )
    assert run.stdout.split() == [f"{name}={known.get(name, '')}" for name in "VWXYZ"], (text, run.stderr)
