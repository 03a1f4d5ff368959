#!/usr/bin/env bash
# The step of action.yml: build the database, compare it with the models, annotate. Exit codes are those of the check:
# 0 matches, 1 differs, 2 could not check (a build that fails counts as that).
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
check="$here/../../../check_db_schema.py"
python=${PAP_PYTHON:-python}

if [[ -n "${PAP_BUILD:-}" ]]; then
  echo "::group::Build the database"
  if ! bash -euo pipefail -c "$PAP_BUILD"; then
    echo "::endgroup::"
    echo "::error title=Validate Database Schema::The database could not be built: the build command failed."
    exit 2
  fi
  echo "::endgroup::"
fi

arguments=(--fail-on "${PAP_FAIL_ON:-note}")
for spec in $PAP_MODELS; do
  arguments+=(--models "$spec")
done
# Words, not patterns: --ignore legacy_* must not become the names of files.
set -f
# shellcheck disable=SC2206 # split into words on purpose
arguments+=(${PAP_ARGUMENTS:-})
set +f

code=0
"$python" "$check" "${arguments[@]}" --format github || code=$?
if ((code == 2)); then
  echo "::error title=Validate Database Schema::The database could not be checked; the log says why."
  exit 2
fi
if [[ -n "${GITHUB_STEP_SUMMARY:-}" ]]; then
  {
    echo "### Validate Database Schema"
    echo '```'
    "$python" "$check" "${arguments[@]}" --format text || true # its exit code is known already
    echo '```'
  } >>"$GITHUB_STEP_SUMMARY"
fi
if [[ -n "${PAP_SARIF_FILE:-}" ]]; then
  "$python" "$check" "${arguments[@]}" --format sarif --output "$PAP_SARIF_FILE" || true # the same
fi
exit "$code"
