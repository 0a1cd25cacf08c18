"""Settings: what stands over what, and what a wrong one is told."""

import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, SecretStr

from noctis.config import find_config, home_is_explicit, known_variables, load_settings
from noctis.errors import ConfigError, ExitCode

SAMPLE = Path(__file__).parents[2] / "config" / "noctis.yaml"


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("NOCTIS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("noctis.config.SYSTEM_CONFIG", tmp_path / "no-such-folder" / "noctis.yaml")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "given.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(config: Path | None = None, options: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(config, options)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


# -- what stands over what


def test_without_anything_all_are_defaults() -> None:
    settings = load_settings()
    assert settings.server.port == 11112
    assert settings.paths.root == Path.cwd() / "data"
    assert settings.database_url == f"sqlite:///{Path.cwd() / 'data' / 'noctis.db'}"
    assert not home_is_explicit(settings)


def test_options_stand_over_variables_and_those_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "server:\n  port: 2001\n  ae_title: FILE\n  bind: 127.0.0.1\n")
    monkeypatch.setenv("NOCTIS_SERVER__PORT", "2002")
    monkeypatch.setenv("NOCTIS_SERVER__AE_TITLE", "VARIABLE")
    settings = load_settings(path, {"server": {"port": 2003}})
    assert (settings.server.port, settings.server.ae_title, settings.server.bind) == (2003, "VARIABLE", "127.0.0.1")


def test_an_option_that_was_not_given_hides_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "server:\n  port: 2001\n")
    assert load_settings(path, {"server": {"port": None}, "home": None}).server.port == 2001


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTIS_SERVER__PORT", "")
    assert load_settings().server.port == 11112


@pytest.mark.parametrize("name", [name for name in known_variables() if "__" in name])
def test_every_setting_can_be_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    section, _, key = name.removeprefix("NOCTIS_").lower().partition("__")
    default = getattr(getattr(load_settings(), section), key)
    text = _sample(section, key) if default is None else _as_variable(default)
    monkeypatch.setenv(name, text)
    given = getattr(load_settings(), section)
    assert given.model_fields_set == {key}
    found = getattr(given, key)
    shown = found.get_secret_value() if isinstance(found, SecretStr) else str(found)
    assert shown == (text if default is None else str(default))


def _sample(section: str, key: str) -> str:
    """A value for a setting that has none by default."""
    if key.endswith(("_bytes", "_instances")):
        return "7"
    samples = {
        ("audit", "syslog"): "tls://logs.example:6514",
        ("smtp", "port"): "2525",
        ("smtp", "sender"): "noctis@images.example",
        ("web", "base_path"): "/noctis",
        ("web", "url"): "https://images.example/noctis",
    }
    return samples.get((section, key), "somewhere")


def _as_variable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def test_the_file_is_found_in_the_home_then_in_etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system, home = tmp_path / "etc.yaml", tmp_path / "data"
    monkeypatch.setattr("noctis.config.SYSTEM_CONFIG", system)
    assert find_config(None) is None
    system.write_text("server: {port: 2001}")
    assert find_config(None) == system
    home.mkdir()
    (home / "noctis.yaml").write_text("server: {port: 2002}")
    assert load_settings().server.port == 2002
    monkeypatch.setenv("NOCTIS_CONFIG", str(system))
    assert load_settings().server.port == 2001
    assert load_settings(home / "noctis.yaml").server.port == 2002


def test_a_home_of_its_own_never_reads_the_services_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system, home = tmp_path / "etc.yaml", tmp_path / "home"
    system.write_text(f"storage: {{media: {tmp_path}/the-archive-of-the-service}}")
    monkeypatch.setattr("noctis.config.SYSTEM_CONFIG", system)
    monkeypatch.setenv("NOCTIS_HOME", str(home))
    assert load_settings().paths.media == home / "media" / "dicom_files"
    home.mkdir()
    (home / "noctis.yaml").write_text("server: {port: 2002}")
    assert load_settings().server.port == 2002


def test_a_home_that_was_named_is_known_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home_is_explicit(load_settings(write(tmp_path, "home: there\n")))
    monkeypatch.setenv("NOCTIS_HOME", str(tmp_path))
    assert home_is_explicit(load_settings())
    assert load_settings().paths.root == tmp_path


def test_the_archive_may_lie_elsewhere(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, f"storage: {{media: {tmp_path}/big}}\n"))
    assert settings.paths.media == tmp_path / "big"


# -- what a wrong one is told


def test_an_unknown_key_has_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    path = write(tmp_path, "server:\n  port: 2001\n\n  # a remark\n  ae_titel: X\n")
    assert f"{path}:5: server.ae_titel: unknown setting; did you mean 'ae_title'?" in refused(path)


def test_an_unknown_section_that_is_like_nothing_has_the_known_ones(tmp_path: Path) -> None:
    message = refused(write(tmp_path, "home: x\nqqqq: {a: 1}\n"))
    assert ":2: qqqq: unknown setting; known here: home, server, " in message


def test_every_wrong_place_is_named_at_once(tmp_path: Path) -> None:
    message = refused(write(tmp_path, "server:\n  port: 70000\nlisteners:\n  backlog: many\n"))
    assert re.search(r"given\.yaml:2: server\.port: expected .*65535, found 70000", message)
    assert re.search(r"given\.yaml:4: listeners\.backlog: expected .*, found 'many'", message)


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("server: {bind: localhost}", "server.bind"),
        ("server: {ae_title: 'SEVENTEEN_LETTERS'}", "server.ae_title"),
        ("server: {ae_title: 'BACK\\SLASH'}", "server.ae_title"),
        ("server: {ae_title: ''}", "server.ae_title"),
        ("server: 11112", "server"),
        ("storage: {layout: trees}", "storage.layout"),
        ("storage: {reserve_bytes: -1}", "storage.reserve_bytes"),
        ("archiver: {scan_seconds: 0}", "archiver.scan_seconds"),
        ("facilities: {reserved_ports: [0]}", "facilities.reserved_ports.0"),
        ("facilities: {first_port: 20000}", "facilities"),
        ("logging: {file: perhaps}", "logging.file"),
    ],
)
def test_a_bad_value_is_refused_with_its_line(text: str, setting: str, tmp_path: Path) -> None:
    assert re.search(rf"given\.yaml:1: {re.escape(setting)}: expected \S", refused(write(tmp_path, text)))


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTIS_SERVER__PORT", "eleven")
    message = refused()
    assert "variable NOCTIS_SERVER__PORT: server.port: expected integer, found 'eleven'" in message


@pytest.mark.parametrize(
    ("name", "setting"),
    [("NOCTIS_FACILITIES__RESERVED_PORTS", "facilities.reserved_ports"), ("NOCTIS_SERVER", "server")],
)
def test_a_variable_that_should_be_json_is_named(name: str, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1,2")
    assert f"variable {name}: {setting}: expected JSON, found '1,2'" in refused()


def test_a_bad_option_is_named_as_one(tmp_path: Path) -> None:
    path = write(tmp_path, "server: {port: 2001}")
    assert "command line: server.port: expected" in refused(path, {"server": {"port": 0}})


def test_a_bad_range_is_told_with_a_variable_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTIS_FACILITIES__FIRST_PORT", "20000")
    message = refused()
    assert "variable NOCTIS_FACILITIES__FIRST_PORT: facilities: expected last_port 15112 not below" in message


def test_an_unknown_variable_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTIS_SERVER__PROT", "1")
    message = refused()
    assert "variable NOCTIS_SERVER__PROT: unknown setting; did you mean NOCTIS_SERVER__PORT?" in message
    assert "fix: unset NOCTIS_SERVER__PROT" in message


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "server:\n  port: 1\n  bind: '::'\n  port: 2\n")
    assert f"{path}:4: server.port is given twice" in refused(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server:\n  port: [1\n", "not valid YAML"),
        ("server:\n\tport: 1\n", ":2: not valid YAML"),
        ("- server\n", ":1: expected settings such as 'server:', found list"),
        ("server", ":1: expected settings such as 'server:', found str"),
    ],
)
def test_what_is_no_yaml_of_settings_is_refused(text: str, message: str, tmp_path: Path) -> None:
    assert message in refused(write(tmp_path, text))


@pytest.mark.parametrize("text", ["", "# nothing\n", "server:\nlisteners:\n", "---\n"])
def test_an_empty_file_or_section_is_all_defaults(text: str, tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, text)) == load_settings()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"no configuration file at {tmp_path}/missing.yaml" in refused(tmp_path / "missing.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "given.yaml"
    path.write_bytes(b"server: \xff\xfe")
    assert f"cannot read {path}: it is not UTF-8 text" in refused(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "server: {port: 1}")

    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)  # root reads everything, so a mode would not do
    assert f"cannot read {path}: Permission denied" in refused(path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (None, None),
        ("postgresql://noctis:s3cret@host/name", "postgresql://noctis:***@host/name"),
        ("postgresql://noctis@host/name", "postgresql://noctis@host/name"),
        ("s3cret", "*** (it cannot be read as a URL)"),
        ("postgresql://noctis:s3cret@host:port/name", "*** (it cannot be read as a URL)"),
    ],
)
def test_all_is_shown_but_the_password(url: str | None, shown: str | None) -> None:
    settings = load_settings(options={"database": {"url": url}, "server": {"port": 2003}})
    document = settings.shown()
    assert document["database"].pop("url") == shown
    everything = settings.model_dump(mode="json")
    del everything["database"]["url"]
    assert document == everything


# -- the sample


def _defaults(model: BaseModel) -> dict[str, Any]:
    document: dict[str, Any] = model.model_dump(mode="json")
    return document


def test_the_sample_loads_as_all_defaults() -> None:
    assert load_settings(SAMPLE) == load_settings()


def test_the_sample_has_every_setting_with_its_true_default() -> None:
    text = re.sub(r"^( *)#(?! |$)", r"\1", SAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert yaml.safe_load(text) == _defaults(load_settings())


def test_the_sample_explains_every_setting() -> None:
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    pairs = itertools.pairwise(lines)
    bare = [line for before, line in pairs if _is_setting(line) and not before.strip()]
    assert bare == []


def _is_setting(line: str) -> bool:
    return bool(re.match(r" *#[a-z]", line))


@pytest.mark.parametrize(
    "url", ["tcp://h:0", "tcp://h:65536", "tls://h:99999", "udp://h:514", "tcp://", "tls://[::x]:1"]
)
def test_a_syslog_server_that_cannot_be(url: str) -> None:
    with pytest.raises(ConfigError, match=r"audit\.syslog"):
        load_settings(options={"audit": {"syslog": url}})
