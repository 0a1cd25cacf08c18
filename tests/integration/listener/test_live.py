"""What a listener tells of its open associations."""

from pathlib import Path

import pytest

from noctis.checks.echo import echo
from noctis.facilities.naming import CHECKING
from noctis.listener import live as reports
from noctis.observability import live
from tests.integration.listener.doors import house
from tests.integration.listener.test_callers import ACCEPTED, Caller
from tests.support import wait_for


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "EVERY_SECONDS", 0.02)
    monkeypatch.setattr(reports, "LINGER_SECONDS", 0.1)


def test_an_open_association_is_told_with_what_it_has_done_and_gone_when_it_is(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        folder = made.settings.paths.live
        with Caller(made["a"]) as caller:
            assert caller.associate(called="A", calling="CT_1") == ACCEPTED
            caller.echo()
            (told,) = wait_for(lambda: [each for each in live.read(folder) if each.echoes], what="its echo")
            assert (told.facility, told.called, told.calling, told.address) == ("a", "A", "CT_1", "127.0.0.1")
            assert (told.port, told.tls, told.instances, told.failures) == (made["a"].port, False, 0, 0)
            assert told.received > 100
            assert told.started_at <= told.last_data_at
        wait_for(lambda: not list(folder.iterdir()), what="the end of its file")
        wait_for(lambda: made["a"].listener._live._thread is None, what="the end of the thread")
        with Caller(made["a"]) as caller:
            assert caller.associate(called="A") == ACCEPTED
            assert wait_for(lambda: live.read(folder), what="another one, by a new thread")


def test_at_the_default_port_each_is_its_facilitys(tmp_path: Path) -> None:
    with house(tmp_path) as made, Caller(made["default"]) as first, Caller(made["default"]) as second:
        assert first.associate(called="A") == second.associate(called="B") == ACCEPTED
        told = wait_for(lambda: len(found := live.read(made.settings.paths.live)) == 2 and found, what="both")
        assert {each.facility for each in told} == {"a", "b"}
        assert {each.port for each in told} == {made["default"].port}


def test_who_was_turned_away_or_says_nothing_is_no_association(tmp_path: Path) -> None:
    with house(tmp_path) as made, Caller(made["a"]) as silent, Caller(made["a"]) as stranger:
        assert stranger.associate(called="NOBODY") != ACCEPTED
        assert silent is not None
        assert made["a"].listener._live._thread is None


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        made.settings.paths.live.rmdir()
        with Caller(made["a"]) as caller:
            assert caller.associate(called="A") == ACCEPTED
            assert made["a"].listener._live._thread is not None
            assert caller.echo()


def test_our_own_echo_can_be_told_from_a_senders(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        seen: list[str] = []
        real = made["a"].listener.recognise
        made["a"].listener.recognise = lambda *given, **more: seen.append(given[1]) or real(*given, **more)  # type: ignore[method-assign]
        assert echo(made.settings, "a", made["a"].port, "A").succeeded
        assert seen == [CHECKING]
