#!/usr/bin/env bash
# The whole check, from a fresh clone on: environment, ruff, basedpyright, pytest. Arguments go to pytest.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "$0")/environment.sh"
ruff check .
ruff format --check .
basedpyright --level error
python -m pytest --numprocesses=auto --dist=loadscope "$@"
