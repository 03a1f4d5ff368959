"""The queries that describe the schema of a database by name: one for each kind of object.

What a dump does not carry (members of extensions, temporary objects, physical layout) is left out here.
"""

from __future__ import annotations

from ...core.secret_names import shown_options
from .queries import acl_list, no_member, row, user_schema

# Without the number by which some servers (Debian's 17.12) mark a column as theirs: a dump does not carry it.
_COLUMN_OPTIONS = (
    "(SELECT jsonb_agg(o.text ORDER BY o.place) FROM unnest(a.attoptions) WITH ORDINALITY AS o(text, place)"
    " WHERE o.text !~ '^pg_attver=')"
)

# NOT NULL is a constraint with a name since 18. Where a parent has it too, a dump leaves the name to that.
_NOT_NULL = (
    "(SELECT jsonb_strip_nulls(jsonb_build_object('name', CASE WHEN k.coninhcount = 0 THEN k.conname END,"
    " 'not valid', NULLIF(NOT k.convalidated, false), 'no inherit', NULLIF(k.connoinherit, false)))"
    " FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum])"
)

_AGGREGATE = (
    "(SELECT jsonb_build_object('functions', ARRAY[g.aggcombinefn, g.aggserialfn, g.aggdeserialfn, g.aggmtransfn,"
    " g.aggminvtransfn, g.aggmfinalfn]::regproc[]::text[], 'sort', g.aggsortop::regoperator::text, 'modify',"
    " concat(g.aggfinalmodify, g.aggmfinalmodify, g.aggfinalextra, g.aggmfinalextra), 'space', g.aggtransspace,"
    " 'moving', concat_ws(' ', NULLIF(g.aggmtranstype, 0)::regtype, g.aggmtransspace, g.aggminitval), 'parallel',"
    " p.proparallel, 'strict', p.proisstrict) FROM pg_aggregate g WHERE g.aggfnoid = p.oid)"
)

# What makes a domain, a range and a base type what it is, besides the above.
_TYPE_DETAILS = (
    "CASE y.typtype WHEN 'd' THEN to_jsonb(NULLIF(y.typcollation, 0)::regcollation::text)"
    " WHEN 'r' THEN (SELECT jsonb_strip_nulls(jsonb_build_object('multirange', r.rngmultitypid::regtype::text,"
    " 'class', (SELECT o.opcname FROM pg_opclass o WHERE o.oid = r.rngsubopc), 'collation',"
    " NULLIF(r.rngcollation, 0)::regcollation::text, 'canonical', NULLIF(r.rngcanonical, 0)::regproc::text,"
    " 'difference', NULLIF(r.rngsubdiff, 0)::regproc::text)) FROM pg_range r WHERE r.rngtypid = y.oid)"
    " WHEN 'b' THEN jsonb_build_object('functions', ARRAY[y.typinput, y.typoutput, y.typreceive, y.typsend, y.typmodin,"
    " y.typmodout, y.typanalyze]::regproc[]::text[], 'storage', concat_ws(' ', y.typlen, y.typbyval, y.typalign,"
    " y.typstorage, y.typdelim, y.typcategory, y.typispreferred, y.typcollation, y.typdefault)) END"
)

_NAMED_RELATION = f"pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {user_schema()}"


SHELL = "pg_dump leaves out operators that are only a shell (pg_dump.c, dumpOpr)"

NOT_REPLICATED = "a copy gets no subscription, so that it does not replicate (PostgreSQL documentation, pg_restore)"

# Why pg_dump has no statement for a comment, by what it is about (pg_dump.c: dumpIndex, dumpRule, dumpConstraint, …).
_COMMENT_LEFT_OUT = (
    "CASE s.classoid"
    " WHEN 'pg_class'::regclass THEN (SELECT 'pg_dump leaves out invalid indexes' FROM pg_index i"
    "   WHERE i.indexrelid = s.objoid AND NOT i.indisvalid)"
    " WHEN 'pg_rewrite'::regclass THEN (SELECT 'pg_dump takes the rule of a view for part of the view' FROM pg_rewrite"
    "   WHERE oid = s.objoid AND rulename = '_RETURN')"
    " WHEN 'pg_constraint'::regclass THEN (SELECT 'pg_dump leaves constraints that a table inherits to their parent'"
    "   FROM pg_constraint WHERE oid = s.objoid AND (conparentid <> 0 OR conrelid <> 0 AND NOT conislocal))"
    " WHEN 'pg_trigger'::regclass THEN (SELECT 'pg_dump leaves triggers that a partition inherits to their parent'"
    "   FROM pg_trigger WHERE oid = s.objoid AND (tgisinternal OR tgparentid <> 0))"
    f" WHEN 'pg_subscription'::regclass THEN '{NOT_REPLICATED}'"
    f" WHEN 'pg_operator'::regclass THEN (SELECT '{SHELL}' FROM pg_operator WHERE oid = s.objoid AND oprcode = 0)"
    " END"
)


_SCHEMA = row(
    "schema", "n.nspname", "''",
    [("owner", "pg_get_userbyid(n.nspowner)"), ("acl", acl_list("n.nspacl", "n.nspowner", "'n'"))],
    f"FROM pg_namespace n WHERE {user_schema()} AND {no_member('pg_namespace', 'n.oid')}",
)  # fmt: skip

_RELATION = row(
    "relation", "n.nspname", "c.relname",
    [
        ("kind", "c.relkind"), ("owner", "pg_get_userbyid(c.relowner)"),
        ("acl", acl_list("c.relacl", "c.relowner", "CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r' END")),
        ("persistence", "c.relpersistence"), ("options", "c.reloptions"),
        ("row security", "CASE WHEN c.relrowsecurity THEN c.relforcerowsecurity::text END"),
        ("replica identity", "c.relreplident"),
        ("partition key", "CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END"),
        ("partition bound", "pg_get_expr(c.relpartbound, c.oid)"),
        ("parents", "(SELECT jsonb_agg(h.inhparent::regclass::text ORDER BY h.inhseqno) FROM pg_inherits h"
                    " WHERE h.inhrelid = c.oid)"),
        ("view", "CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END"),
        ("populated", "CASE WHEN c.relkind = 'm' THEN c.relispopulated END"),
        ("access method", "(SELECT m.amname FROM pg_am m WHERE m.oid = c.relam)"),
        ("tablespace", "(SELECT s.spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace)"),
        ("of type", "CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END"),
        ("toast options", "(SELECT to_jsonb(t.reloptions) FROM pg_class t WHERE t.oid = c.reltoastrelid)"),
        ("server", "(SELECT s.srvname FROM pg_foreign_table t JOIN pg_foreign_server s ON s.oid = t.ftserver"
                   " WHERE t.ftrelid = c.oid)"),
        ("foreign options", f"(SELECT {shown_options('t.ftoptions')} FROM pg_foreign_table t"
                            " WHERE t.ftrelid = c.oid)"),
    ],
    f"FROM {_NAMED_RELATION} WHERE c.relkind IN ('r','p','v','m','f','S') AND c.relpersistence <> 't'"
    f" AND {no_member('pg_class', 'c.oid')}",
)  # fmt: skip


def _column(version: int) -> str:
    not_null = [("not null constraint", _NOT_NULL)] if version >= 180000 else []
    return row(
        "column", "n.nspname", "c.relname || '.' || a.attname",
        [
            ("type", "format_type(a.atttypid, a.atttypmod)"), ("not null", "NULLIF(a.attnotnull, false)"),
            ("default", "pg_get_expr(d.adbin, d.adrelid)"), ("identity", "NULLIF(a.attidentity, '')"),
            ("generated", "NULLIF(a.attgenerated, '')"),
            ("collation", "(SELECT o.collname FROM pg_collation o JOIN pg_type y ON y.oid = a.atttypid"
                          " WHERE o.oid = a.attcollation AND a.attcollation <> y.typcollation)"),
            ("position", "(SELECT count(*) FROM pg_attribute b WHERE b.attrelid = a.attrelid AND b.attnum > 0"
                         " AND b.attnum <= a.attnum AND NOT b.attisdropped)"),
            ("storage", "(SELECT a.attstorage FROM pg_type y WHERE y.oid = a.atttypid"
                        " AND a.attstorage <> y.typstorage)"),
            ("compression", "NULLIF(a.attcompression, '')"),
            ("inherits", "CASE WHEN NOT c.relispartition AND EXISTS (SELECT FROM pg_inherits h"
                         " WHERE h.inhrelid = c.oid) THEN c.relname END"),
            ("statistics", "CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END"),
            ("options", _COLUMN_OPTIONS), ("foreign options", "a.attfdwoptions"), *not_null,
            ("acl", "CASE WHEN a.attacl IS NOT NULL THEN " + acl_list("a.attacl", "c.relowner", "'c'") + " END"),
        ],
        f"FROM {_NAMED_RELATION} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
        " WHERE c.relkind IN ('r','p','v','m','f','c') AND c.relpersistence <> 't'"
        f" AND {no_member('pg_class', 'c.oid')}",
    )  # fmt: skip


_CONSTRAINT = row(
    "constraint", "n.nspname",
    "CASE WHEN k.conrelid <> 0 THEN (SELECT c.relname FROM pg_class c WHERE c.oid = k.conrelid)"
    " ELSE format_type(k.contypid, NULL) END || '.' || k.conname",
    [("definition", "pg_get_constraintdef(k.oid)"), ("validated", "k.convalidated"),
     ("inherited", "CASE WHEN k.contype = 'f' AND k.conparentid <> 0 THEN k.conrelid::regclass::text END")],
    # NOT NULL is an attribute of its column here; since 18 it is a constraint with a name as well
    f"FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace AND {user_schema()}"
    f" WHERE k.contype NOT IN ('n', 't') AND {no_member('pg_constraint', 'k.oid')}"
    f" AND {no_member('pg_class', 'k.conrelid')} AND {no_member('pg_type', 'k.contypid')}",
)  # fmt: skip


def _index(version: int) -> str:
    nulls = "i.indnullsnotdistinct" if version >= 150000 else "false"
    return row(
        "index", "n.nspname", "c.relname",
        [("definition", "pg_get_indexdef(i.indexrelid)"), ("clustered", "NULLIF(i.indisclustered, false)"),
         ("replica identity", "NULLIF(i.indisreplident, false)"), ("nulls not distinct", f"NULLIF({nulls}, false)"),
         ("tablespace", "(SELECT s.spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace)"),
         ("parents", "(SELECT jsonb_agg(h.inhparent::regclass::text) FROM pg_inherits h WHERE h.inhrelid = c.oid)"),
         ("valid", "NULLIF(i.indisvalid, true)"),
         ("statistics", "(SELECT jsonb_object_agg(a.attnum, a.attstattarget) FROM pg_attribute a"
                        " WHERE a.attrelid = c.oid AND a.attstattarget >= 0)")],
        # pg_dump leaves invalid indexes out (a failed CREATE INDEX CONCURRENTLY): they are notes, see NOTES
        f"FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" AND {user_schema()} WHERE (i.indisvalid OR c.relkind = 'I') AND c.relpersistence <> 't'"
        f" AND {no_member('pg_class', 'i.indrelid')}",
    )  # fmt: skip


_SEQUENCE = row(
    "sequence", "n.nspname", "c.relname",
    [("type", "format_type(q.seqtypid, NULL)"), ("start", "q.seqstart"), ("increment", "q.seqincrement"),
     ("minimum", "q.seqmin"), ("maximum", "q.seqmax"), ("cache", "q.seqcache"), ("cycle", "q.seqcycle"),
     ("owned by", "(SELECT p.refobjid::regclass::text || '.' || a.attname FROM pg_depend p JOIN pg_attribute a"
                  " ON a.attrelid = p.refobjid AND a.attnum = p.refobjsubid"
                  " WHERE p.classid = 'pg_class'::regclass AND p.objid = c.oid"
                  " AND p.refclassid = 'pg_class'::regclass AND p.deptype IN ('a', 'i'))")],
    f"FROM pg_sequence q JOIN pg_class c ON c.oid = q.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" AND {user_schema()} WHERE c.relpersistence <> 't' AND {no_member('pg_class', 'c.oid')}",
)  # fmt: skip

_ROUTINE = row(
    "routine", "n.nspname", "p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'",
    [("source", "CASE p.prokind WHEN 'a' THEN pg_get_function_result(p.oid)"
                    " ELSE pg_get_functiondef(p.oid) END"),
     ("aggregate", "(SELECT concat_ws(' ', g.aggtransfn::regproc, NULLIF(g.aggfinalfn, 0)::regproc,"
                   " format_type(g.aggtranstype, NULL), g.agginitval, g.aggkind) FROM pg_aggregate g"
                   " WHERE g.aggfnoid = p.oid)"),
     ("aggregate details", _AGGREGATE),
     ("owner", "pg_get_userbyid(p.proowner)"), ("acl", acl_list("p.proacl", "p.proowner", "'f'"))],
    f"FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {user_schema()}"
    f" WHERE {no_member('pg_proc', 'p.oid')}",
)  # fmt: skip

_TYPE = row(
    "type", "n.nspname", "y.typname",
    [("kind", "y.typtype"), ("owner", "pg_get_userbyid(y.typowner)"),
     ("acl", acl_list("y.typacl", "y.typowner", "'T'")),
     ("labels", "(SELECT jsonb_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_enum l"
                " WHERE l.enumtypid = y.oid)"),
     ("base", "CASE WHEN y.typtype = 'd' THEN format_type(y.typbasetype, y.typtypmod) END"),
     # Not typdefault: it is text of the search path that the domain was made under.
     ("default", "CASE WHEN y.typtype = 'd' THEN pg_get_expr(y.typdefaultbin, 0) END"),
     ("not null", "NULLIF(y.typnotnull, false)"),
     ("range of", "(SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = y.oid)"),
     ("details", _TYPE_DETAILS)],
    f"FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace AND {user_schema()}"
    " LEFT JOIN pg_class c ON c.oid = y.typrelid"
    " WHERE (y.typtype IN ('e', 'd', 'r', 'b') OR c.relkind = 'c') AND NOT EXISTS (SELECT FROM pg_type e"
    f" WHERE e.typarray = y.oid) AND {no_member('pg_type', 'y.oid')}",
)  # fmt: skip

_TRIGGER = row(
    "trigger", "n.nspname", "c.relname || '.' || g.tgname",
    [("definition", "pg_get_triggerdef(g.oid)"), ("enabled", "g.tgenabled")],
    f"FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" AND {user_schema()} WHERE NOT g.tgisinternal AND {no_member('pg_class', 'c.oid')}",
)  # fmt: skip

_RULE = row(
    "rule", "n.nspname", "c.relname || '.' || r.rulename",
    [("definition", "pg_get_ruledef(r.oid)"), ("enabled", "r.ev_enabled")],
    f"FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" AND {user_schema()} WHERE r.rulename <> '_RETURN' AND {no_member('pg_class', 'c.oid')}",
)  # fmt: skip

_POLICY = row(
    "policy", "n.nspname", "c.relname || '.' || o.polname",
    [("command", "o.polcmd"), ("permissive", "o.polpermissive"),
     ("using", "pg_get_expr(o.polqual, o.polrelid)"),
     ("check", "pg_get_expr(o.polwithcheck, o.polrelid)"),
     ("roles", "(SELECT jsonb_agg(x ORDER BY x) FROM (SELECT CASE WHEN m = 0 THEN 'PUBLIC' ELSE"
               " pg_get_userbyid(m)::text END AS x FROM unnest(o.polroles) AS m) AS roles)")],
    f"FROM pg_policy o JOIN pg_class c ON c.oid = o.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" AND {user_schema()} WHERE {no_member('pg_class', 'c.oid')}",
)  # fmt: skip

_DEFAULT_PRIVILEGES = row(
    "default privileges", "coalesce(n.nspname, '')",
    "pg_get_userbyid(f.defaclrole) || ' ' || f.defaclobjtype::text",
    [("acl", acl_list("f.defaclacl", "f.defaclrole", "f.defaclobjtype"))],
    "FROM pg_default_acl f LEFT JOIN pg_namespace n ON n.oid = f.defaclnamespace",
)  # fmt: skip

_STATISTICS = row(
    "statistics", "n.nspname", "x.stxname",
    [("definition", "pg_get_statisticsobjdef(x.oid)"), ("owner", "pg_get_userbyid(x.stxowner)"),
     ("target", "CASE WHEN x.stxstattarget >= 0 THEN x.stxstattarget END")],
    f"FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace AND {user_schema()}",
)  # fmt: skip


def _publication(version: int) -> str:
    part = schemas = "NULL"
    generated = "NULLIF(p.pubgencols, 'n')" if version >= 180000 else "NULL"
    if version >= 150000:
        part = (
            "(SELECT jsonb_agg(a.attname ORDER BY a.attname) FROM pg_attribute a WHERE a.attrelid = r.prrelid"
            " AND a.attnum = ANY (r.prattrs)), pg_get_expr(r.prqual, r.prrelid)"
        )
        schemas = (
            "(SELECT jsonb_agg(w.pnnspid::regnamespace::text ORDER BY w.pnnspid::regnamespace::text)"
            " FROM pg_publication_namespace w WHERE w.pnpubid = p.oid)"
        )
    return row(
        "publication", "''", "p.pubname",
        [("owner", "pg_get_userbyid(p.pubowner)"), ("all tables", "p.puballtables"),
         ("actions", "concat(p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate)"),
         ("root", "NULLIF(p.pubviaroot, false)"), ("schemas", schemas), ("generated columns", generated),
         ("tables", f"(SELECT jsonb_agg(t ORDER BY t) FROM (SELECT concat_ws(' ', r.prrelid::regclass, {part}) AS t"
                    " FROM pg_publication_rel r WHERE r.prpubid = p.oid) AS tables)")],
        "FROM pg_publication p",
    )  # fmt: skip


_EVENT_TRIGGER = row(
    "event trigger", "''", "v.evtname",
    [("event", "v.evtevent"), ("function", "v.evtfoid::regproc::text"), ("enabled", "v.evtenabled"),
     ("tags", "v.evttags"), ("owner", "pg_get_userbyid(v.evtowner)")],
    f"FROM pg_event_trigger v WHERE {no_member('pg_event_trigger', 'v.oid')}",
)  # fmt: skip

_EXTENSION = row(
    "extension", "''", "x.extname", [("schema", "n.nspname")],
    "FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace",
)  # fmt: skip

_COMMENT = row(
    "comment", "coalesce(o.schema, '')", "o.type || ' ' || o.identity",
    [("text", "s.description"), ("left out", _COMMENT_LEFT_OUT)],
    "FROM pg_description s CROSS JOIN LATERAL pg_identify_object(s.classoid, s.objoid, s.objsubid) AS o"
    # The schema public is built in, or a person's own; the number of a large object is anybody's choice.
    " WHERE (s.objoid >= 16384 OR s.classoid = 'pg_largeobject'::regclass OR (s.classoid ="
    " 'pg_namespace'::regclass AND s.objoid = (SELECT oid FROM pg_namespace WHERE nspname = 'public')))"
    " AND o.identity IS NOT NULL AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = s.classoid"
    " AND e.objid = s.objoid AND e.deptype = 'e') AND s.classoid <> 'pg_extension'::regclass",
)  # fmt: skip


def catalog_queries(version: int) -> list[str]:
    """Queries of (kind, schema, name, definition); ``version`` is server_version_num."""
    return [
        _SCHEMA,
        _RELATION,
        _column(version),
        _CONSTRAINT,
        _index(version),
        _SEQUENCE,
        _ROUTINE,
        _TYPE,
        _TRIGGER,
        _RULE,
        _POLICY,
        _DEFAULT_PRIVILEGES,
        _STATISTICS,
        _publication(version),
        _EVENT_TRIGGER,
        _EXTENSION,
        _COMMENT,
    ]
