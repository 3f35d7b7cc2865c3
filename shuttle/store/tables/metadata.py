"""The collection that every table is in."""

import sqlalchemy as sa

metadata = sa.MetaData()
