"""What is read from the YAML that ``docker compose config`` prints."""

from __future__ import annotations

from papdeploy.app.docker_compose import _environment_of, _image_of

CONFIG = """\
name: pap
services:
  cc-db:
    environment:
      CC_DROP_TABLES: "other"
    image: postgres
  cc-pap-api:
    depends_on:
      cc-db:
        condition: service_started
    environment:
      CC_DROP_TABLES: "true"
      DATABASE_URL: postgresql://u:p@cc-db/x
      EMPTY: ""
      LONG: |-
        CC_LINE: not a variable
      "QUOTED": 'a: b'
      UNSET: null
    image: pap:2
networks:
  default: {}
"""


def test_environment_and_image_of_a_service() -> None:
    assert _image_of("cc-pap-api", CONFIG) == "pap:2"
    assert _environment_of("cc-pap-api", CONFIG) == {
        "CC_DROP_TABLES": "true",
        "DATABASE_URL": "postgresql://u:p@cc-db/x",
        "EMPTY": "",
        "LONG": "|-",
        "QUOTED": "a: b",
        "UNSET": "null",
    }
    assert _environment_of("cc-db", CONFIG) == {"CC_DROP_TABLES": "other"}
    assert _environment_of("none", CONFIG) == {}
