"""Every kind of difference: how heavy it is, and why it matters."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """``why`` may use {table}, {object}, {reader} (what reads the table) and {uses} (what stops working)."""

    severity: str
    why: str


RULES: dict[str, Rule] = {
    # schemas and extensions
    "schema_missing": Rule("error", "the models' tables of this schema have no place"),
    "extension_missing": Rule("error", "types or functions that the models use come from it"),
    "extension_schema": Rule("error", "names of the extension that the models write without a schema are not found"),
    # tables
    "table_missing": Rule("error", "{reader} reads {object}: {uses}"),
    "table_extra": Rule("warning", "no model knows it: nothing maintains, migrates or reads it"),
    "table_renamed": Rule("error", "{reader} reads {object}, which has another name in the database: {uses}"),
    "table_moved": Rule("error", "{reader} reads {object}, which is not on the search path: {uses}"),
    "table_attached": Rule("error", "the table became a partition of another one, which now rules its rows"),
    "table_kind": Rule("error", "writes, constraints and locks behave differently on the other kind of relation"),
    "table_partitioning": Rule("error", "rows go to other partitions, or to none"),
    "table_partitions": Rule("error", "rows for which it has no partition are refused"),
    "table_persistence": Rule(
        "error", "an unlogged table is emptied by a crash and missing on standbys and in point-in-time recovery"
    ),
    "table_inheritance": Rule("error", "queries on the parent see other rows than the models assume"),
    "table_type": Rule("warning", "the table follows a composite type that the models do not know"),
    "table_storage": Rule("note", "storage parameters decide vacuuming and bloat"),
    "table_tablespace": Rule("warning", "the models place it on another disk"),
    "table_method": Rule("note", "another storage engine keeps its rows"),
    "table_server": Rule("error", "its rows come from another server"),
    "table_comment": Rule("note", "the documentation in the database differs"),
    "table_owner": Rule("warning", "migrations that run as the others' owner cannot alter it"),
    "table_grant": Rule("warning", "every role that may connect has this right"),
    "table_replica_identity": Rule(
        "warning", "logical replication identifies rows by it: updates or deletes fail, or send too much"
    ),
    "row_security": Rule("error", "row security decides which rows a role sees"),
    # columns
    "column_missing": Rule("error", "{reader} reads {object}: {uses}"),
    "column_extra": Rule("warning", "no model knows it: nothing fills or reads it"),
    "column_renamed": Rule("error", "{reader} reads {object}, which has another name in the database: {uses}"),
    "column_type": Rule("error", "values are stored, compared or refused differently"),
    "column_not_null": Rule("error", "the models and the database disagree whether it may be empty"),
    "column_default": Rule("warning", "a row inserted without this column gets something else than the models say"),
    "column_identity": Rule("error", "rows inserted without an id get none"),
    "column_sequence": Rule("warning", "ids are drawn differently"),
    "column_sequence_owner": Rule(
        "warning",
        "the sequence is not tied to its column: it survives a drop, and TRUNCATE … RESTART IDENTITY skips it",
    ),
    "column_generated": Rule("error", "the value is computed differently, or not at all"),
    "column_collation": Rule("warning", "sorting, comparison and LIKE indexes follow the collation"),
    "column_storage": Rule("note", "large values are stored differently"),
    "column_statistics": Rule("note", "the planner gathers other statistics"),
    "column_options": Rule("note", "the planner gathers other statistics"),
    "column_comment": Rule("note", "the documentation in the database differs"),
    "column_grant": Rule("warning", "every role that may connect has this right"),
    "sequence_behind": Rule("error", "the next insert draws a number that is taken: duplicate key"),
    # constraints
    "primary_key_missing": Rule("error", "rows can be doubled, and nothing can refer to them or replicate them"),
    "primary_key_extra": Rule("error", "inserts that the models allow are refused"),
    "primary_key_changed": Rule("error", "other columns identify a row than the models say"),
    "foreign_key_missing": Rule("error", "orphans are possible, and deletes do not cascade or stop"),
    "foreign_key_extra": Rule("error", "writes that the models allow are refused"),
    "foreign_key_changed": Rule("error", "deletes, updates or checks of the reference behave differently"),
    "unique_missing": Rule("error", "doubles are possible, and ON CONFLICT on these columns fails"),
    "unique_extra": Rule("error", "inserts that the models allow are refused"),
    "unique_changed": Rule("error", "other rows count as doubles than the models say"),
    "unique_as_index": Rule(
        "note", "the rule holds, but by the other means: ON CONFLICT ON CONSTRAINT sees only constraints"
    ),
    "check_missing": Rule("error", "values that the models exclude get in"),
    "check_extra": Rule("error", "values that the models allow are refused"),
    "check_changed": Rule("error", "other values are allowed than the models say"),
    "exclusion_missing": Rule("error", "overlaps that the models exclude get in"),
    "exclusion_extra": Rule("error", "rows that the models allow are refused"),
    "exclusion_changed": Rule("error", "other rows exclude each other than the models say"),
    "constraint_not_validated": Rule("warning", "existing rows were never checked, and the planner may not rely on it"),
    "constraint_not_enforced": Rule("error", "it stands in the catalog but nothing is checked"),
    "constraint_deferrable": Rule("error", "the moment of the check decides which order of statements works"),
    "constraint_name": Rule("note", "a migration or an error handler that uses the name does not find it"),
    "constraint_comment": Rule("note", "the documentation in the database differs"),
    # indexes
    "index_missing": Rule("warning", "queries that rely on it scan the table"),
    "index_extra": Rule("warning", "it costs every write, and no model asks for it"),
    "index_changed": Rule("warning", "the planner cannot use it as the models intend"),
    "index_unique_missing": Rule("error", "doubles are possible, and ON CONFLICT on these columns fails"),
    "index_unique_extra": Rule("error", "inserts that the models allow are refused"),
    "index_invalid": Rule("error", "a failed build left it: queries do not use it, and IF NOT EXISTS skips it"),
    "index_storage": Rule("note", "storage parameters decide its size and speed"),
    "index_tablespace": Rule("warning", "the models place it on another disk"),
    "index_name": Rule("note", "a migration that uses the name does not find it"),
    "index_comment": Rule("note", "the documentation in the database differs"),
    "index_clustered": Rule("note", "CLUSTER would sort the table by another index"),
    # objects of a table
    "trigger_missing": Rule("error", "what it does on a write does not happen"),
    "trigger_extra": Rule("warning", "it acts on writes, and no model knows it"),
    "trigger_changed": Rule("error", "it fires at other moments, or calls another function"),
    "trigger_disabled": Rule("error", "it does not fire as the models say"),
    "rule_missing": Rule("error", "queries are not rewritten as the models say"),
    "rule_extra": Rule("error", "it rewrites queries, and no model knows it"),
    "rule_changed": Rule("error", "it rewrites queries differently"),
    "policy_missing": Rule("error", "rows are hidden, or shown, that should not be"),
    "policy_extra": Rule("error", "rows are hidden, or shown, that should not be"),
    "policy_changed": Rule("error", "rows are hidden, or shown, that should not be"),
    # views
    "view_missing": Rule("error", "queries on it fail"),
    "view_extra": Rule("note", "no model knows it, and it blocks changes of the columns that it uses"),
    "view_definition": Rule("error", "it returns something else than the models say"),
    "view_options": Rule("warning", "whose rights and barriers apply inside differs"),
    "view_unpopulated": Rule("error", "it was never filled: every query on it fails"),
    # types
    "type_missing": Rule("error", "columns and casts that use it fail"),
    "type_extra": Rule("note", "no model knows it"),
    "type_changed": Rule("error", "values are stored or read differently"),
    "enum_label_missing": Rule("error", "writing the label fails: invalid input value for enum"),
    "enum_label_extra": Rule("warning", "a row with the label cannot be read by the model"),
    "enum_label_renamed": Rule("error", "writing the label fails, and rows with the other one cannot be read"),
    "enum_label_order": Rule("warning", "ORDER BY, < and max() follow the order of the labels"),
    "domain_changed": Rule("error", "other values are allowed than the models say"),
    "type_comment": Rule("note", "the documentation in the database differs"),
    "type_owner": Rule("warning", "migrations that run as the others' owner cannot alter it"),
    "type_grant": Rule("warning", "who may use the type differs"),
    # sequences
    "sequence_missing": Rule("error", "drawing a number from it fails"),
    "sequence_extra": Rule("note", "no model knows it"),
    "sequence_options": Rule("warning", "numbers are drawn differently, or run out earlier"),
    "sequence_comment": Rule("note", "the documentation in the database differs"),
    "sequence_owner": Rule("warning", "migrations that run as the others' owner cannot alter it"),
    "sequence_grant": Rule("warning", "every role that may connect has this right"),
    # functions
    "function_missing": Rule("error", "queries, defaults or triggers that call it fail"),
    "function_extra": Rule("note", "no model knows it"),
    "function_changed": Rule("error", "it computes something else than the models say"),
    "function_options": Rule("warning", "whose rights it runs with, or how it is planned, differs"),
    "function_comment": Rule("note", "the documentation in the database differs"),
    "function_owner": Rule("warning", "migrations that run as the others' owner cannot alter it"),
    "function_grant": Rule("warning", "who may call it differs"),
    # the rest
    "statistics_missing": Rule("note", "the planner estimates rows worse"),
    "statistics_extra": Rule("note", "no model asks for it"),
    "statistics_changed": Rule("note", "the planner estimates rows worse"),
    "statistics_comment": Rule("note", "the documentation in the database differs"),
    "schema_comment": Rule("note", "the documentation in the database differs"),
    "schema_owner": Rule("warning", "migrations that run as the others' owner cannot create in it"),
    "schema_grant": Rule(
        "warning", "every role that may connect has this right; CREATE lets it plant functions and tables"
    ),
    "default_grant": Rule("warning", "every new object gets rights that the models do not give"),
    "object_missing": Rule("error", "what uses it fails"),
    "object_changed": Rule("error", "what uses it behaves differently"),
    "object_extra": Rule("note", "no model knows it"),
}
