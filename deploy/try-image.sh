#!/bin/sh
# Runs inside the built image (see build-image.sh): the command starts, torch loads on this base, and the web process
# says that it is alive although neither Postgres nor Valkey answers.
set -eu

url=http://127.0.0.1:${TRY_PORT:-8000}/health/live
# Nothing listens on port 1, and no address but these is ever asked.
export TORCHQUEUE_DATABASE_URL=postgresql+psycopg2://nobody@127.0.0.1:1/none
export TORCHQUEUE_REDIS_URL=redis://127.0.0.1:1/0
export TORCHQUEUE_OBJECT_URL=file:///tmp/objects

torchqueue --version
test "$(id -u)" -ne 0 || { echo "the image runs as root" >&2; exit 1; }
python -c 'import torch, torchvision, simplejpeg; print("torch", torch.__version__, "loads")'

torchqueue web --host 127.0.0.1 --port "${TRY_PORT:-8000}" &
web=$!
attempts=60
until python -c "import sys, urllib.request as r; sys.exit(r.urlopen('$url', timeout=2).status != 200)" 2>/dev/null; do
  attempts=$((attempts - 1))
  if [ "$attempts" -eq 0 ] || ! kill -0 "$web"; then
    echo "the web process does not answer on $url" >&2
    exit 1
  fi
  sleep 1
done
echo "the web process is alive"
kill -TERM "$web"
wait "$web"
echo "the web process stopped in order"
