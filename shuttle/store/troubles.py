"""What a database's own errors are to the rest of the shuttle: one sentence that says what to do."""

from sqlalchemy.exc import SQLAlchemyError

from shuttle.errors import StoreError


def unusable(error: SQLAlchemyError) -> StoreError:
    """The driver's own words, without the statement and its values."""
    detail = str(getattr(error, "orig", None) or type(error).__name__)
    return StoreError(f"The database cannot be used now ({detail}); check the disk and the file's permissions.")
