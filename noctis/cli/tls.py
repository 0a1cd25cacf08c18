"""`noctis tls`: certificates of our own CA, and whose client certificates are whose."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noctis.cli.common import App, emit_json, json_option, plain, show_table
from noctis.errors import UsageError
from noctis.text import moment

if TYPE_CHECKING:
    from noctis.facilities.certificates import CertificateRegistry
    from noctis.facilities.records import FacilityRecord
    from noctis.tls.issuing import Issued

CLIENTS = "clients"  # below <home>/tls: what `issue` makes for senders


@click.group()
def tls() -> None:
    """Make, bind and list TLS certificates. Listeners follow without a restart. See docs/tls.md."""


def registry(app: App) -> "CertificateRegistry":
    from noctis.facilities.certificates import CertificateRegistry

    return CertificateRegistry(app.engine(), app.running_settings, actor=app.actor)


@tls.command("make-ca")
@click.option("--name", metavar="TEXT", help="Of the CA, for people; Noctis and this machine's name if left out.")
@click.option("--days", type=click.IntRange(1, 36500), help="How long it is valid; ten years if left out.")
@click.option("--force", is_flag=True, help="In place of the one that is there: what that one signed is worth nothing.")
@json_option
@click.pass_obj
def make_ca(app: App, name: str | None, days: int | None, force: bool, as_json: bool) -> None:
    """Make a CA of our own, for those who have none: it signs the server's and the senders' certificates."""
    import socket

    from noctis.tls import issuing, policy

    app.prepare()
    certificate, key = policy.ca_file(app.settings), policy.ca_key_file(app.settings)
    if app.settings.tls.client_ca is not None:
        raise UsageError(
            f"tls.client_ca says that {certificate} has the CA, so none is made here",
            fix="take tls.client_ca out of the configuration, or use that CA: noctis tls bind",
        )
    issuing.refuse_existing((certificate, key), force=force)
    made = issuing.make_ca(name or f"Noctis CA {socket.gethostname()}", days or issuing.CA_DAYS)
    issuing.save(made, certificate, key)
    registry(app).note("tls.ca_made", "ca", fingerprint=made.fingerprint, replaced=force)
    if as_json:
        emit_json({"certificate": str(certificate), "private_key": str(key), "fingerprint": made.fingerprint})
        return
    click.echo(f"CA made, valid until {moment(made.certificate.not_valid_after_utc)[:10]}")
    click.echo(f"  certificate  {certificate}   (senders trust this one)")
    click.echo(f"  key          {key}   (keep it secret; a copy offline: noctis needs it only to issue)")
    click.echo("next: noctis tls issue --server")


@tls.command()
@click.argument("facility", required=False)
@click.option("--device", metavar="AET", help="For this calling AE title of FACILITY alone.")
@click.option("--server", is_flag=True, help="A server's certificate: for all ports, or for FACILITY's own port.")
@click.option("--name", "names", multiple=True, metavar="HOST", help="With --server: a name or address of it; repeat.")
@click.option("--days", type=click.IntRange(1, 36500), help="How long it is valid; two years if left out.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where a sender's files go."
)
@click.option("--password", metavar="TEXT", help="Also a PKCS#12 file behind this password; - asks for it.")
@click.option("--force", is_flag=True, help="In place of files that are there.")
@json_option
@click.pass_obj
def issue(
    app: App,
    facility: str | None,
    device: str | None,
    server: bool,
    names: tuple[str, ...],
    days: int | None,
    out: Path | None,
    password: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """A key and certificate for a sender of FACILITY, bound to it at once; or, with --server, for a server."""
    if server:
        if device or out or password:
            raise click.UsageError("--device, --out and --password are for a sender's certificate, not with --server")
        issue_server(app, facility, names, days, force, as_json)
        return
    if names:
        raise click.UsageError("--name is of a server's certificate: say --server")
    if facility is None:
        raise click.UsageError("name the FACILITY whose sender it is for, or say --server")
    if password == "-":
        password = click.prompt("password of the PKCS#12 file", hide_input=True, confirmation_prompt=True, err=True)
    issue_client(app, facility, device or "", days, out, password, force, as_json)


def issue_server(
    app: App, facility: str | None, names: tuple[str, ...], days: int | None, force: bool, as_json: bool
) -> None:
    from noctis.tls import issuing, policy

    certificates = registry(app)
    settings = app.settings
    slug = certificates.get(facility).slug if facility is not None else None
    certificate, key = policy.server_files(settings) if slug is None else policy.facility_files(settings, slug)
    if slug is None and settings.tls.certificate is not None:
        raise UsageError(
            f"tls.certificate says that {certificate} has the server's certificate, so none is made here",
            fix="take tls.certificate and tls.private_key out of the configuration, or renew that file",
        )
    issuing.refuse_existing((certificate, key), force=force)
    ca = load_ca(app)
    wanted = [issuing.check_host(name) for name in names] or issuing.names_of(certificate)
    wanted = wanted or issuing.default_names(settings.server.advertised_host, settings.server.bind)
    made = issuing.issue_server(ca, wanted, days or issuing.DAYS)
    issuing.save(made, certificate, key)
    certificates.note("tls.server_issued", "server", slug, fingerprint=made.fingerprint, names=wanted)
    app.follow()
    if as_json:
        document = {"certificate": str(certificate), "private_key": str(key), "fingerprint": made.fingerprint}
        emit_json(document | {"facility": slug, "names": wanted})
        return
    whose = f"of the port of {slug}" if slug else "of every port that has none of its own"
    click.echo(f"server certificate {whose}, valid until {moment(made.certificate.not_valid_after_utc)[:10]}")
    click.echo(f"  certificate  {certificate}")
    click.echo(f"  key          {key}")
    click.echo(f"  names        {plain(', '.join(wanted))}")
    switch = (
        f"noctis facility edit {slug} --tls on"
        if slug
        else "tls.enabled: true, or for one: noctis facility edit NAME --tls on"
    )
    click.echo(f"in force at the next connection where TLS is on ({switch})")


def issue_client(
    app: App,
    facility: str,
    device: str,
    days: int | None,
    out: Path | None,
    password: str | None,
    force: bool,
    as_json: bool,
) -> None:
    from noctis.facilities.naming import check_ae_title, slugify
    from noctis.tls import issuing, policy

    certificates = registry(app)
    record = certificates.get(facility)
    device = check_ae_title(device) if device else ""
    stem = f"{record.slug}-{slugify(device)}" if device else record.slug
    folder = (out or app.home.tls / CLIENTS).absolute()
    certificate, key, p12 = (folder / f"{stem}.{ending}" for ending in ("pem", "key", "p12"))
    issuing.refuse_existing((certificate, key, *((p12,) if password else ())), force=force)
    ca = load_ca(app)
    name = f"{record.name} {device}".strip()
    made = issuing.issue_client(ca, name, days or issuing.DAYS)
    issuing.save(made, certificate, key)
    if password:
        issuing.write_private(p12, made.pkcs12(name, password, ca.certificate))
    first = not certificates.bound(record.slug)
    bind(certificates, record.slug, made, device, "certificate.issued")
    app.follow()
    document: dict[str, Any] = {
        "facility": record.slug,
        "device": device,
        "certificate": str(certificate),
        "private_key": str(key),
        "pkcs12": str(p12) if password else None,
        "ca": str(policy.ca_file(app.settings)),
        "fingerprint": made.fingerprint,
        "not_after": made.certificate.not_valid_after_utc.isoformat(),
        "storescu": storescu(app, record, device, certificate, key),
    }
    if as_json:
        emit_json(document)
        return
    until = moment(made.certificate.not_valid_after_utc)[:10]
    click.echo(f"{plain(name)}: a client certificate, bound, valid until {until}")
    if first:
        click.echo(f"from now on {record.slug} takes bound certificates alone; bind those of its other senders too")
    click.echo("copy to the sender, then delete the key (and the PKCS#12 file) here:")
    click.echo(f"  certificate  {certificate}")
    click.echo(f"  key          {key}")
    if password:
        click.echo(f"  PKCS#12      {p12}   (key, certificate and CA in one, behind the password)")
    click.echo(f"  CA           {document['ca']}   (to be trusted by the sender)")
    click.echo("try it:")
    click.echo(f"  {plain(document['storescu'])}")


def storescu(app: App, record: "FacilityRecord", device: str, certificate: Path, key: Path) -> str:
    """dcmtk's command line for this sender."""
    from noctis.facilities.onboarding import calling_of, host_of, line
    from noctis.tls import policy

    tool = ["storescu", "-v", "+tls", str(key), str(certificate), "+cf", str(policy.ca_file(app.settings))]
    return line(tool, device or calling_of(record), record.ae_title, host_of(app.running_settings), record.port, "FILE")


def load_ca(app: App) -> "Issued":
    from noctis.tls import issuing, policy

    return issuing.load_ca(policy.ca_file(app.settings), policy.ca_key_file(app.settings))


def bind(certificates: "CertificateRegistry", facility: str, made: "Issued", device: str, action: str) -> None:
    certificates.bind(
        facility,
        made.fingerprint,
        device=device,
        subject=made.certificate.subject.rfc4514_string(),
        not_after=made.certificate.not_valid_after_utc,
        action=action,
    )


@tls.command("bind")
@click.argument("facility")
@click.argument("certificate", metavar="CERT.pem|FINGERPRINT")
@click.option("--device", metavar="AET", help="For this calling AE title alone.")
@json_option
@click.pass_obj
def bind_(app: App, facility: str, certificate: str, device: str | None, as_json: bool) -> None:
    """Make a client certificate FACILITY's: from then on nobody else's callers may show it.

    A certificate that somebody else's CA signed is bound by its PEM file, or by the fingerprint that a refusal names.
    """
    from noctis.facilities.bindings import check_fingerprint

    subject, not_after = "", None
    if Path(certificate).exists():
        fingerprint, subject, not_after = _read(Path(certificate))
    else:
        fingerprint = check_fingerprint(certificate)
    certificates = registry(app)
    record = certificates.bind(facility, fingerprint, device=device or "", subject=subject, not_after=not_after)
    app.follow()
    if as_json:
        emit_json({"facility": record.slug, "device": device or "", "fingerprint": fingerprint, "subject": subject})
        return
    of = f" for {device} alone" if device else ""
    click.echo(f"{plain(record.name)}: the certificate {plain(subject or fingerprint[:16])} is bound{of}")


def _read(path: Path) -> Any:
    from noctis.tls.inventory import Unreadable, fingerprint_of, read_certificates

    try:
        found = read_certificates(path)[0]
    except Unreadable as error:
        raise UsageError(
            f"{path}: {error}", fix="a PEM file: openssl x509 -inform DER -in CERT.der -out CERT.pem"
        ) from error
    return fingerprint_of(found), found.subject.rfc4514_string(), found.not_valid_after_utc


@tls.command()
@click.argument("certificate", metavar="CERT.pem|FINGERPRINT")
@json_option
@click.pass_obj
def unbind(app: App, certificate: str, as_json: bool) -> None:
    """Make a client certificate nobody's. FINGERPRINT may be its beginning, as `noctis tls list` shows it."""
    fingerprint = _read(Path(certificate))[0] if Path(certificate).is_file() else certificate
    certificates = registry(app)
    gone = certificates.unbind(fingerprint)
    left = certificates.bound(gone.facility)
    app.follow()
    if as_json:
        emit_json(
            {"facility": gone.facility, "device": gone.device, "fingerprint": gone.fingerprint, "left": len(left)}
        )
        return
    click.echo(f"{gone.facility}: the certificate {plain(gone.subject or gone.fingerprint[:16])} is bound no more")
    if not left:
        click.echo(f"{gone.facility} has no bound certificate now: any that the CA signed will do, this one too")


@tls.command("list")
@json_option
@click.pass_obj
def list_(app: App, as_json: bool) -> None:
    """List every certificate: the server's, facilities', the CA's and bound clients', and when each ends."""
    from noctis.tls.inventory import entries

    certificates = registry(app)
    found = entries(app.settings, certificates.snapshot().facilities, certificates.bound())
    if as_json:
        emit_json([each.as_json() for each in found])
        return
    show_table(
        ["what", "facility", "device", "subject", "ends", "fingerprint", "file", "problem"],
        [
            [
                each.kind,
                each.facility,
                each.device,
                each.subject,
                moment(each.not_after)[:10],
                each.fingerprint[:16],
                each.path,
                each.problem,
            ]
            for each in found
        ],
        empty="No certificate yet. Begin with: noctis tls make-ca",
    )
