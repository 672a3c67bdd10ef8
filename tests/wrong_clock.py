"""A database whose clock can be set wrong, while everything else goes on as it was."""

from __future__ import annotations

from tests.arrange import Arranged

_INSTALLED = """
CREATE SCHEMA wrong;
CREATE TABLE wrong.clock (ahead interval NOT NULL);
INSERT INTO wrong.clock VALUES ('0');
CREATE FUNCTION wrong.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT pg_catalog.now() + ahead FROM wrong.clock';
CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM wrong.clock';
DO $$
DECLARE
    here record;
BEGIN
    -- What columns take by default is bound to the system's now().
    FOR here IN
        SELECT adrelid::regclass AS relation, attname FROM pg_attrdef
          JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
          JOIN pg_class ON pg_class.oid = adrelid AND relnamespace = 'public'::regnamespace
         WHERE pg_get_expr(adbin, adrelid) = 'now()'
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER %I SET DEFAULT wrong.now()',
                       here.relation, here.attname);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I SET search_path = wrong, pg_catalog, public',
                   current_database());
END
$$;
SET search_path = wrong, pg_catalog, public;
"""


class WrongClock:
    """The clock of one database; it is right at first. Install it before anybody connects."""

    def __init__(self, direct: Arranged) -> None:
        self._direct = direct
        direct.rows(_INSTALLED)

    def set(self, ahead: float) -> None:
        """Make it wrong by so many seconds; 0 sets it right."""
        self._direct.rows("UPDATE wrong.clock SET ahead = make_interval(secs => %s)", ahead)
