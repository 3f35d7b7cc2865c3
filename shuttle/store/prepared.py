"""Statements that are compiled once: compiling those of a POST takes longer than SQLite needs to execute them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from shuttle.store.tx import Tx

Values = Mapping[str, Any]
# None = the transaction has written nothing.
TRANSACTION_ID = "SELECT pg_current_xact_id_if_assigned()::text"
_T = TypeVar("_T")


def padded(values: Sequence[_T]) -> list[_T]:
    """Repeat the last value up to a power of two, so that only eight statements are compiled for up to 128 values."""
    return [*values, *[values[-1]] * ((1 << (len(values) - 1).bit_length()) - len(values))]


class _Compiled(NamedTuple):
    """A statement for a driver. Its parameters are positional, in the order of `names`, or named (`names` None).

    `constants` are the parameters whose values are part of the statement, for example the number of a LIMIT.
    """

    sql: str
    names: Sequence[str] | None
    constants: Values
    converters: Mapping[str, Callable[[Any], Any]]
    positional_converters: Sequence[tuple[int, Callable[[Any], Any]]]
    result_converters: Sequence[tuple[int, Callable[[Any], Any]]]

    def parameters(self, values: Values) -> Any:
        if self.constants:
            values = {**self.constants, **values}
        if self.names is None:
            return {**values, **{name: convert(values[name]) for name, convert in self.converters.items()}}
        row = [values[name] for name in self.names]
        for index, convert in self.positional_converters:
            row[index] = convert(row[index])
        return tuple(row)

    def converted(self, row: Sequence[Any]) -> Sequence[Any]:
        """The row of a query with the values that its columns have in Python."""
        values = list(row)
        for index, convert in self.result_converters:
            if values[index] is not None:
                values[index] = convert(values[index])
        return values


class Prepared:
    """A Core statement whose parameters are named by `bindparam`, or by the columns of an insert.

    Measured on SQLite with a query for one row of ten columns: 15 µs this way, 59 µs with `exec_driver_sql`, which
    describes the columns of each result anew, 72 µs with `Connection.execute`, and 356 µs if the query is also built
    each time. On PostgreSQL `exec_driver_sql` is used all the same: it marks a lost connection as such.
    """

    def __init__(self, statement: sa.ClauseElement, columns: Sequence[str] | None = None) -> None:
        """`columns` are the columns that an insert sets."""
        self._statement: Any = statement
        self._columns = columns
        self._by_dialect: dict[str, _Compiled] = {}

    def run(self, tx: Tx, rows: Sequence[Values]) -> int:
        """Execute the statement for each of `rows`; returns the number of changed rows."""
        tx.wrote = True
        compiled = self.compiled(tx.connection.dialect)
        parameters = [compiled.parameters(row) for row in rows]
        if not tx.alone:
            return tx.connection.exec_driver_sql(compiled.sql, parameters).rowcount
        with closing(tx.connection.connection.cursor()) as cursor:
            cursor.executemany(compiled.sql, parameters)
            return cursor.rowcount

    def fetch(self, tx: Tx, values: Values) -> Sequence[Sequence[Any]]:
        """The rows of a query."""
        compiled = self.compiled(tx.connection.dialect)
        parameters = compiled.parameters(values)
        if tx.alone:
            with closing(tx.connection.connection.cursor()) as cursor:
                cursor.execute(compiled.sql, parameters)
                rows: Sequence[Sequence[Any]] = cursor.fetchall()
        else:
            rows = tx.connection.exec_driver_sql(compiled.sql, parameters).fetchall()
        return [compiled.converted(row) for row in rows] if compiled.result_converters else rows

    def fetch_wide(self, tx: Tx, values: Values) -> Sequence[Sequence[Any]]:
        """The rows of a query that has as many columns as a build.

        On PostgreSQL SQLAlchemy executes it, which then describes the columns once only.
        """
        return self.fetch(tx, values) if tx.alone else tx.connection.execute(self._statement, values).all()

    @property
    def writes(self) -> bool:
        """Whether the statement changes rows."""
        return not isinstance(self._statement, sa.SelectBase)

    def compiled(self, dialect: sa.Dialect) -> _Compiled:
        """The statement for the driver of this dialect."""
        compiled = self._by_dialect.get(dialect.name)
        if compiled is None:
            compiled = self._by_dialect[dialect.name] = self._compile(dialect)
        return compiled

    def _compile(self, dialect: sa.Dialect) -> _Compiled:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)  # noqa: S101 - DDL has no parameters to prepare
        kinds = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()}
        converters = {name: convert for name, convert in kinds.items() if convert is not None}
        names = tuple(compiled.positiontup or ()) if compiled.positional else None
        constants = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
        positional = [(index, converters[name]) for index, name in enumerate(names or ()) if name in converters]
        results = _result_converters(self._statement, dialect)
        return _Compiled(compiled.string, names, constants, converters, positional, results)


class Call(NamedTuple):
    """A statement with its parameters, for `fetch_together`."""

    statement: Prepared
    values: Values


def fetch_together(tx: Tx, calls: Sequence[Call]) -> list[Sequence[Sequence[Any]]]:
    """Execute the statements one after the other; returns the rows of each.

    PostgreSQL gets them at once, so that they take one round trip together instead of one each. With writes, it also
    returns the transaction's id, which would take another one before the commit.
    """
    if tx.alone:
        tx.wrote = tx.wrote or any(call.statement.writes for call in calls)
        return [call.statement.fetch(tx, call.values) for call in calls]
    return _fetch_in_pipeline(tx, calls)


def _fetch_in_pipeline(tx: Tx, calls: Sequence[Call]) -> list[Sequence[Sequence[Any]]]:
    driver: Any = tx.connection.connection.driver_connection
    writes = any(call.statement.writes for call in calls)
    tx.wrote = tx.wrote or writes
    compiled = [call.statement.compiled(tx.connection.dialect) for call in calls]
    with _driver_errors(tx.connection, driver):
        with driver.pipeline():
            cursors = [
                driver.execute(one.sql, one.parameters(call.values)) for one, call in zip(compiled, calls, strict=True)
            ]
            of_transaction = driver.execute(TRANSACTION_ID) if writes else None
        results = [cursor.fetchall() if cursor.description else () for cursor in cursors]
        if of_transaction is not None:
            tx.transaction_id = of_transaction.fetchone()[0]
    return [
        [one.converted(row) for row in rows] if one.result_converters else rows
        for one, rows in zip(compiled, results, strict=True)
    ]


@contextmanager
def _driver_errors(connection: sa.Connection, driver: Any) -> Iterator[None]:
    """Raise errors of the driver as SQLAlchemy does, whose functions are not called here."""
    base: Any = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except base as error:
        if driver.closed:
            connection.invalidate(error)
        raise sa.exc.DBAPIError.instance(
            "statements in a pipeline", None, error, base, hide_parameters=True, dialect=connection.dialect
        ) from None


def _result_converters(statement: sa.ClauseElement, dialect: sa.Dialect) -> Sequence[tuple[int, Callable[[Any], Any]]]:
    """The conversions of a query's columns, by their places."""
    if not isinstance(statement, sa.SelectBase):
        return ()
    kinds = (column.type.dialect_impl(dialect).result_processor(dialect, None) for column in statement.selected_columns)
    return [(index, convert) for index, convert in enumerate(kinds) if convert is not None]
