"""What every table is declared with: the metadata, and columns that many have."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData, func

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)


def created() -> Column[object]:
    """Return the column of when a row was added."""
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def updated() -> Column[object]:
    """Return the column of when a row was last changed."""
    return Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now())
