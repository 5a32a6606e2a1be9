#!/bin/sh
# pip for the stages of the Dockerfile. Where the builder handed over its pip variables, configuration or
# certificates as secrets, pip uses them; they exist for the length of one RUN and no layer keeps them.
set -eu

secrets=/run/secrets
if [ -f "$secrets/pip_env" ]; then
  # shellcheck source=/dev/null
  . "$secrets/pip_env"
fi
if [ -f "$secrets/pip_conf" ]; then
  export PIP_CONFIG_FILE="$secrets/pip_conf"
fi
if [ -f "$secrets/ca_bundle" ]; then
  # Stronger than a `cert` in the configuration, whose path means nothing in here.
  export PIP_CERT="$secrets/ca_bundle"
fi
exec /opt/installer/bin/pip --no-cache-dir --disable-pip-version-check --no-input "$@"
