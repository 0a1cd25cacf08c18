"""Settings: one typed object, from a YAML file, `NOCTIS_*` variables over it, and command-line options over both.

Takes the path of a file (or finds one) and a mapping of options. Promises that what it returns is valid as a whole.
Refuses unknown keys and bad values with a `ConfigError` that names the place (file and line, variable or option) and
what was expected; it never starts with half a configuration.
"""

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from noctis.errors import ConfigError
from noctis.home import Home
from noctis.sections import (
    ArchiverSettings,
    AuditSettings,
    DatabaseSettings,
    FacilitySettings,
    ListenerSettings,
    LoggingSettings,
    NotificationSettings,
    ReceiptSettings,
    ScheduleSettings,
    Section,
    ServerSettings,
    SilenceSettings,
    SmtpSettings,
    StorageSettings,
    SupervisorSettings,
    TlsSettings,
    WebSettings,
)

ENV_PREFIX = "NOCTIS_"
ENV_CONFIG = "NOCTIS_CONFIG"  # the configuration file itself
CONFIG_NAME = "noctis.yaml"
SECRETS = ("password", "secret")  # settings whose value is never shown
SYSTEM_CONFIG = Path("/etc/noctis") / CONFIG_NAME


class Settings(BaseSettings):
    """Everything that can be set. Made by `load_settings`, never directly."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    home: Path = Path("data")
    server: ServerSettings = ServerSettings()
    facilities: FacilitySettings = FacilitySettings()
    listeners: ListenerSettings = ListenerSettings()
    tls: TlsSettings = TlsSettings()
    storage: StorageSettings = StorageSettings()
    archiver: ArchiverSettings = ArchiverSettings()
    database: DatabaseSettings = DatabaseSettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    audit: AuditSettings = AuditSettings()
    web: WebSettings = WebSettings()
    silence: SilenceSettings = SilenceSettings()
    notifications: NotificationSettings = NotificationSettings()
    smtp: SmtpSettings = SmtpSettings()
    receipts: ReceiptSettings = ReceiptSettings()
    logging: LoggingSettings = LoggingSettings()

    @property
    def paths(self) -> Home:
        root = self.home.expanduser().absolute()
        media = self.storage.media
        return Home(root=root, media=root / "media" / "dicom_files" if media is None else media.expanduser().absolute())

    @property
    def database_url(self) -> str:
        return self.database.url or f"sqlite:///{self.paths.sqlite}"

    @property
    def web_url(self) -> str:
        """What an operator types into the browser."""
        web = self.web
        if web.url:
            return web.url
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(web.bind, f"[{web.bind}]" if ":" in web.bind else web.bind)
        return f"{'https' if web.certificate else 'http'}://{host}:{web.port}{web.base_path or ''}"

    def shown(self) -> dict[str, Any]:
        """Every setting that is in force, as JSON has it, without passwords and secrets."""
        document: dict[str, Any] = self.model_dump(mode="json")
        if self.database.url:
            document["database"]["url"] = _without_password(self.database.url)
        return document

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(init_settings, InitSettingsSource)
        passed = init_settings.init_kwargs
        return (
            InitSettingsSource(settings_cls, init_kwargs=passed.get("options", {})),
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=passed.get("file", {})),
        )


def find_config(explicit: str | os.PathLike[str] | None, home: str | os.PathLike[str] | None = None) -> Path | None:
    """The configuration file: the one named, else `NOCTIS_CONFIG`, `<home>/noctis.yaml`, /etc/noctis/noctis.yaml.

    The last one is this machine's service's: a home that `home` or `NOCTIS_HOME` names is another instance and never
    reads it.

    Raises
    ------
    ConfigError
        The file that was named does not exist.
    """
    named = explicit or os.environ.get(ENV_CONFIG)
    if named:
        path = Path(named).expanduser()
        if not os.path.isfile(path):
            raise ConfigError(f"no configuration file at {path}", fix="name an existing file with --config")
        return path
    home = home or os.environ.get("NOCTIS_HOME")
    for path in (Path(home or "data") / CONFIG_NAME, SYSTEM_CONFIG):
        # os.path: in a folder that may not be looked into there is none
        if os.path.isfile(path) and not (home and path == SYSTEM_CONFIG):
            return path
    return None


def load_settings(config: str | os.PathLike[str] | None = None, options: Mapping[str, Any] | None = None) -> Settings:
    """Read, merge and validate all settings.

    Parameters
    ----------
    config
        The YAML file; None looks in the usual places and may find none.
    options
        Nested like the file, from the command line; `None` values count as not given.

    Raises
    ------
    ConfigError
        Something is wrong; nothing may start.
    """
    options = _without_none(options or {})
    path = find_config(config, options.get("home"))
    document, lines = _read_yaml(path) if path else ({}, {})
    _refuse_unknown_variables()
    try:
        return Settings(options=options, file=document)  # type: ignore[call-arg]
    except ValidationError as error:
        places = [_explain(problem, path, lines, options) for problem in error.errors()]
        raise ConfigError("the configuration is not valid:\n  " + "\n  ".join(dict.fromkeys(places))) from None
    except SettingsError as error:
        raise ConfigError(f"the configuration is not valid:\n  {_not_json() or error}") from error


def home_is_explicit(settings: Settings) -> bool:
    """Whether the home was named by somebody, so that a command may create it without being asked."""
    return "home" in settings.model_fields_set


def _without_password(url: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):  # the latter: a port that is no number
        return "*** (it cannot be read as a URL)"


def _without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: _without_none(value) if isinstance(value, Mapping) else value for key, value in options.items()}
    return {key: value for key, value in kept.items() if value is not None and value != {}}


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """The document and, for every key path in it, the line it stands on."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}", fix="check the file's owner and mode") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if document is None:
        return {}, {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}:1: expected settings such as 'server:', found {type(document).__name__}")
    lines: dict[tuple[str, ...], int] = {}

    def walk(node: yaml.Node, at: tuple[str, ...]) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            place = (*at, str(key.value))
            if place in lines:
                raise ConfigError(f"{path}:{key.start_mark.line + 1}: {'.'.join(place)} is given twice")
            lines[place] = key.start_mark.line + 1
            walk(value, place)

    if node is not None:
        walk(node, ())
    # A section whose every line is commented out reads as null: that is "all defaults", not an error.
    return {key: value for key, value in document.items() if value is not None}, lines


def _explain(problem: Any, path: Path | None, lines: Mapping[tuple[str, ...], int], options: Mapping[str, Any]) -> str:
    """One pydantic error as `place: setting: what was expected`."""
    location = tuple(str(part) for part in problem["loc"])
    setting = ".".join(location)
    whole = isinstance(problem["input"], Mapping)  # a section's settings do not go together
    if _contains(options, location):
        place = "command line"
    elif variable := next((name for name in os.environ if _sets(name, location, whole)), None):
        place = f"variable {variable}"
    else:
        line = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), None)
        place = f"{path}:{line}" if line else str(path)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _keys(location[:-1]), n=1, cutoff=0.5)
        known = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(_keys(location[:-1]))}"
        return f"{place}: {setting}: unknown setting; {known}"
    expected = str(problem["msg"]).removeprefix("Value error, ")
    found = "" if whole or location[-1] in SECRETS else f", found {problem['input']!r}"
    return f"{place}: {setting}: expected {_expected(expected)}{found}"


def _expected(message: str) -> str:
    if "instance of" in message:
        return "a section with settings of its own"
    for prefix in ("Input should be a valid ", "Input should be "):
        if message.startswith(prefix):
            return message.removeprefix(prefix).split(", unable to")[0]
    if message.startswith("String should "):
        return "text that should " + message.removeprefix("String should ")
    return message


def _not_json() -> str | None:
    """Whole sections and lists are JSON in a variable: the first one that is not."""
    for section, field in Settings.model_fields.items():
        defaults = {section: field.default}
        if isinstance(field.default, Section):
            defaults |= {f"{section}__{key}": value for key, value in field.default}
        for key, default in defaults.items():
            name = ENV_PREFIX + key.upper()
            if isinstance(default, Section | tuple) and os.environ.get(name):
                try:
                    json.loads(os.environ[name])
                except ValueError:
                    return f"variable {name}: {key.replace('__', '.')}: expected JSON, found {os.environ[name]!r}"
    return None


def _contains(options: Mapping[str, Any], location: tuple[str, ...]) -> bool:
    node: Any = options
    for part in location:
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def _sets(variable: str, location: tuple[str, ...], whole: bool) -> bool:
    """Whether it gives this setting, or all of its section, or (`whole`) one of the section's keys."""
    names = [ENV_PREFIX + "__".join(location[:n]).upper() for n in range(1, len(location) + 1)]
    return variable in names or (whole and variable.startswith(f"{names[-1]}__"))


def _keys(location: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return list(model.model_fields)


def known_variables() -> list[str]:
    """Every NOCTIS_* variable that means something."""
    names = [ENV_CONFIG]
    for section in _keys(()):
        names.append(ENV_PREFIX + section.upper())
        names += [f"{ENV_PREFIX}{section}__{key}".upper() for key in _keys((section,))]
    return names


def _refuse_unknown_variables() -> None:
    known = known_variables()
    for name in os.environ:
        if name.startswith(ENV_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"variable {name}: unknown setting{hint}", fix=f"unset {name}")
