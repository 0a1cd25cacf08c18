"""Files, series and studies as they are downloaded: bit for bit, a few at a time, and nothing from anywhere else."""

import io
import os
import zipfile

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from noctis.db.models import Instance
from noctis.users.roles import Role
from noctis.web import downloads
from noctis.web.site import Site
from tests.integration.web.conftest import LogIn
from tests.integration.web.viewed import API, SERIES, STUDY, file_of


def set_path(site: Site, number: int, path: str) -> None:
    with site.engine.begin() as connection:
        where = Instance.sop_instance_uid == f"{SERIES}.{number}"
        connection.execute(update(Instance).where(where).values(path=path))


def test_a_file_as_it_was_sent(filed: Site, admin: TestClient) -> None:
    answer = admin.get(f"{API}/series/{SERIES}/instances/{SERIES}.2/file")
    assert answer.content == file_of(filed, 2).read_bytes()
    assert answer.headers["content-type"] == "application/dicom"
    assert answer.headers["content-disposition"] == f'attachment; filename="{SERIES}.2.dcm"'
    assert answer.headers["content-length"] == str(len(answer.content))


def test_a_study_and_a_series_as_zip(filed: Site, admin: TestClient) -> None:
    for path in (f"{API}/archive.zip", f"{API}/series/{SERIES}/archive.zip"):
        answer = admin.get(path)
        assert answer.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            assert sorted(archive.namelist()) == [f"{SERIES}/{SERIES}.{number}.dcm" for number in (1, 2, 3)]
            assert archive.read(f"{SERIES}/{SERIES}.2.dcm") == file_of(filed, 2).read_bytes()


def test_a_zip_says_what_is_missing(filed: Site, admin: TestClient) -> None:
    file_of(filed, 2).unlink()
    with zipfile.ZipFile(io.BytesIO(admin.get(f"{API}/archive.zip").content)) as archive:
        assert f"{SERIES}.2.dcm" in archive.read("MISSING.txt").decode()
        assert len(archive.namelist()) == 3


def test_a_file_that_breaks_off_breaks_the_download_off(
    filed: Site, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pread", lambda descriptor, length, at: b"")
    broken = admin.get(f"{API}/archive.zip").content
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(broken))
    monkeypatch.undo()
    assert admin.get(f"{API}/archive.zip").status_code == 200  # and its place is free again


def test_a_doctored_row_leads_nowhere(filed: Site, admin: TestClient) -> None:
    folder = filed.home.media / "central"
    (folder / "link.dcm").symlink_to(filed.home.sqlite)
    (folder / "linked").symlink_to(filed.home.media / "north" / STUDY)
    os.mkfifo(folder / "pipe.dcm")
    at = f"{API}/series/{SERIES}/instances/{SERIES}.2"
    for path in (
        "../../noctis.db",
        "central/../north/1.dcm",
        f"north/{STUDY}/{SERIES}/{SERIES}.9.dcm",
        "/etc/passwd",
        "central",
        "central/",
        f"central/{STUDY}",
        "",
        "central/link.dcm",
        f"central/linked/{SERIES}/{SERIES}.9.dcm",
        "central/pipe.dcm",
    ):
        set_path(filed, 2, path)
        for what in ("file", "frames/1.png", "elements"):
            assert admin.get(f"{at}/{what}").status_code == 404, path
        with zipfile.ZipFile(io.BytesIO(admin.get(f"{API}/archive.zip").content)) as archive:
            assert f"{SERIES}/{SERIES}.2.dcm" not in archive.namelist()


def test_a_few_download_at_a_time(filed: Site, admin: TestClient, log_in: LogIn) -> None:
    places = [filed.downloads.take("admin", "central") for _ in range(downloads.ACCOUNT_MAX)]
    answer = admin.get(f"{API}/archive.zip")
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert log_in("viewer").get(f"{API}/archive.zip").status_code == 200
    filed.downloads.give_back(places[0])
    for _ in range(5):  # each gives its place back
        assert admin.get(f"{API}/series/{SERIES}/instances/{SERIES}.2/file").status_code == 200


@pytest.mark.parametrize("what", ["archive.zip", f"series/{SERIES}/instances/{SERIES}.2/file"])
def test_it_ends_with_the_account(filed: Site, log_in: LogIn, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(downloads, "LOOK_SECONDS", 0.0)
    client = log_in("facility", "central")
    whole = client.get(f"{API}/{what}").content
    real = filed.downloads.take

    def take(account: str, slug: str) -> downloads.Place:
        filed.accounts("test").edit(account, role=Role.VIEWER)  # in the moment in which it begins
        return real(account, slug)

    monkeypatch.setattr(filed.downloads, "take", take)
    assert len(client.get(f"{API}/{what}").content) < len(whole)
