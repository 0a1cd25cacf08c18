"""`noctis user`: who may log in to the pages."""

import io
from pathlib import Path

import click
import pytest

from noctis.users import setup
from noctis.users.tokens import PATTERN
from tests.integration.cli.conftest import Call

PASSWORD = "correct horse battery staple"


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input is a password and another line."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\nmore\n"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_add_list_edit_remove(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
        answer = noctis("user", "add", *arguments, "--password-stdin", code=code)
        return answer.out or answer.err

    assert "The user ada is added: admin" in add("Ada", "--role", "admin")
    noctis("facility", "add", "Central Hospital")
    assert "facility of central-hospital" in add("bob", "--facility", "Central Hospital", "--email", "bob@example.org")
    assert "viewer" in add("eve")
    assert "there is a user 'ada' already" in add("ADA", code=2)
    listed = {each["name"]: each for each in noctis("user", "list", "--json").json}
    assert listed.keys() == {"ada", "bob", "eve"}
    assert (listed["bob"]["role"], listed["bob"]["facility"]) == ("facility", "central-hospital")
    assert "password" not in repr(listed)
    assert "central-hospital" in noctis("user", "list").out
    changed = noctis("user", "edit", "bob", "--role", "operator", "--email", "", "--json").json
    assert (changed["role"], changed["facility"], changed["email"]) == ("operator", None, None)
    noctis("user", "edit", "eve", "--facility", "central-hospital")
    noctis("user", "edit", "eve", "--unlock")
    assert "nothing to change" in noctis("user", "edit", "eve", code=2).err
    assert noctis("user", "remove", "bob", "--yes").out == "The user bob is removed\n"
    assert "last admin" in noctis("user", "remove", "ada", "--yes", code=2).err
    assert "there is no user 'bob'" in noctis("user", "edit", "bob", "--unlock", code=2).err
    told = [each for each in noctis("event", "list", "--json").json if each["action"].startswith("user.")]
    assert {each["subject"] for each in told} == {"ada", "bob", "eve"}


def test_a_password_is_typed_twice_and_not_shown(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def prompt(text: str, **options: object) -> str:
        asked.append(options)
        return PASSWORD

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(click, "prompt", prompt)
    answer = noctis("user", "add", "ada", "--role", "admin")
    assert PASSWORD not in answer.out + answer.err
    noctis("user", "passwd", "ada")
    assert [(each["hide_input"], bool(each["confirmation_prompt"])) for each in asked] == [(True, True)] * 2


@pytest.mark.usefixtures("piped")
def test_what_is_wrong_is_said_before_a_password_is_asked_for(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    noctis("user", "add", "ada", "--password-stdin")
    monkeypatch.setattr(click, "prompt", lambda *_, **__: pytest.fail("a password is asked for"))
    monkeypatch.setattr("sys.stdin", Terminal())
    for arguments, said in (
        (("user", "add", "<script>"), "cannot be a user's name"),
        (("user", "add", "bob", "--email", "x"), "no e-mail address"),
        (("user", "add", "bob", "--role", "facility"), "has a facility"),
        (("user", "add", "bob", "--facility", "nowhere"), "nowhere"),
        (("user", "passwd", "nobody"), "there is no user"),
    ):
        answer = noctis(*arguments, code=2)
        assert said in answer.err
        assert "fix: " in answer.err


def test_where_nobody_can_type(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    answer = noctis("user", "add", "ada", code=2)
    assert "no terminal" in answer.err
    assert "--password-stdin" in answer.err
    for line in ("", "short\n", "x" * 9000):
        monkeypatch.setattr("sys.stdin", io.StringIO(line))
        assert "12 to 1024 characters" in noctis("user", "add", "ada", "--password-stdin", code=2).err


@pytest.mark.usefixtures("piped")
def test_the_first_one_ends_the_set_up_link(noctis: Call, home: Path) -> None:
    noctis("db", "upgrade")
    assert "/setup?secret=" in noctis("web", "link").out
    noctis("user", "add", "ada", "--role", "admin", "--password-stdin")
    assert not (home / "run" / setup.NAME).exists()
    assert "There are users already" in noctis("web", "link", code=1).out


@pytest.mark.usefixtures("piped")
def test_it_is_asked_before_somebody_is_removed(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    noctis("user", "add", "eve", "--password-stdin")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    noctis("user", "remove", "eve", code=130)
    assert len(noctis("user", "list", "--json").json) == 1


def test_tokens(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ada", "bob"):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
        noctis("user", "add", name, "--password-stdin")
    assert "No token. Make one" in noctis("user", "token", "list").out
    made = noctis("user", "token", "add", "Ada", "--name", "nightly export", "--expires", "30")
    token = made.out.strip()
    assert PATTERN.fullmatch(token)  # alone, for $(noctis user token add ...)
    assert "Token 1 of ada, what the user may, until " in made.err
    assert token not in made.err
    told = noctis("user", "token", "add", "bob", "--name", "x", "--read-only", "--json").json
    assert PATTERN.fullmatch(told.pop("token"))
    assert (told["account"], told["read_only"], told["expires_at"]) == ("bob", True, None)
    assert noctis("user", "token", "list", "bob", "--json").json == [told]
    listed = noctis("user", "token", "list")
    assert "nightly export" in listed.out
    assert token not in listed.out
    assert noctis("user", "token", "remove", "1").out == "Token 1 of ada, nightly export, is removed\n"
    assert [each["account"] for each in noctis("user", "token", "list", "--json").json] == ["bob"]
    for arguments, said in (
        (("remove", "1"), "there is no token 1"),
        (("remove", "99999999999999999999"), "there is no token"),
        (("add", "nobody", "--name", "x"), "there is no user 'nobody'"),
        (("list", "nobody"), "there is no user 'nobody'"),
        (("add", "ada", "--name", " "), "cannot be a token's name"),
        (("add", "ada", "--name", "x", "--expires", "0"), "1 to 3650 days"),
        (("add", "ada"), "--name"),
    ):
        assert said in noctis("user", "token", *arguments, code=2).err
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert "API tokens are ended" in noctis("user", "passwd", "bob", "--password-stdin").out
    assert noctis("user", "token", "list", "--json").json == []
    assert token not in noctis("event", "list").out
