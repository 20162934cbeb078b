#!/bin/sh
# ./run.sh OUT: checks and measures on this machine's GPU, and writes OUT/result.json and OUT/result.md. See README.md.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
exec "${PYTHON:-python3}" "$here/driver/main.py" "$@"
