# shellcheck shell=bash
# Sourced by the other scripts: goes to the project's root and makes sure that .venv holds what was tested.
# EXTRAS=test,cuda12 (or cuda13) installs the GPU build of JAX too.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
EXTRAS=${EXTRAS:-test}

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: Python 3.11 or newer is needed and none was found on PATH; install it and run this again" >&2
  return 1
}

make_environment() {
  local wanted
  wanted="$(cksum pyproject.toml launch/constraints.txt) $EXTRAS"
  if [ -x .venv/bin/python ] && [ "$(cat .venv/installed 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  echo "Installing into .venv ($EXTRAS) ..."
  if command -v uv >/dev/null; then
    [ -x .venv/bin/python ] || uv venv --quiet --python "$(find_python)" .venv || return 1
    uv pip install --quiet --python .venv/bin/python --constraint launch/constraints.txt --editable ".[$EXTRAS]" || return 1
  else
    [ -x .venv/bin/python ] || "$(find_python)" -m venv .venv || return 1
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
      --constraint launch/constraints.txt --editable ".[$EXTRAS]" || return 1
  fi
  echo "$wanted" >.venv/installed
}

make_environment || exit 1
export PATH="$PWD/.venv/bin:$PATH"
