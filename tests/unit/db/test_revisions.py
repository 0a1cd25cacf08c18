"""What `revisions` reads off the file names is what Alembic says."""

from alembic.script import ScriptDirectory

from noctis.db.migrate import alembic_config, revisions


def test_the_file_names_tell_the_revisions() -> None:
    script = ScriptDirectory.from_config(alembic_config())
    assert revisions() == [each.revision for each in reversed(list(script.walk_revisions()))]
    assert script.get_current_head() == revisions()[-1]
