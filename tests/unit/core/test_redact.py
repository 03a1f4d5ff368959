"""Secrets are masked in every spelling; SQL that only names secrets comes through as it is."""

from __future__ import annotations

import base64
import html
import json
import random
import shlex
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from papdeploy.core.redact import MASK, Redactor
from papdeploy.core.secret_names import names_a_secret
from sqlalchemy.engine import URL

CASES: dict[str, Any] = json.loads((Path(__file__).parents[2] / "corpus" / "redaction.json").read_text())
PLAIN = Redactor()

# Texts of our own and of others that name secrets and hold none.
KEPT = [
    *CASES["kept"],
    "3,000 users", "SELECT id FROM tokens", "http://db:5432/x", "http://h:8000/users/a@b.org", "password is wrong",
    "CHECK (token='x')",
    "ALTER TABLE t ADD CONSTRAINT c CHECK ((secret = 'a1b2c3d4'::text))",
    "COMMENT ON COLUMN t.c IS 'the secret: hashed by argon2'",
    "COMMENT ON COLUMN t.c IS 'password: hunter2x, as in the docs'",
    "COMMENT ON ROLE x IS 'change the password ''monthly'' please'",
    "CREATE FUNCTION f() RETURNS text AS $$ SELECT 'host=h password=' || pw || ' dbname=d' $$",
    "ALTER ROLE app SET password_encryption = 'scram-sha-256'",
    "-- the token of a session\nALTER TABLE s ALTER COLUMN token SET DEFAULT 'a1b2c3'::text",
    "CREATE POLICY p ON t USING ((token = current_setting('app.token'::text)))",
    "authorization: see the docs", "cookie: yes", "token: missing", "bearer tokens", "KeyError: 'who'", "Basic authentication",
    "max_tokens=4096 finish", "primary_key=policies", "cache_key=user:3", "password_min_length=12", "secret=None",
    "password=%s", "password={password}", "token=<redacted>", "api_key: str = Field(...)",
    "def login(password: str, token: Optional[str] = None):", "sslmode=require sslkey=/etc/ssl/key.pem",
    "login in 80 ms, wrong password refused, 6 endpoints: no regressions",
]  # fmt: skip

# Texts, and what must not be visible of them.
HIDDEN = [
    *((case["text"], case["secret"]) for case in CASES["hidden"]),
    ("postgresql://u:p@ss@h/db", "p@ss"),
    ("redis://:hunter2@h:6379/0", "hunter2"),
    ("'postgresql://u:pa ss@h/db'", "pa ss"),
    ('"mysql://u:pa\'ss@h/db"', "pa'ss"),
    ("amqps://u:x?y#z@h/", "x?y#z"),
    ("https://u:hunter2@h/x", "hunter2"),
    ("https://x/?access_token=abcd&b=1", "abcd"),
    ("connecting password='a b c' host=db", "a b c"),
    ("password = hunter2 host = h", "hunter2"),
    ("connect(host='h', password='hunter2', port=1)", "hunter2"),
    ('psycopg.connect("host=h password=hunter2")', "hunter2"),
    ('{\\"password\\": \\"hunter2\\"}', "hunter2"),
    ("{'db': {'passwd': 'a b'}}", "a b"),
    ("{'password': 'it\\'s hunter2', 'b': 1}", "hunter2"),
    ('{"api_key": "k-123456"}', "k-123456"),
    ("GITHUB_ACCESS_TOKEN=ghp_abc", "ghp_abc"),
    ("export STRIPE_KEY=sk_x", "sk_x"),
    ("SECRET_KEY = 'hunter2'", "hunter2"),
    ("token: abc123def", "abc123def"),
    ("X-Api-Key: k9f8s7", "k9f8s7"),
    ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("Cookie: sid=abc; x=y", "abc"),
    ("CREATE SUBSCRIPTION s CONNECTION 'host=h password=''hun ter2''' PUBLICATION p", "hun ter2"),
    ("CREATE SUBSCRIPTION s CONNECTION 'postgresql://u:hunter2@h/db' PUBLICATION p", "hunter2"),
    ("ALTER ROLE a WITH PASSWORD E'hun\\'ter2' LOGIN", "ter2"),
    ("alter user a password $$hunter2$$", "hunter2"),
    ("DO $do$ BEGIN CREATE ROLE a PASSWORD 'hunter2'; END $do$", "hunter2"),
    ("ALTER SERVER s OPTIONS (SET password 'hunter2', ADD x 'y')", "hunter2"),
    ("CREATE USER MAPPING FOR a SERVER s OPTIONS (\"password\" 'hun''ter2')", "hun''ter2"),
    ("ALTER ROLE a SET app.jwt_secret TO 'hunter2'", "hunter2"),
    ("UPDATE users SET x = 'a', password = 'hunter2' WHERE id = 1", "hunter2"),
    ("SELECT dblink_connect('host=h password=hunter2')", "hunter2"),
    ("refused: ALTER ROLE app PASSWORD 'hunter2'", "hunter2"),
    ("md5" + "0123456789abcdef" * 2, "0123456789abcdef"),
    ("-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----", "abc\ndef"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl is a token", "eyJzdWIiOiIxIn0"),
]


@pytest.mark.parametrize("text", KEPT)
def test_a_text_that_holds_no_secret_stays(text: str) -> None:
    assert PLAIN.text(text) == text


@pytest.mark.parametrize(("text", "secret"), HIDDEN)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    masked = PLAIN.text(text)
    assert secret not in masked
    assert MASK in masked
    assert PLAIN.text(masked) == masked


def test_only_the_literal_of_a_statement_goes() -> None:
    for text, expected in [
        ("ALTER ROLE app PASSWORD 'hunter2' LOGIN", f"ALTER ROLE app PASSWORD '{MASK}' LOGIN"),
        ("ALTER ROLE app PASSWORD E'a\\'b' LOGIN", f"ALTER ROLE app PASSWORD E'{MASK}' LOGIN"),
        (
            "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'x', password 'hunter2')",
            f"CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'x', password '{MASK}')",
        ),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=h password=hunter2 dbname=d' PUBLICATION p",
            f"CREATE SUBSCRIPTION s CONNECTION 'host=h password={MASK} dbname=d' PUBLICATION p",
        ),
        ("postgresql://u:hunter2@h/db and more", f"postgresql://u:{MASK}@h/db and more"),
        ('{"a": {"password": "x y", "n": 1}}', f'{{"a": {{"password": "{MASK}", "n": 1}}}}'),
    ]:
        assert PLAIN.text(text) == expected


def sqlalchemy_renders(secret: str) -> str:
    return URL.create("postgresql", "u", secret, "h", 5432, "db").render_as_string(hide_password=False)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "quote": quote,
    "quote all": lambda s: quote(s, safe=""),
    "quote plus": quote_plus,
    "quote small": lambda s: "".join(c if c.isalnum() else "".join(f"%{b:02x}" for b in c.encode()) for c in s),
    "quote twice": lambda s: quote(quote(s, safe=""), safe=""),
    "json": lambda s: json.dumps(s)[1:-1],
    "json utf-8": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "json in json": lambda s: json.dumps(json.dumps(s))[1:-1],
    "json for a script": lambda s: json.dumps(s)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c"),
    "html": html.escape,
    "html without quotes": lambda s: html.escape(s, quote=False),
    "html of json": lambda s: html.escape(json.dumps(s)),
    "xml": lambda s: html.escape(s, quote=False).replace("'", "&apos;").replace('"', "&quot;"),
    "repr": repr,
    "ascii": ascii,
    "repr of bytes": lambda s: repr(s.encode()),
    "sql": lambda s: s.replace("'", "''"),
    "connection string": lambda s: s.replace("\\", "\\\\").replace("'", "\\'"),
    "shell": shlex.quote,
    "sqlalchemy": sqlalchemy_renders,
}
ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda data: base64.b64encode(data).decode(),
    "base64 for a URL": lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
    "hex": bytes.hex,
    "hex in capitals": lambda data: data.hex().upper(),
}
ODD = string.punctuation + " äß€😀"


def some_secrets(number: int) -> list[str]:
    made = random.Random(20260)
    fixed = [
        'p@ss"w/rd %',
        "p@ss w",
        "pa/ss#?[x]",
        "correct horse",
        "zu\\geheim\\n",
        "'; DROP",
        "%41%42ab",
        string.printable[:94],
    ]
    letters = string.ascii_letters + string.digits
    return fixed + [
        "".join(made.choice(letters if made.random() < 0.6 else ODD) for _ in range(made.randint(6, 30))).strip() + "x9"
        for _ in range(number)
    ]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_known_secret_goes_encoded(encoding: str) -> None:
    """Alone, and within a longer text: the login of HTTP, a document."""
    for secret in (each for each in some_secrets(40) if len(each.encode()) > 9):
        for before, after in (("", ""), ("u:", ""), ("me:", ""), ("user:", "\n"), ('{"password": "', '"}')):
            encoded = ENCODINGS[encoding](f"{before}{secret}{after}".encode())
            masked = Redactor([secret]).text(f"Authorization said {encoded}.")
            assert MASK in masked and encoded[4:-4] not in masked, (secret, before, masked)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_known_secret_goes_in_every_spelling(spelling: str) -> None:
    for secret in some_secrets(60):
        spelled = SPELLINGS[spelling](secret)
        for text in (spelled, f"before {spelled} after", f'x="{spelled}";', f"https://h/{spelled}/z"):
            masked = Redactor([secret]).text(text)
            assert MASK in masked, (secret, text)
            assert secret not in masked
            assert spelled.strip("'\"") not in masked, (secret, text)


@pytest.mark.parametrize("case", CASES["known"])
def test_the_known_ones_of_the_table(case: dict[str, Any]) -> None:
    for text in case["texts"]:
        assert Redactor([case["secret"]]).text(f"a {text} b") == f"a {MASK} b"


def test_a_known_secret_of_several_lines_goes_line_by_line() -> None:
    body = base64.b64encode(bytes(range(96))).decode()
    key = f"-----BEGIN PRIVATE KEY-----\n{body[:64]}\n{body[64:]}\n-----END PRIVATE KEY-----"
    redactor = Redactor(environment={"JWT_PRIVATE": key})
    for text in (key, key.replace("\n", "\\n"), " ".join(key.split()), f"  {body[:64]}", f"…\n{body[64:]}\n-----END"):
        masked = redactor.text(text)
        assert body[:64] not in masked
        assert body[64:] not in masked


def test_a_secret_that_is_a_word_goes_as_a_word() -> None:
    redactor = Redactor(["postgres", "app1"])
    assert redactor.text("postgresql://h/db on app12") == "postgresql://h/db on app12"
    assert redactor.text("by postgres, postgres%40app1\\npostgres") == f"by {MASK}, {MASK}%40{MASK}\\n{MASK}"


WORDS = [
    "token",
    "tokens",
    "secret",
    "password",
    "api_key",
    "credential",
    "auth",
    "user",
    "bearer",
    "private_key",
    "id",
]
TEXTS = [
    "bearer",
    "secret: see docs",
    "password",
    "it''s a token",
    "key:value",
    "",
    "a@b.org",
    "Basic",
    "x=y",
    "MD5",
    "%",
    "{}",
]
TYPES = ["text", "character varying(64)", "jsonb", "uuid", "timestamp with time zone", "bytea"]


def random_sql(made: random.Random) -> str:
    def name() -> str:
        parts = "_".join(made.sample(WORDS, made.randint(1, 3)))
        return f'"{parts.title()} {made.randint(1, 9)}"' if made.random() < 0.2 else parts

    def literal() -> str:
        return f"'{made.choice(TEXTS)}'" + made.choice(["", "::text", "::character varying"])

    def condition() -> str:
        return made.choice([
            f"({name()} {made.choice(['=', '<>', '~', '!~~', '>='])} {literal()})",
            f"({name()} = ANY (ARRAY[{literal()}, {literal()}]))",
            f"(({name()} IS NOT NULL) AND (length({name()}) > {made.randint(1, 99)}))",
            f"(({name()} ->> {literal()}) = {literal()})",
        ])  # fmt: skip

    statements: list[Callable[[], str]] = [
        lambda: f"CREATE TABLE public.{name()} ({name()} {made.choice(TYPES)} DEFAULT {literal()} NOT NULL, CHECK {condition()})",
        lambda: f"ALTER TABLE {name()} ADD COLUMN {name()} {made.choice(TYPES)} DEFAULT {literal()}",
        lambda: f"ALTER TABLE ONLY {name()} ADD CONSTRAINT {name()} CHECK ({condition()}) NOT VALID",
        lambda: f"ALTER TABLE {name()} ALTER COLUMN id SET DEFAULT nextval('public.{made.choice(WORDS)}_id_seq'::regclass)",
        lambda: f"COMMENT ON COLUMN {name()}.{name()} IS {literal().partition('::')[0]}",
        lambda: f"CREATE INDEX {name()} ON public.{name()} USING btree ({name()}, {name()}) WHERE {condition()}",
        lambda: f"CREATE POLICY {name()} ON {name()} USING ({condition()}) WITH CHECK ({condition()})",
        lambda: f"CREATE TYPE {name()} AS ENUM ({literal().partition('::')[0]}, {literal().partition('::')[0]})",
        lambda: f"CREATE VIEW {name()} AS\n SELECT {name()}.{name()}\n   FROM {name()}\n  WHERE {condition()}",
        lambda: f"GRANT SELECT ({name()}), UPDATE ON {name()} TO {name()}",
        lambda: f"CREATE FUNCTION {name()}() RETURNS trigger AS $body$\nBEGIN\n  NEW.{name()} := {literal()};\n  RETURN NEW;\nEND\n$body$",
        lambda: f"CHECK ({condition()})",
        lambda: f"DEFAULT {literal()}",
        lambda: f"INSERT INTO {name()} ({name()}, {name()}) VALUES ({literal()}, {literal()})",
        lambda: f"SELECT {name()} FROM {name()} WHERE {condition()} ORDER BY {name()}",
        lambda: f"FOREIGN KEY ({name()}) REFERENCES {name()}({name()}) ON DELETE CASCADE",
    ]  # fmt: skip
    return made.choice(statements)()


def test_sql_of_random_catalogs_comes_through_and_a_secret_in_it_does_not() -> None:
    made = random.Random(4711)
    secrets = some_secrets(20)
    redactor = Redactor(secrets)
    spellings = [SPELLINGS[name] for name in ("plain", "sql", "quote all", "json")]
    for _ in range(3000):
        sql = random_sql(made)
        assert redactor.text(sql) == sql
        at = made.choice([place for place, letter in enumerate(sql) if letter == " "])
        secret, spell = made.choice(secrets), made.choice(spellings)
        masked = redactor.text(f"{sql[:at]} {spell(secret)} {sql[at:]}")
        assert spell(secret) not in masked
        assert masked == f"{sql[:at]} {MASK} {sql[at:]}"


SECRET_VALUES = [
    ("STRIPE_KEY", "sk_live_51Habc", "sk_live_51Habc"),
    ("SMTP_PASS", "correcthorse", "correcthorse"),
    ("JWT_PRIVATE", "abcdefghij", "abcdefghij"),
    ("SENTRY_DSN", "https://abcdef0123@o1.ingest.example/55", "abcdef0123"),
    ("SLACK_WEBHOOK_URL", "https://hooks.example/services/T0/B0/XXXX", "https://hooks.example/services/T0/B0/XXXX"),
    ("HOOK", "https://hooks.example/services/T00AB/B00/Xy12Zab34Cd5", "Xy12Zab34Cd5"),
    ("CALLBACK", "https://x.example/?api_key=abc123&b=1", "abc123"),
    ("DATABASE_URL", "postgresql+psycopg2://u:p%40ss@h:5432/db", "p@ss"),
    ("DATABASE_URL", "postgresql://u:pa/ss#x@h:5432/db", "pa/ss#x"),
    ("BROKER", "redis://:hunter2@h/0", "hunter2"),
    ("REPLICA", "host=h user=u password='hun ter2' dbname=d", "hun ter2"),
    ("ADMIN_PASSWORD", "12345678", "12345678"),
    ("API_KEYS", "first-key-1,second-key-2", "second-key-2"),
    ("GCP", '{"private_key_id": "x", "private_key": "MIIabcabc/abc+abc", "n": 1}', "MIIabcabc/abc+abc"),
    ("ANYTHING", "Zx9!kq", "Zx9!kq"),
    ("ANYTHING", "hunter2", "hunter2"),
]
HARMLESS_VALUES = [
    ("PORT", "8000"), ("DEBUG", "false"), ("RATIO", "0.25"), ("TIMEOUT", "30s"), ("LOG_LEVEL", "INFO"), ("MODE", "prod"),
    ("ENVIRONMENT", "production"), ("APP_NAME", "control-core"), ("APP_MODULE", "app.main:app"), ("TITLE", "Control Core API"),
    ("POSTGRES_DB", "control_core_db"), ("POSTGRES_USER", "app1"), ("POSTGRES_HOST", "cc-db-1"), ("DATA", "/srv/app/data"),
    ("ALLOWED_HOSTS", "a.example.org,b.example.org"), ("BIND", "0.0.0.0:8000"), ("NET", "10.0.0.0/8"), ("TZ", "Europe/Berlin"),
    ("LANG", "de_DE.UTF-8"), ("JWT_ALGORITHM", "HS256"), ("ACCESS_TOKEN_EXPIRE_MINUTES", "30"), ("REGION", "eu-west-1"),
    ("CORS", '["http://localhost:3000", "https://x.example"]'), ("RELEASE", "v1.2.3rc1"), ("TLS_KEY", "/etc/ssl/key.pem"),
    ("PASSWORD_MIN_LENGTH", "12"), ("SECRET_KEY", ""), ("TOKEN_URL", "/auth/token"), ("SERVICE", "http://opa:8181/v1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "secret"), SECRET_VALUES)
def test_what_is_secret_in_an_environment(name: str, value: str, secret: str) -> None:
    redactor = Redactor(environment={name: value})
    assert secret not in redactor.text(f"it says: {secret}!")
    assert value not in redactor.text(f"it says: {value}!")


@pytest.mark.parametrize(("name", "value"), HARMLESS_VALUES)
def test_what_is_plainly_harmless_in_an_environment(name: str, value: str) -> None:
    assert Redactor(environment={name: value}).secrets == ()


def test_of_an_inherited_environment_only_what_promises_a_secret() -> None:
    shell = {"RUNNER": "a1b2c3d4e5", "CI_TOKEN": "f6g7h8i9"}
    redactor = Redactor()
    redactor.learn_environment({**shell, "LOADED": "k1l2m3n4"}, inherited=shell)
    assert redactor.text("a1b2c3d4e5 f6g7h8i9 k1l2m3n4") == f"a1b2c3d4e5 {MASK} {MASK}"


@pytest.mark.parametrize(
    ("name", "promises"),
    [("PGPASSWORD", True), ("api_key", True), ("STRIPE_KEY", True), ("accessToken", True), ("X-Api-Key", True),
     ("aws_secret_access_key", True), ("token_type", False), ("secret_name", False), ("oauth_tokens_id_seq", False),
     ("force_password_change", False), ("primary_key", False), ("key", False), ("public_key", False), ("pass", False),
     ("bypass", False), ("monkey", False), ("password", True), ("db_password_prod", True)],
)  # fmt: skip
def test_which_names_promise_a_secret(name: str, promises: bool) -> None:
    assert names_a_secret(name) is promises


def test_data_is_masked_by_its_keys_and_a_record_in_its_texts_alone() -> None:
    redactor = Redactor(["control_core_db"])
    data = {"password": "abc", "lines": ["x control_core_db"], "database": "control_core_db", "n": 1, "ok": None}
    assert redactor.data(data) == {**data, "password": MASK, "lines": [f"x {MASK}"], "database": MASK}
    assert redactor.record(data) == {**data, "lines": [f"x {MASK}"]}, "a database that is called like its password"


def test_a_hostile_text_costs_no_time() -> None:
    redactor = Redactor(["p\\\\\\'q\"x", *some_secrets(30)])
    for text in ("\\" * 20_000 + "p", "p" * 20_000, "a://" * 5_000, "password=" * 5_000, "'" * 20_000, "x:" * 10_000, "E'" * 9_000,
                 "$a" * 9_000, "CREATE " + "'$" * 9_000, "-----BEGIN PRIVATE KEY-----" * 900, "(password " * 2_000 + "options("):  # fmt: skip
        redactor.text(text)


@pytest.mark.parametrize(
    "value",
    [
        ":".join(f"/opt/some.folder-{number}/lib/python3.11/site-packages" for number in range(40)) + ":",
        "/" + "a" * 5000 + ":",
        "-".join(["word"] * 500) + "!",
        "Aa" * 2000 + "!",
        "1." * 2000 + "!",
        "a." * 2000 + "!",
        "x" * 5000,
        "password=" * 500,
        "://" * 1000 + "@",
        "'x" * 1500,
    ],
    ids=lambda value: value[:12],
)
def test_a_long_value_is_read_in_one_pass(value: str) -> None:
    """A search path of forty folders, or a log line without spaces, must not take for ever to be judged."""
    made = Redactor(["a known secret"], environment={"PYTHONPATH": value, "SOME_KEY": value, "HOST": value})
    assert "a known secret" not in made.text(f"{value} a known secret {value}")


def test_of_a_list_of_urls_only_the_passwords_are_secrets() -> None:
    redactor = Redactor()
    urls = ("postgresql+psycopg2://shop:sh0p%2Fpa%23s@127.0.0.1:5432/shop", "postgresql://shop:s/e#c@replica:5433/shop")
    redactor.learn_environment({"READ_REPLICAS": ", ".join(urls)})
    assert redactor.text("an engine for shop on 127.0.0.1:5432, replica:5433") == (
        "an engine for shop on 127.0.0.1:5432, replica:5433"
    )
    for secret in ("sh0p%2Fpa%23s", "sh0p/pa#s", "s/e#c"):
        assert secret not in redactor.text(f"it said: {secret}!")
