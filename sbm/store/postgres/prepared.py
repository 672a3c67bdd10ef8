"""The statements that a session has prepared."""

from __future__ import annotations

from attrs import define, field, frozen

from sbm.store.postgres.statements import PARAMETER

# How many statements a session keeps prepared. A list takes 170 kB of the server's memory.
MAX_PREPARED = 40

# Sent with each execution of an ``indexed`` statement: the server may plan it then.
BY_INDEX = "SET LOCAL enable_seqscan = off;\n"


@frozen(kw_only=True)
class Preparation:
    """How a session prepares a statement under a name, and how it executes it by this name."""

    prepare: str
    execute: str

    @classmethod
    def of(cls, sql: str, name: str) -> Preparation:
        """The preparation of a statement whose parameters are ``%(name)s``."""
        parameters = list(dict.fromkeys(PARAMETER.findall(sql)))
        numbers = {parameter: f"${place}" for place, parameter in enumerate(parameters, 1)}
        numbered = PARAMETER.sub(lambda match: numbers[match[1]], sql)
        given = ", ".join(f"%({parameter})s" for parameter in parameters)
        return cls(
            # It is executed without parameters, so a percent sign stays as it is written.
            prepare=f"PREPARE {name} AS\n{numbered.replace('%%', '%')}",
            execute=f"EXECUTE {name} ({given})" if given else f"EXECUTE {name}",
        )


@define(eq=False, kw_only=True)
class PreparedStatements:
    """The statements that a session has prepared: the SQL that executes each, by its own SQL.

    The combinations of filters are many, so those that were not used for longest are dropped.
    """

    _execute: dict[str, str] = field(factory=dict, init=False)
    _made: int = field(default=0, init=False)

    def find(self, sql: str) -> str | None:
        """How this statement is executed, if it is prepared."""
        execute = self._execute.pop(sql, None)
        if execute is not None:
            self._execute[sql] = execute  # the latest comes last
        return execute

    def begin(self, sql: str) -> tuple[str, Preparation]:
        """What prepares this statement, and the preparation to ``keep`` when that is done."""
        self._made += 1
        preparation = Preparation.of(sql, f"sbm_{self._made}")
        if len(self._execute) < MAX_PREPARED:
            return preparation.prepare, preparation
        oldest = next(iter(self._execute))
        name = self._execute.pop(oldest).split()[1]
        return f"DEALLOCATE {name}; {preparation.prepare}", preparation

    def keep(self, sql: str, preparation: Preparation) -> str:
        """Note that the session has prepared it; returns how it is executed."""
        self._execute[sql] = preparation.execute
        return preparation.execute
