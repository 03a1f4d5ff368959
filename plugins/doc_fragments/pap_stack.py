"""The ``stack`` option that most modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  stack:
    description:
      - The stack to work on.
      - The role C(stack) puts it together from the C(pap_*) variables of the inventory, as C(pap_stack).
    type: dict
    required: true
    suboptions:
      code:
        description: Folder where M(pap.deploy.pap_package) unpacked this project's package.
        type: path
        default: ""
      name:
        description: Name of the stack, for example the inventory host.
        type: str
        required: true
      environment:
        description: V(development), V(staging), V(production), or a name of your own.
        type: str
        required: true
      phase_deadlines_s:
        description: Seconds by phase after which it fails; what is not named has its default.
        type: dict
        default: {}
      state_dir:
        description: Folder on the target host for releases, journals and backups. Created with mode 0700.
        type: path
        required: true
      who:
        description:
          - The run that the module belongs to, as the P(pap.deploy.pap_who#lookup) lookup says.
          - A release goes on only for the run that holds the deploy lock.
        type: dict
        required: true
      database:
        description: The database and its site.
        type: dict
        required: true
        suboptions:
          container:
            description: Name of the database's container. Empty if PostgreSQL runs on the target host itself.
            type: str
            default: ""
          name:
            description: Name of the database. In a container it is found by inspection if empty.
            type: str
            default: ""
          host:
            description: Host or socket folder, as the database site sees it. Empty is the local socket.
            type: str
            default: ""
          port:
            description: Port. 0 is PostgreSQL's default.
            type: int
            default: 0
          admin_user:
            description: Role that may create databases and end sessions.
            type: str
            default: ""
          admin_password:
            description: Its password. Empty where the server asks for none.
            type: str
            default: ""
          bin_dir:
            description: Folder of psql, pg_dump and pg_restore at the database site. Empty means they are in the PATH.
            type: str
            default: ""
          become:
            description:
              - Words put in front of every client program, for example C(sudo -n -u postgres).
              - In a container C(gosu postgres).
            type: list
            elements: str
            default: []
          log_files:
            description: The server's log files on the target host, for the log watch.
            type: list
            elements: str
            default: []
      api:
        description: The API and its site.
        type: dict
        required: true
        suboptions:
          container:
            description: Name of the container, or of several that roll one after another. Empty if it runs on the host.
            type: list
            elements: str
            default: []
          image:
            description: Image to deploy. Empty keeps the image and restarts.
            type: str
            default: ""
          activate:
            description: How a container is replaced.
            type: str
            choices: [recreate, compose, restart]
            default: recreate
          compose_file:
            description: Compose file for O(stack.api.activate=compose).
            type: path
          image_variable:
            description: Variable of the compose file that names the image, where O(stack.api.activate=compose).
            type: str
            default: PAP_API_IMAGE
          port:
            description: Port of the API in its container; 0 is the one it exposes, else the one it listens on.
            type: int
            default: 0
          pull_s:
            description: Seconds that a pull of the image may take.
            type: float
            default: 600
          start_s:
            description: Seconds that a new container may take until it listens.
            type: float
            default: 60
          health_s:
            description: Seconds that a container's own health check may take until it says healthy.
            type: float
            default: 90
          models:
            description: What to import to see all models; the last one or C(module:name) gives Base or MetaData.
            type: list
            elements: str
            required: true
          url:
            description: Base URL of the API as the target host sees it. Found by inspection in a container if empty.
            type: str
            default: ""
          url_variable:
            description: Environment variable that holds the API's database URL.
            type: str
            default: DATABASE_URL
          database_url:
            description:
              - The API's database URL, where no variable of its environment holds one (it has the parts, or a file).
            type: str
            default: ""
          database_direct_url:
            description:
              - URL of the same database past the pooler that the API's own URL goes through.
              - The agent works by it, and trials get its host and port.
            type: str
            default: ""
          dir:
            description: On a host, the folder whose symbolic link C(current) names the running release.
            type: str
            default: ""
          release_dir:
            description: On a host, the directory of the release to deploy. Empty keeps the release and restarts.
            type: str
            default: ""
          release_ignore:
            description: On a host, what in the release directory is no part of it, as glob patterns or folders.
            type: list
            elements: str
            default: []
          python:
            description: Python that can import the models. In a container it is found by inspection if empty.
            type: str
            default: ""
          env_file:
            description: On a host, the API's environment file (lines C(KEY=VALUE)).
            type: str
            default: ""
          start_command:
            description: On a host, the command that starts the API.
            type: list
            elements: str
            default: []
          stop_command:
            description: On a host, the command that stops the API.
            type: list
            elements: str
            default: []
          restart_command:
            description: On a host, the command that restarts the API.
            type: list
            elements: str
            default: []
          trial_command:
            description:
              - On a host, the command that starts the API of its working directory on port C({port}) of the loopback.
              - The rehearsal tries releases with it, beside the API that runs. Without it they are not tried.
            type: list
            elements: str
            default: []
          trial_env:
            description:
              - Environment of every process of the API's code that works on a copy of the database.
              - What switches side effects off, and what leads to the live database in a way that cannot be re-pointed.
            type: dict
            default: {}
          may_delete:
            description:
              - Tables in which the service itself deletes rows, as C(table) of the schema public or C(schema.table).
              - Rows that an API deletes from another table by starting or by a login fail the release.
            type: list
            elements: str
            default: []
          log_files:
            description: On a host, the API's log files.
            type: list
            elements: str
            default: []
      smoke:
        description: The login smoke test.
        type: dict
        required: true
        suboptions:
          username:
            description: Who logs in.
            type: str
            required: true
          password:
            description: The password.
            type: str
            required: true
          url:
            description: Base URL for the test, if it is not O(stack.api.url).
            type: str
            default: ""
          health_path:
            description: Path that answers 200 when the API is up.
            type: str
            default: /health
          login_path:
            description: Path of the login, a POST with JSON.
            type: str
            default: /auth/login
          me_path:
            description: Path of an authenticated GET.
            type: str
            default: /auth/me
          username_field:
            description: Name of the user's field in the login's JSON.
            type: str
            default: username
          password_field:
            description: Name of the password's field in the login's JSON.
            type: str
            default: password
          token_field:
            description: Name of the token in the answer.
            type: str
            default: access_token
          endpoints:
            description: Authenticated GETs that must be no worse after the deploy than before.
            type: list
            elements: str
            default: []
          health_deadline_s:
            description: Seconds within which the API must be healthy.
            type: float
            default: 60
"""

    # Of a module that works on the controller as well, where there is no stack.
    OPTIONAL = DOCUMENTATION.replace("required: true\n    suboptions:", "suboptions:", 1)
