"""Alembic's folder. `sdl.journal.preparing` runs it when a journal is opened for writing.

A new migration: copy the newest file in versions/, count up `revision`, set `down_revision`, and
set `sdl.journal.schema.REVISION`. A test says whether tables and migrations agree.
"""
