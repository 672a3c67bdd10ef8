"""A database that is told the time by a test, not by its machine."""

from __future__ import annotations

from tests.arrange import Arranged

# Everything that SQL calls to know the time, and its volatility. What is missing here would tell
# the time of the machine, in the middle of another time. No name can hide CURRENT_TIMESTAMP and the
# like, so no statement has them.
CLOCKS = {
    "now": "STABLE",
    "transaction_timestamp": "STABLE",
    "statement_timestamp": "STABLE",
    "clock_timestamp": "VOLATILE",
}

# A schema that is searched before the system's own. What columns take by default is bound to the
# system's functions already.
_INSTALLED = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.clock ({column});
INSERT INTO {schema}.clock VALUES ({value});
{functions}
DO $$
DECLARE
    here record;
BEGIN
    FOR here IN
        SELECT adrelid::regclass AS relation, attname, pg_get_expr(adbin, adrelid) AS expression
          FROM pg_attrdef
          JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
          JOIN pg_class ON pg_class.oid = adrelid AND relnamespace = 'public'::regnamespace
         WHERE pg_get_expr(adbin, adrelid) = ANY('{{{calls}}}')
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER %I SET DEFAULT {schema}.%s',
                       here.relation, here.attname, here.expression);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I SET search_path = {schema}, pg_catalog, public',
                   current_database());
END
$$;
SET search_path = {schema}, pg_catalog, public;
"""
_FUNCTION = """
CREATE FUNCTION {schema}.{name}() RETURNS timestamptz LANGUAGE sql {volatility}
    AS 'SELECT {time} FROM {schema}.clock';
"""


def simulate_time(direct: Arranged, *, schema: str, column: str, value: str, time: str) -> None:
    """Let all clocks of this database show ``time``; do it before anybody connects.

    ``time`` is an expression over ``column``, which is the only column of ``<schema>.clock`` and is
    ``value`` at first. In it, ``{name}`` is the clock that it stands for.
    """
    functions = "".join(
        _FUNCTION.format(
            schema=schema, name=name, volatility=volatility, time=time.format(name=name)
        )
        for name, volatility in CLOCKS.items()
    )
    direct.rows(
        _INSTALLED.format(
            schema=schema,
            column=column,
            value=value,
            functions=functions,
            calls=",".join(f"{name}()" for name in CLOCKS),
        )
    )
