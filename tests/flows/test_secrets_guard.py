"""Do passwords, tokens and keys leave texts, whatever is around them, and nothing else?"""

import string
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohort.records import ConfigProblem
from flows.config import config_from_table
from flows.provenance import command
from flows.secrets_guard import redacted, refuse_secrets

SECRET = "hunter2pass"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://anna:{}@db:5432/h", "postgresql://anna:***@db:5432/h"),
        ("postgresql+psycopg://anna:p@{}@[::1]/h", "postgresql+psycopg://anna:***@[::1]/h"),
        (
            "postgresql://anna@db/h?sslpassword={}&sslmode=require",
            "postgresql://anna@db/h?sslpassword=***&sslmode=require",
        ),
        ("redis://:{}@host", "redis://:***@host"),
        ("PREFECT_API_KEY={} cardioval serve", "PREFECT_API_KEY=*** cardioval serve"),
        ("cardioval history --token {} --plot", "cardioval history --token *** --plot"),
        ("cardioval history --db-password={} --plot", "cardioval history --db-password=*** --plot"),
        ("--password 'a {} b' x", "--password *** x"),
        ('{{"password": "{}", "user": "u"}}', '{{"password": ***, "user": "u"}}'),
        ("Authorization: Bearer {}", "Authorization: Bearer ***"),
        ("key pnu_0123456789{}", "key ***"),
        ("AccessKey: {}", "AccessKey: ***"),
    ],
)
def test_secrets_leave(text: str, left: str) -> None:
    assert redacted(text.format(SECRET), environment={}) == left.replace("{{", "{").replace("}}", "}")
    assert SECRET not in redacted(f"before {text.format(SECRET)}\nafter", environment={})


@pytest.mark.parametrize(
    "text",
    [
        "the token was refused",
        "password authentication failed for user",
        "http://127.0.0.1:4200/api",
        "postgresql://anna@db:5432/h",
        "scans/Center001/P001 at 10:30, 3 of 4",
        "cardioval validate study.toml --resume",
        "",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert redacted(text, environment={}) == text


def test_secrets_of_the_environment_leave_wherever_they_stand() -> None:
    environment = {
        "PGPASSWORD": SECRET,
        "HISTORY_URL": "postgresql://u:other1secret@h/d",
        "TOKEN": "ab",
        "HOME": "/home/anna",
    }
    text = f"FATAL: {SECRET} and other1secret of /home/anna, ab"
    assert redacted(text, environment=environment) == "FATAL: *** and *** of /home/anna, ab"


@settings(max_examples=200, deadline=None)
@given(
    st.text(string.ascii_letters + string.digits + "!$%^*_+=.~@:-", min_size=1, max_size=40),
    st.sampled_from(["postgresql://anna:{}@db/h", "https://u:{}@host:1/x"]),
)
def test_no_password_survives_in_a_url(password: str, url: str) -> None:
    shown = redacted(url.format(password), environment={})
    assert shown == url.format("***")
    assert redacted(shown, environment={}) == shown  # once is enough


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_can_be_given(text: str) -> None:
    once = redacted(text, environment={})
    assert redacted(once, environment={}) == once


def test_long_texts_take_no_time() -> None:
    for letters in ("a", "9", "a.", "--", "://", "password", '"', "@:"):
        redacted(letters * 50_000, environment={})


def test_the_recorded_command_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["/home/anna/bin/cardioval", "history", "--database", f"postgresql://anna:{SECRET}@db/h"]
    )
    assert command() == "cardioval history --database postgresql://anna:***@db/h"


@pytest.mark.parametrize(
    "table",
    [
        {"history": {"database": f"postgresql://anna:{SECRET}@db/h"}},
        {"running": {"api_key": SECRET}},
        {"a": [{"b": [f"token={SECRET}"]}]},
    ],
)
def test_a_configuration_with_a_secret_is_refused_without_repeating_it(table: dict) -> None:
    with pytest.raises(ConfigProblem, match="looks like a secret") as caught:
        refuse_secrets(table, where="study.toml")
    assert SECRET not in str(caught.value)


def test_a_run_is_not_started_with_a_secret_in_its_configuration(tmp_path) -> None:
    table = {"study": {"name": "s", "cohort": "c", "out": "o", "title": f"https://u:{SECRET}@host/"}}
    with pytest.raises(ConfigProblem, match=r"study\.title looks like a secret"):
        config_from_table(table, base=tmp_path, origin="study.toml")
