"""The tables in which Alembic keeps its versions, known by their form, under any name."""

from __future__ import annotations


def is_one(oid: str) -> str:
    """SQL: whether the relation ``oid`` has the form of a version table: the text column ``version_num`` alone, or as
    its key and the only column that a row has to give."""
    return f"""EXISTS (SELECT 1 FROM pg_attribute AS v WHERE v.attrelid = {oid} AND v.attnum > 0 AND NOT v.attisdropped
           HAVING bool_or(v.attname = 'version_num' AND v.atttypid IN (25, 1043)) AND (count(*) = 1 OR bool_and(
             CASE v.attname WHEN 'version_num' THEN v.attnotnull AND NOT v.atthasdef
             ELSE NOT v.attnotnull OR v.atthasdef OR v.attidentity <> '' END)
           AND NOT EXISTS (SELECT 1 FROM pg_index AS k JOIN pg_attribute AS a ON a.attrelid = k.indrelid
             AND a.attnum = ANY (k.indkey) WHERE k.indrelid = {oid} AND k.indisprimary
             AND a.attname <> 'version_num')))"""
