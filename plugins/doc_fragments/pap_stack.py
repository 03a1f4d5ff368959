"""The ``stack`` option that most modules share. Made by tools/generate_options.py; edit tools/options.yml."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  stack:
    type: dict
    required: true
    description: >-
      The stack to work on. Give what the module needs of it, in the task or once for all tasks (C(module_defaults) of
      the group C(pap.deploy.pap)); what is missing is named. The role C(stack) puts all of it together, as
      C(pap_stack), from the C(pap_*) variables of the inventory.
    suboptions:
      code:
        type: path
        default: ""
        description: >-
          Folder where M(pap.deploy.pap_package) unpacked this project's package. Empty sends it first, for this task.
      name:
        type: str
        default: ""
        description: Name of the stack in messages and journals; by default that of the host in the inventory.
      environment:
        type: str
        required: true
        description: V(development), V(staging), V(production) or a name of your own. One run touches one environment.
      state_dir:
        type: path
        default: ""
        description: >-
          Folder on the target host for releases, journals and backups; made with mode 0700. By default one of the
          stack's name in C(/var/lib/pap-deploy).
      who:
        type: dict
        default: {}
        description: >-
          The run that the module belongs to; by default this one, as the P(pap.deploy.pap_who#lookup) lookup says. A
          release goes on only for the run that holds the deploy lock.
      phase_deadlines_s:
        type: dict
        default: {}
        description: >-
          Seconds by phase after which it fails, and what it had begun is rolled back; for example C({activate: 600}).
          What is not named has the default: 15 minutes for C(login_smoke_test), C(validate), C(finish) and C(status),
          30 for C(preflight) and C(activate), a day for C(backup), C(rehearse), C(migrate), C(watch) and C(rollback).
      metrics_textfile_dir:
        type: str
        default: ""
        description: >-
          Folder on the target host from which node_exporter takes text files for Prometheus (its option
          C(--collector.textfile.directory)). Every phase and the watch write the figures of this stack there,
          readable by everybody (0644). The folder must exist, and the user of the deploy must be able to write to it.
          Empty writes none.
      database:
        type: dict
        description: The database and its site.
        suboptions:
          container:
            type: str
            default: ""
            description: Container of the database. Empty if PostgreSQL runs on the target host itself.
          name:
            type: str
            default: ""
            description: Name of the database; found by inspection in a container.
          host:
            type: str
            default: ""
            description: Host or socket folder of the server, as its site sees it. Empty is the local socket.
          port:
            type: int
            default: 0
            description: Port of the server; 0 is the default of PostgreSQL.
          admin_user:
            type: str
            default: ""
            description: Role that may create databases and end sessions; found by inspection in a container.
          admin_password:
            type: str
            default: ""
            description: Its password; keep it in Ansible Vault.
          bin_dir:
            type: str
            default: ""
            description: Folder of psql, pg_dump and pg_restore at the database site; empty if they are in the PATH.
          become:
            type: list
            elements: str
            default: []
            description: >-
              Words in front of every client program, for example C(sudo -n -u postgres); in a container C(gosu
              postgres).
          log_files:
            type: list
            elements: str
            default: []
            description: Log files of the server on the target host, for the log watch.
      api:
        type: dict
        description: The API and its site.
        suboptions:
          container:
            type: list
            elements: str
            default: []
            description: >-
              Container of the API, or several that roll one after another. Empty if it runs on the host itself.
          image:
            type: str
            default: ""
            description: Image to deploy. Empty keeps the image and restarts.
          activate:
            type: str
            choices: [recreate, compose, restart]
            default: recreate
            description: How a container is replaced.
          compose_file:
            type: path
            default: ""
            description: Compose file, where O(stack.api.activate) is V(compose).
          image_variable:
            type: str
            default: PAP_API_IMAGE
            description: Variable of the compose file that names the image, where O(stack.api.activate) is V(compose).
          port:
            type: int
            default: 0
            description: Port of the API in its container; 0 is the one it exposes, else the one it listens on.
          pull_s:
            type: float
            default: 600
            description: Seconds that a pull of the image may take.
          start_s:
            type: float
            default: 60
            description: Seconds that a new container may take until it listens.
          health_s:
            type: float
            default: 90
            description: Seconds that a container's own health check may take until it reports healthy.
          models:
            type: list
            elements: str
            default: []
            description: What to import to see all models; the last one or C(module:name) gives Base or MetaData.
          url:
            type: str
            default: ""
            description: Base URL of the API as the target host sees it; found by inspection for a container.
          url_variable:
            type: str
            default: DATABASE_URL
            description: Environment variable of the API that holds its database URL.
          database_url:
            type: str
            default: ""
            description: >-
              The database URL of an API that has none in its environment, for example put together from the parts
              that it has. It holds a password; keep that in Ansible Vault.
          database_direct_url:
            type: str
            default: ""
            description: >-
              Where the API's own URL goes through a pooler, the URL of the same database past it: what connects in
              the API's name (check, migrations, rollback) uses it, and trials get its host and port.
          dir:
            type: str
            default: ""
            description: On a host, the folder whose link C(current) names the running release.
          release_dir:
            type: str
            default: ""
            description: On a host, the directory of the release to deploy. Empty keeps the release and restarts.
          release_ignore:
            type: list
            elements: str
            default: []
            description: >-
              On a host, what the API itself writes into its release directory, as glob patterns or folders relative
              to it (C(uploads)). It is no part of the release; anything else that changes there between the preflight
              and the activation stops the deploy.
          python:
            type: str
            default: ""
            description: Python that can import the models; found by inspection in a container.
          env_file:
            type: str
            default: ""
            description: On a host, the environment file of the API.
          start_command:
            type: list
            elements: str
            default: []
            description: On a host, the command that starts the API.
          stop_command:
            type: list
            elements: str
            default: []
            description: On a host, the command that stops the API.
          restart_command:
            type: list
            elements: str
            default: []
            description: On a host, the command that restarts the API.
          trial_command:
            type: list
            elements: str
            default: []
            description: >-
              On a host, the command that starts the API in its release directory on the port C({port}) of the
              loopback, for the rehearsal. Without it the rehearsal cannot try a release, and says so.
          trial_env:
            type: dict
            default: {}
            description: >-
              Environment of every process that works on a copy of the database (migrations of a plan or a rehearsal,
              scripts, APIs that are tried), on top of the API's own: what switches their side effects off (messages,
              webhooks, schedulers), and the value on a copy of what leads to the live database and cannot be
              re-pointed by itself.
          may_delete:
            type: list
            elements: str
            default: []
            description: >-
              Tables in which the service itself deletes rows (expired sessions, a queue), as C(table) of the schema
              public or C(schema.table); of a partitioned table it may drop partitions as well. Rows that an API
              deletes from any other table by starting or by a login fail the rehearsal; on the live database they
              take the release back.
          log_files:
            type: list
            elements: str
            default: []
            description: On a host, the log files of the API.
      smoke:
        type: dict
        description: The login smoke test.
        suboptions:
          login:
            type: str
            choices: [json, form, cookie, header, none]
            default: json
            description: >-
              How the smoke test proves who it is. V(json) and V(form) send user and password (as JSON, as a form) and
              find a token in the answer; V(cookie) sends them and keeps the cookies of the answer; V(header) sends
              O(stack.smoke.token) and no login; V(none) tries health and O(stack.smoke.endpoints) without any login.
          username:
            type: str
            default: ""
            description: >-
              Who logs in for the smoke test. Required where O(stack.smoke.login) is V(json), V(form) or V(cookie).
          password:
            type: str
            default: ""
            description: The password; keep it in Ansible Vault. Required with O(stack.smoke.username).
          token:
            type: str
            default: ""
            description: >-
              The API key or token that was issued for the smoke test; keep it in Ansible Vault. Required for
              V(header).
          url:
            type: str
            default: ""
            description: Base URL of the smoke test, if it is another one than O(stack.api.url).
          headers:
            type: dict
            default: {}
            description: >-
              Headers of every request of the smoke test, where the API needs what its proxy would send; for example
              C({Host: app.example.com, X-Forwarded-Proto: https}).
          health_path:
            type: str
            default: /health
            description: Path that answers 200 when the API is up.
          login_path:
            type: str
            default: /auth/login
            description: Path of the login.
          me_path:
            type: str
            default: /auth/me
            description: Path of a GET that answers 200 to who is logged in, and refuses everybody else.
          logout_path:
            type: str
            default: ""
            description: Path of a POST that ends the session of the smoke test. Empty leaves it to expire.
          username_field:
            type: str
            default: username
            description: Field of the user in the login.
          password_field:
            type: str
            default: password
            description: Field of the password in the login.
          login_fields:
            type: dict
            default: {}
            description: >-
              More fields of the login, for example C({scope: read, client_id: smoke}).
          login_content:
            type: str
            choices: [form, json]
            default: form
            description: How a login for a V(cookie) is sent.
          token_field:
            type: str
            default: access_token
            description: Where the token is in the answer, for example C(data.access_token).
          token_header:
            type: str
            default: Authorization
            description: Header that carries the token, for example C(X-API-Key).
          token_scheme:
            type: str
            default: Bearer
            description: Word before the token in that header; V(none) sends the token alone.
          csrf_path:
            type: str
            default: ""
            description: >-
              Page that gives the CSRF token of a V(cookie) login, if it is another one than
              O(stack.smoke.login_path).
          csrf_field:
            type: str
            default: ""
            description: >-
              Field of the login that must hold the CSRF token. It is read from the input, the meta tag or the JSON
              field of this name in the page, or from the cookie O(stack.smoke.csrf_cookie).
          csrf_cookie:
            type: str
            default: ""
            description: Cookie that holds the CSRF token.
          csrf_header:
            type: str
            default: ""
            description: >-
              Header that carries the CSRF token, in the login and in whatever writes; then no field is sent.
          endpoints:
            type: list
            elements: raw
            default: []
            description: >-
              What must show no regressions after a deploy, asked with the login. A path is a GET that answers at
              least as well as before the deploy. An object says more, as C({path: /search, method: POST, body: {text:
              x}, status: 200, json: {items.0.name: x}}): C(status) must come, and at each path of C(json) that value,
              or any if it is null. The watch asks only GET and HEAD again.
          health_deadline_s:
            type: float
            default: 60
            description: Seconds within which the API must be healthy.
"""

    # Of a module that works on the controller as well, where there is no stack.
    OPTIONAL = DOCUMENTATION.replace("    required: true\n", "", 1)
