#!/bin/sh
# Put what renders mazes into examples/gpu/wheels, for Python 3.12 on Linux: examples/gpu/pack.sh [PACKAGE==VERSION...]
# Versions are those of pyproject.toml; further packages that the machine lacks can be named. PYTHON_VERSION: another one.
set -e
cd "$(dirname "$0")/../.."
python="${PYTHON:-python3}"
wheels=examples/gpu/wheels
rm -rf "$wheels"
"$python" -m pip download --quiet --no-deps --only-binary=:all: --dest "$wheels" \
    --implementation cp --python-version "${PYTHON_VERSION:-3.12}" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    $("$python" examples/gpu/slim.py --pinned) "$@"
"$python" examples/gpu/slim.py "$wheels"/vizdoom-*.whl
"$python" examples/gpu/slim.py --sizes
