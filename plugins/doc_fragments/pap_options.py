"""The options of the phases, an attribute for each. Made by tools/generate_options.py; edit tools/options.yml."""

from __future__ import annotations


class ModuleDocFragment:
    PREFLIGHT = r"""
options:
  allow_drift:
    type: bool
    default: false
    description: Go on although the schema was changed by hand since the last release.
  allow_out_of_order:
    type: bool
    default: false
    description: Go on although a pending migration is older than the newest applied one.
  allow_failing_login:
    type: bool
    default: false
    description: >-
      Go on although the login smoke test fails at the API that runs now: the user is made by this deploy, or the
      login is what it mends.
  try_login:
    type: bool
    default: false
    description: >-
      In a plan, log in as the deploy would, also with a wrong password. The API writes what a login writes, which a
      plan does not do by itself.
  force:
    type: bool
    default: false
    description: Deploy (back up, restart, test) although there is nothing new to deploy.
  proof:
    type: str
    choices: ["", full, schema, none]
    default: ""
    description: >-
      The proof of the backup that follows: what would stop it (a right that is missing, what PostgreSQL cannot
      restore) is refused before anything else; empty for none of it.
  rehearse:
    type: bool
    default: false
    description: >-
      A rehearsal follows: what would stop it (a setting that leads to the live database and cannot be pointed at a
      copy) is refused before anything else.
  blindness:
    type: str
    choices: ["", warn, fail]
    default: ""
    description: What to do where the watch that follows could not see errors; empty where none follows.
  watch:
    type: dict
    default: {}
    description: >-
      Options of the watch that follows: what would stop it is refused before anything else, and Prometheus is asked
      what it says now; empty where none follows.
  prometheus_token:
    type: str
    default: ""
    description: The bearer token for that Prometheus.
"""

    BACKUP = r"""
options:
  proof:
    type: str
    choices: [full, schema, none]
    default: full
    description: V(full) restores and compares rows; V(schema) restores the schema only; V(none) proves nothing.
  ask_above_gb:
    type: float
    default: 100
    description: Size of the database in GB above which a full proof must be chosen explicitly.
  verify:
    type: path
    default: ""
    description: Path of an existing backup to restore and compare instead of taking a new one.
  encrypt:
    type: dict
    default: {}
    description: >-
      Encryption at rest, C(method) (age or gpg), C(recipients), and C(identity), the age identity file or GnuPG's
      home folder that can decrypt; the proof and a rollback need it.
  keep:
    type: int
    default: 10
    description: >-
      A backup is removed only if there are this many newer ones with at least its proof; those of the release in
      force and of an unfinished one are kept as well, and the newest fully proven one always.
  keep_days:
    type: int
    default: 14
    description: Days for which every backup is kept.
  keep_failed_days:
    type: int
    default: 0
    description: >-
      Days after which a quarantined database is dropped. 0 leaves that to a person (C(rollback.yml -e
      rollback_drop_failed=true)).
  hold:
    type: list
    elements: str
    default: []
    description: >-
      What is not removed by any number of days or backups, by file name, SHA-256, release or name of a database;
      V(all) removes nothing. A file C(NAME.dump.hold) beside a backup holds it too, and C(ALTER DATABASE …
      IS_TEMPLATE true) a database.
  accept:
    type: list
    elements: dict
    default: []
    description: >-
      Differences between the database and its restored copy that are known and no fault, each with C(difference) (the
      id that the failed proof printed), C(reason) and C(until) (the last day, YYYY-MM-DD). Recorded in the manifest,
      shown in report and receipt. An entry that matches nothing any more is refused; a loss of rows or values cannot
      be accepted.
  keep_copy:
    type: bool
    default: false
    description: Keep the restored copy for the rehearsal.
  engine:
    type: str
    choices: [pg_dump, pgbackrest]
    default: pg_dump
    description: >-
      V(pgbackrest) takes a backup of the whole cluster into the site's repository and records its label; a rollback
      then needs a snapshot.
  pgbackrest:
    type: dict
    default: {}
    description: How pgBackRest is called; C(stanza), and C(config), C(program), C(type) and C(timeout_s) if need be.
"""

    REHEARSE = r"""
options:
  data:
    type: str
    choices: [full, sample, schema]
    default: full
    description: >-
      What the copy holds. V(full) is every row; V(sample) some rows of each table and what they refer to; V(schema)
      none. The last two say what they cannot tell.
  sample_rows:
    type: int
    default: 10000
    description: Rows of each table where O(data) is V(sample).
  keep:
    type: bool
    default: false
    description: Keep the copy of a failed rehearsal for inspection until the next deploy.
  alone:
    type: bool
    default: false
    description: Only rehearse; the release ends here. C(rehearse.yml) sets it.
  deadline_s:
    type: float
    default: 3600
    description: Seconds after which the rehearsal is ended.
  deadline_factor:
    type: float
    default: 5
    description: The real migration is ended after that many times its rehearsed seconds, 30 s at least.
  online_max_lock_s:
    type: float
    default: 0.5
    description: Seconds that traffic may have to wait for the migration in an online deploy.
  require_reversible:
    type: bool
    default: false
    description: Fail if the downgrades do not lead back to the start. Otherwise rollback then restores.
  lock_timeout_s:
    type: float
    default: 5
    description: Seconds that a statement may wait for a lock.
  restore_point:
    type: str
    choices: [auto, backup, dump, snapshot]
    default: auto
    description: The restore point to come. Making it is part of the downtime that is forecast.
  migrate_deadline_s:
    type: float
    default: 900
    description: Seconds after which the migration on the copy is ended.
  allow_out_of_order:
    type: bool
    default: false
    description: Apply a migration that is older than the newest applied one.
  encrypt:
    type: dict
    default: {}
    description: Encryption of the backups, as for the role C(backup).
"""

    MIGRATE = r"""
options:
  restore_point:
    type: str
    choices: [auto, backup, dump, snapshot]
    default: auto
    description: What rollback goes back to if it must. V(auto) takes the proven backup if nothing was written since.
  encrypt:
    type: dict
    default: {}
    description: Encryption of a second backup as the restore point, as for the role C(backup).
  lock_timeout_s:
    type: float
    default: 5
    description: Seconds that a statement waits for a lock before the batch is tried again.
  deadline_s:
    type: float
    default: 900
    description: Seconds after which the batch is ended and rolled back.
  allow_out_of_order:
    type: bool
    default: false
    description: Apply a migration that is older than the newest applied one.
  take_over:
    type: bool
    default: false
    description: >-
      Activate the new release at once, without waiting for the role activate. The deploy does so unless a hook stands
      between the two.
"""

    WATCH = r"""
options:
  hours:
    type: float
    default: 24
    description: Hours for which the detached watcher works.
  interval_s:
    type: float
    default: 30
    description: Seconds between two looks at the logs.
  runner:
    type: str
    choices: [auto, systemd, cron, process]
    default: auto
    description: >-
      What runs the watch on the target host after the deploy. V(systemd) is a timer of systemd, of the host or of a
      user whose own systemd outlives its login (lingering). V(cron) is a line that you give to cron or to another
      scheduler, and that the play names. V(process) is a process of its own, which keeps secrets in memory only and
      ends with the host. V(auto) takes the timer where the deploy may install one and sees it work, else the process.
      The play says which one runs, and why.
  rules:
    type: dict
    default: {}
    description: >-
      When to raise an alarm, as far as it differs from C(min_count) 5, C(factor) 3 (times the rate before),
      C(window_s) 900, C(restarts) 0, C(blind_s) 180; of what is looked at each minute C(fails) 2 (looks in a row),
      C(slow) 3 (of the last twenty looks), C(slow_factor) 3 and C(slow_ms) 250 (over the p95 before), C(connections)
      0.9 (of max_connections), C(wait_s) 30 (for a lock), C(idle_s) 300 (in an open transaction), C(replica_s) 300
      and C(replica_mb) 256 (that a standby is behind or away, or a slot unread).
  first_s:
    type: float
    default: 60
    description: Seconds of the first watch, inside the deploy. An alarm in it rolls the release back.
  promql:
    type: list
    elements: dict
    default: []
    description: >-
      Queries to Prometheus, each a C(query) that gives one number, with C(max) or C(min) or both. They are asked in
      the plan and before the deploy, at the end of the first minute and at each look of the watch; a number out of
      its bounds is an alarm. Let no window of time in a query be longer than O(first_s), or it still tells of the old
      release.
  prometheus_url:
    type: str
    default: ""
    description: Where the target host reaches that Prometheus, for example C(http://prometheus:9090).
  prometheus_token:
    type: str
    default: ""
    description: Its bearer token, if it wants one; keep it in Ansible Vault.
  promql_unmeasured:
    type: str
    choices: [warn, fail]
    default: warn
    description: >-
      What to do if a query gives no number (no series, several, NaN, an error, no answer). V(warn) says it. V(fail)
      refuses the deploy before the fence, rolls back in the first minute, and is an alarm of the watch when it lasts
      for C(blind_s) of O(rules).
"""

    FINISH = r"""
options:
  keep_containers:
    type: int
    default: 1
    description: >-
      Former containers of the API that are kept, stopped, for a rollback; where compose replaces them, their images.
      Older ones are removed.
  hold:
    type: list
    elements: str
    default: []
    description: Databases or releases whose restore points are not dropped, although a later release has finished.
"""

    ROLLBACK = r"""
options:
  release:
    type: str
    default: ""
    description: Release to roll back; empty is the interrupted one, else the last finished one.
  strategy:
    type: str
    choices: ["", image, downgrade, swap, restore]
    default: ""
    description: Use this strategy and no other; empty chooses the cheapest safe one.
  accept_data_loss:
    type: bool
    default: false
    description: >-
      Allow a rollback strategy that loses what was written or defined since the restore point. It stays in the
      quarantined database.
  take_over:
    type: bool
    default: false
    description: >-
      End the run that holds the deploy lock although it may be alive, its processes and sessions first, then roll its
      release back. Without it, only a run that is proven gone is followed.
  reason:
    type: str
    default: ""
    description: What failed, for the journal.
  encrypt:
    type: dict
    default: {}
    description: What opens the backups, as for the role C(backup).
  drop_failed:
    type: bool
    default: false
    description: >-
      Roll nothing back. Drop the databases that earlier rollbacks have quarantined and the snapshots of rolled-back
      releases, with O(release) only those of that release. A database with rows that nothing else has is dropped only
      with its O(release). No option that says how to roll back can be given with it.
  hold:
    type: list
    elements: str
    default: []
    description: Databases or releases that stay all the same.
"""
