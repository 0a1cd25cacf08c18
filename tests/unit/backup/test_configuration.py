"""The configuration in another home: old places are left out, new ones written, differences told."""

from pathlib import Path

import yaml

from noctis.backup.configuration import adapted, differences
from noctis.config import load_settings


def test_what_tells_of_no_place_stays_as_it_was_written() -> None:
    text = "# ours\nserver:\n  port: 11200  # since May\n"
    assert adapted(text, {}) == text
    assert adapted("", {}) == ""
    assert adapted("a: [", {}) == "a: ["


def test_old_places_are_left_out_and_named() -> None:
    text = (
        "home: /srv/old\nserver: {port: 11200}\nstorage:\n  media: /mnt/old\n  layout: flat\n"
        "database: {url: postgresql://a/b}\nreceipts: {folder: /mnt/receipts, enabled: false}\n"
    )
    made = adapted(text, {})
    assert yaml.safe_load(made) == {
        "server": {"port": 11200},
        "storage": {"layout": "flat"},
        "database": {},
        "receipts": {"enabled": False},
    }
    assert "Left out, since they told of the old places: home, storage.media, database.url, receipts.folder" in made


def test_new_places_are_written() -> None:
    url = "postgresql://noctis@/new"
    for text in ("", "database:\n", "database: {url: postgresql://a/b, migrate: false}", "server: {port: 1}"):
        assert yaml.safe_load(adapted(text, {("database", "url"): url}))["database"]["url"] == url


def test_what_is_written_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "noctis.yaml").write_text(adapted("home: /srv/old\ndatabase:\n  url: postgresql://a/b\n", {}))
    assert load_settings(None, {"home": str(tmp_path)}).database.url is None


def test_differences_are_told_in_plain_words(tmp_path: Path) -> None:
    before = load_settings(None, {"home": "/srv/old", "server": {"port": 11200}}).model_dump(mode="json")
    before["database"]["url"] = "postgresql://a:***@b/c"
    now = load_settings(
        None, {"home": str(tmp_path), "tls": {"certificate": "/nowhere/server.pem"}, "database": {"url": None}}
    )
    assert differences(before, now) == [
        "database.url was postgresql://a:***@b/c, is None",
        f"home was /srv/old, is {tmp_path}",
        "server.port was 11200, is 11112",
        "tls.certificate was None, is /nowhere/server.pem",
        "tls.certificate names /nowhere/server.pem, which does not exist: it lay outside of the home",
    ]


def test_the_secret_file_of_a_rule_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    rules = [
        {"name": name, "kinds": ["silence"], "url": "https://example.org", "secret_file": str(tmp_path / name)}
        for name in ("here", "gone")
    ]
    now = load_settings(None, {"home": str(tmp_path), "notifications": {"rules": rules}})
    assert differences(now.shown() | {"home": str(tmp_path)}, now) == [
        f"secret_file of the notification rule gone names {tmp_path}/gone, which does not exist: "
        "it lay outside of the home"
    ]


def test_a_password_is_in_no_difference(tmp_path: Path) -> None:
    now = load_settings(None, {"home": str(tmp_path), "database": {"url": "postgresql://a:secret@b/c"}})
    assert "secret" not in " ".join(differences({"database": {"url": None}}, now))
