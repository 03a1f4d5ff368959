from __future__ import annotations

import pytest
from papdeploy.redact import MASK, redact, redact_data

CASES = [
    ("postgresql://pap:s3cr3t@db:5432/x", "s3cr3t"),
    ("postgresql+psycopg2://pap:p%40ss@db/x", "p%40ss"),
    ("connecting password='a b c' host=db", "a b c"),
    ('{"api_key": "k-123456"}', "k-123456"),
    ("PGPASSWORD=hunter2 psql", "hunter2"),
    ("Authorization: Bearer abcdefgh.ijkl", "abcdefgh.ijkl"),
    ("GITHUB_ACCESS_TOKEN=ghp_abc", "ghp_abc"),
]


@pytest.mark.parametrize(("text", "secret"), CASES)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    cleaned = redact(text)
    assert secret not in cleaned
    assert MASK in cleaned


@pytest.mark.parametrize("text", ["3,000 users", "SELECT id FROM tokens", "http://db:5432/x", "password is wrong"])
def test_plain_text_stays(text: str) -> None:
    assert redact(text) == text


def test_a_known_secret_is_masked_in_every_spelling() -> None:
    text = redact_data({"a": ["x p@ss w", "x p%40ss%20w", "x p%40ss+w"]}, ["p@ss w"])
    assert text == {"a": [f"x {MASK}"] * 3}
