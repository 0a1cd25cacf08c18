"""The checks, each a function that yields findings. None of them changes anything."""

import ipaddress
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from noctis.audit.syslog import Sender
from noctis.checks.echo import echo
from noctis.checks.finding import Finding
from noctis.checks.notifying import check_notifications
from noctis.checks.privacy import readable_by_others
from noctis.checks.silence import check_silence
from noctis.config import Settings
from noctis.db import migrate
from noctis.db.engine import make_engine
from noctis.db.upgrading import under_way
from noctis.errors import NoctisError
from noctis.facilities.snapshot import Facility, SnapshotReader
from noctis.home import Home, owner_of, user_name, whoami
from noctis.repository.queries import archived_usage, last_received
from noctis.repository.room import Room, Space
from noctis.repository.usage import NONE, Limits, Usage, UsageFile, limits_in_all, limits_of, report
from noctis.scheduler import times, verification
from noctis.supervisor.control import START_IT, Control
from noctis.supervisor.ports import all_who_listen
from noctis.tls import known

RELEASED = datetime(2026, 11, 24, tzinfo=UTC)  # no clock that is right is before this
QUOTA_PERCENT = 90  # more is told
CLOCK_TOLERANCE_SECONDS = 120
AUDIT_LATE_SECONDS = 300


def run_checks(settings: Settings) -> Iterator[Finding]:
    """Every check, in the order in which one thing needs another."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        check_folders,
        check_privacy,
        check_database,
        check_clock,
        check_disk,
        check_quotas,
        check_supervisor,
        check_audit,
        check_notifications,
        check_ports,
        check_tls,
        check_web,
        check_echoes,
        check_verify,
        check_silence,
    )
    for check in checks:
        yield from check(settings)


def check_folders(settings: Settings) -> Iterator[Finding]:
    home = settings.paths
    if not home.root.is_dir():
        yield Finding("folders", False, f"there is no Noctis home at {home.root}", "noctis db upgrade")
        return
    for folder in home.folders():
        if folder != home.root and not os.access(home.root, os.X_OK):
            break  # what is said of the home is said of all below it
        if not folder.is_dir():
            yield Finding("folders", False, f"the folder {folder} does not exist", "noctis db upgrade")
        elif not os.access(folder, os.W_OK | os.X_OK):
            owner = owner_of(folder)
            yield Finding(
                "folders",
                False,
                f"Permission denied: {folder} belongs to {owner} and is not writable for {whoami()}",
                f"run as {owner} (sudo -u {owner} noctis …), or: chown -R {whoami()} {settings.paths.root}",
            )
        else:
            yield Finding("folders", True, f"{folder} is writable")
    yield from _strangers(home)


def check_privacy(settings: Settings) -> Iterator[Finding]:
    found = [Finding("privacy", False, text, fix) for text, fix in readable_by_others(settings.paths)]
    yield from found
    if not found and settings.paths.root.is_dir():
        yield Finding("privacy", True, "nothing that was looked at can be read by others")


def _strangers(home: Home) -> Iterator[Finding]:
    """What in the home is not its owner's: usually root's, made by a command that ran as root elsewhere."""
    owner = home.root.stat().st_uid
    beside = [home.sqlite.with_name(home.sqlite.name + suffix) for suffix in ("", "-wal", "-shm")]
    for path in (*home.folders(), *beside):
        try:
            stranger = path.is_relative_to(home.root) and path.stat().st_uid != owner
        except OSError:  # missing, or not to be looked at: told above
            continue
        if stranger:
            text = f"{path} belongs to {owner_of(path)}, the home to {user_name(owner)}"
            yield Finding("folders", False, text, f"chown -R {user_name(owner)} {home.root}")


def check_database(settings: Settings) -> Iterator[Finding]:
    engine = make_engine(settings, pooled=False)
    url = engine.url.render_as_string(hide_password=True)
    try:
        state = migrate.schema_state(engine)
        if state.up_to_date:
            migrate.require_sound(engine)
            yield Finding("database", True, f"{url} is reachable and has this release's schema")
        else:
            if (upgrade := under_way(settings.paths)) is not None:
                text = f"{upgrade.sentence}; what arrives is received, and filed when it is done"
                yield Finding("database", False, text, upgrade.fix)
                return
            found = f"schema {state.current}" if state.current else "no tables yet"
            text = f"{url} has {found}; this release wants schema {state.head}"
            yield Finding("database", False, text, "noctis db upgrade")
    except NoctisError as error:
        yield Finding("database", False, error.message, error.fix or "look at database.url in the configuration")
    finally:
        engine.dispose()


def check_clock(settings: Settings) -> Iterator[Finding]:
    now = datetime.now(UTC)
    if now < RELEASED:
        text = f"the clock says {now:%Y-%m-%d %H:%M} UTC, which is before this version was made"
        yield Finding("clock", False, text, "timedatectl set-ntp true")
        return
    newest = None
    engine = make_engine(settings, pooled=False)
    try:
        if migrate.schema_state(engine).up_to_date:
            newest = last_received(engine)
    except NoctisError:
        pass  # the check of the database tells
    finally:
        engine.dispose()
    if newest is not None and (newest - now).total_seconds() > CLOCK_TOLERANCE_SECONDS:
        text = f"the clock says {now:%Y-%m-%d %H:%M} UTC, but an instance was received at {newest:%Y-%m-%d %H:%M}"
        yield Finding("clock", False, text, "timedatectl set-ntp true")
        return
    synchronised = _ntp()
    if synchronised is False:
        yield Finding("clock", False, "the clock is not synchronised by NTP", "timedatectl set-ntp true")
    else:
        known = " and synchronised" if synchronised else ""
        yield Finding("clock", True, f"the clock is plausible{known} ({now:%Y-%m-%d %H:%M} UTC)")


def _ntp() -> bool | None:
    """Whether the clock is synchronised; None: nobody knows."""
    program = shutil.which("timedatectl")
    if program is None:
        return None
    asked = subprocess.run(
        [program, "show", "--property=NTPSynchronized", "--value"], capture_output=True, text=True, check=False
    )
    return {"yes": True, "no": False}.get(asked.stdout.strip()) if asked.returncode == 0 else None


def check_disk(settings: Settings) -> Iterator[Finding]:
    reserve = settings.storage.reserve_bytes
    for name, folder in (("spool", settings.paths.spool), ("archive", settings.paths.media)):
        if folder.is_dir():
            yield _free(name, Room(folder).space(), reserve)
    media = settings.paths.media
    if media.is_dir():
        room = Room(media, reserve)
        shared = room.space().device
        for each in _facilities(settings):
            own = room.space(each.slug)
            if own.device != shared:
                yield _free(f"archive of '{each.name}'", own, reserve)


def _free(name: str, space: Space, reserve: int) -> Finding:
    text = f"{space.free >> 20} MiB are free for the {name}; the reserve is {reserve >> 20} MiB"
    fix = f"make room on the file system of {space.folder}, or lower storage.reserve_bytes"
    return Finding("disk", True, text) if space.free > reserve else Finding("disk", False, text, fix)


def check_quotas(settings: Settings) -> Iterator[Finding]:
    storage = settings.storage
    quotas = [(each, limits_of(each, storage)) for each in _facilities(settings)]
    in_all = limits_in_all(storage)
    if not in_all.has_quota and not any(limits.has_quota for _, limits in quotas):
        return
    engine = make_engine(settings, pooled=False)
    try:
        used = archived_usage(engine)
    except NoctisError:
        return  # the check of the database tells
    finally:
        engine.dispose()
    for facility, limits in quotas:
        fix = (
            f"noctis facility edit {facility.slug} --quota-bytes N --quota-instances N (or default); "
            "nothing is deleted by itself"
        )
        yield from _quota(f"'{facility.name}' has", used.get(facility.slug, NONE), limits, fix)
    yield from _quota(
        "all facilities together have",
        UsageFile(archived=used).in_all,
        in_all,
        "storage.quota_bytes and storage.quota_instances in the configuration; nothing is deleted by itself",
    )


def _quota(whose: str, used: Usage, limits: Limits, fix: str) -> Iterator[Finding]:
    told = report(used, limits)
    for unit in ("bytes", "instances"):
        has, may, percent = told[unit], told[f"quota_{unit}"], told[f"{unit}_percent"]
        if may is not None:
            text = f"{whose} used {percent} % of the quota: {has} of {may} {unit}"
            if has >= may:
                text += "; C-STORE is answered A700"
            well = percent <= QUOTA_PERCENT and has < may
            yield Finding("quota", well, text, "" if well else fix)


def check_verify(settings: Settings) -> Iterator[Finding]:
    last, now = verification.read(settings.paths), datetime.now(UTC)
    if last is None:
        return  # nothing has looked at the schedule yet
    if last.count:
        found = ", ".join(f"{count} {kind}" for kind, count in last.findings.items())
        text = f"the verify of {last.ended} found: {found}"
        yield Finding("verify", False, text, "noctis archive verify; what each finding means: docs/operations.md")
    every = times.period(settings.schedule)
    if every is not None and now - times.trusted(last.began_at, now) > 2 * every:
        text = f"the archive was not verified for {(now - last.began_at).days} days (schedule.verify: "
        text += f"{settings.schedule.verify})"
        yield Finding("verify", False, text, "noctis archive verify; or set schedule.verify: never")
    elif last.ended and not last.count:
        yield Finding("verify", True, f"the last verify of the archive, {last.ended}, found nothing wrong")


def check_supervisor(settings: Settings) -> Iterator[Finding]:
    control = Control(settings.paths)
    try:
        status = control.status()
    except NoctisError as error:
        yield Finding("supervisor", False, error.message, error.fix or START_IT)
        return
    yield Finding("supervisor", True, f"the supervisor runs (pid {status['pid']})")
    for name in ("archiver", "watcher", "scheduler"):
        state = status[name].get("state")
        if state != "running":
            why = status[name].get("last_error") or "see the log"
            yield Finding("supervisor", False, f"the {name} is {state}: {why}", "noctis supervisorctl status")
    heartbeat = status["archiver"].get("heartbeat_seconds")
    if heartbeat is not None and heartbeat > 60:
        yield Finding(
            "supervisor",
            False,
            f"the archiver has given no sign of life for {heartbeat:.0f} s",
            "noctis supervisorctl restart archiver:*",
        )


def check_audit(settings: Settings) -> Iterator[Finding]:
    server = settings.audit.syslog
    if server is None:
        return
    try:
        Sender(settings.audit).check()
    except NoctisError as error:
        yield Finding("audit", False, error.message, error.fix or "")
    try:
        audit = Control(settings.paths).status()["audit"]
    except NoctisError:
        return  # the check of the supervisor tells
    if audit is None:
        text = f"audit.syslog is {server}, but the supervisor was started without it"
        yield Finding("audit", False, text, "noctis supervisorctl reload")
        return
    why = audit["last_error"] or "see the log"
    seconds = audit.get("waiting_seconds")
    if audit["state"] != "running":
        yield Finding("audit", False, f"the audit service is {audit['state']}: {why}", "noctis supervisorctl status")
    elif seconds is not None and seconds > AUDIT_LATE_SECONDS:
        text = f"no audit message could be sent for {seconds:.0f} s, {audit['waiting']} wait: {why}"
        yield Finding("audit", False, text, f"start the syslog server {server}, or set audit.syslog to another one")
    else:
        yield Finding("audit", True, f"audit messages are sent to {server}: {audit['sent']}, {audit['waiting']} wait")


def _facilities(settings: Settings) -> list[Facility]:
    snapshot = SnapshotReader(settings.paths.snapshot).current()
    return [each for each in snapshot.facilities if each.enabled]


def check_ports(settings: Settings) -> Iterator[Finding]:
    ours = _our_pids(settings)
    wanted: list[tuple[int, str]] = [(settings.server.port, "the default listener")]
    wanted += [(each.port, f"'{each.name}'") for each in _facilities(settings)]
    listening = all_who_listen()
    for port, whose in wanted:
        holders = listening.get(port, [])
        strangers = [holder for holder in holders if holder.pid not in ours]
        if strangers:
            listed = ", ".join(map(str, strangers))
            text = f"Port already in use: {port} of {whose} is held by {listed}"
            yield Finding("ports", False, text, "stop that program, or give the facility another port")
        elif holders:
            yield Finding("ports", True, f"port {port} of {whose} is held by us")
        elif ours:
            text = f"nobody listens on port {port} of {whose}"
            yield Finding("ports", False, text, "noctis status; noctis reload")
        else:
            yield Finding("ports", True, f"port {port} of {whose} is free")


def _our_pids(settings: Settings) -> set[int]:
    try:
        status = Control(settings.paths).status()
    except NoctisError:
        return set()
    return {status["pid"], *(pid for each in status["listeners"] for pid in each["workers"])}


def check_tls(settings: Settings) -> Iterator[Finding]:
    for entry, sentence in known.sentences(settings, SnapshotReader(settings.paths.snapshot).current().facilities):
        yield Finding("tls", not entry.problem, sentence, entry.fix)


def check_web(settings: Settings) -> Iterator[Finding]:
    """The pages: whether others can listen in, and whether the port is ours."""
    web = settings.web
    if not web.enabled:
        return
    https = web.certificate is not None or (web.url or "").startswith("https://")
    if not ipaddress.ip_address(web.bind).is_loopback and not https:
        text = f"the pages are served on {web.bind} without TLS: passwords and patients' data can be read on the way"
        fix = "set web.certificate and web.private_key; or have a reverse proxy with HTTPS and name it in web.url"
        yield Finding("web", False, text, fix)
    try:
        status = Control(settings.paths).status()["web"]
    except NoctisError:
        status = None
    ours = {status["pid"]} if status and status.get("pid") else set()
    holders = all_who_listen().get(web.port, [])
    strangers = [holder for holder in holders if holder.pid not in ours]
    if strangers:
        listed = ", ".join(map(str, strangers))
        text = f"Port already in use: {web.port} of the pages is held by {listed}"
        yield Finding("web", False, text, "stop that program, or set web.port to another one")
    elif status is not None and status["state"] != "running":
        why = status.get("last_error") or "see the log"
        yield Finding("web", False, f"the web process is {status['state']}: {why}", "noctis supervisorctl status")
    else:
        yield Finding("web", True, f"port {web.port} of the pages is {'held by us' if holders else 'free'}")


def check_echoes(settings: Settings) -> Iterator[Finding]:
    if not Control(settings.paths).is_running():
        return
    for each in _facilities(settings):
        begun = time.monotonic()
        result = echo(settings, each.slug, each.port, each.ae_title)
        if result.succeeded:
            text = f"'{each.name}' answers an echo on port {each.port} in {result.milliseconds} ms"
            yield Finding("echo", True, text)
        else:
            seconds = round(time.monotonic() - begun, 1)
            text = f"'{each.name}' on port {each.port}: {result.error} ({seconds} s)"
            yield Finding("echo", False, text, f"noctis facility show {each.slug}; noctis status")
