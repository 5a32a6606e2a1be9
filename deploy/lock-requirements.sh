#!/usr/bin/env bash
# Resolves requirements/*.in into requirements/*.txt. Pins stay unless told otherwise: pass `--upgrade`, or
# `--upgrade-package NAME`. Run it after a change to one of the .in files.
set -euo pipefail
cd "$(dirname "$0")/.."

lock() {
  # One lock serves every platform and every Python from 3.11 on. The hashes refuse a package that was replaced
  # since. Nothing may say from which index or folder this machine installs.
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    "requirements/$1.in" --output-file "requirements/$1.txt" "${@:2}"
}

# Runtime first: the others take its pins.
lock runtime "$@"
lock embedded --constraint requirements/runtime.txt "$@"
lock dev --constraint requirements/runtime.txt --constraint requirements/embedded.txt "$@"
# With our pins where both need a package, above all torch: the same forward on both sides.
lock peers --constraint requirements/runtime.txt "$@"
