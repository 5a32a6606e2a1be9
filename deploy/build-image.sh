#!/usr/bin/env bash
# Builds the container image and tries it. `make image` calls it.
#
# With a Docker engine it uses that, otherwise buildah. Where no image registry is reached it makes the base image
# from Debian packages, which needs root and debootstrap. It reads:
#   TORCHQUEUE_IMAGE  Name of the image; default: torchqueue:latest, as in docker-compose.yml.
#   BASE_IMAGE        Base to build on; default: the Dockerfile's own, or one made from Debian packages.
#   DEBIAN_MIRROR     Where debootstrap downloads from; default: its own.
#   STORAGE_DRIVER    buildah's storage; default: its own choice, or vfs where that does not work.
# pip's own variables, configuration and certificates are handed to the build as secrets, which no layer keeps.
set -euo pipefail
cd "$(dirname "$0")/.."

IMAGE="${TORCHQUEUE_IMAGE:-torchqueue:latest}"
DEBIAN_SUITE=bookworm
DEBIAN_BASE="torchqueue-base:$DEBIAN_SUITE"
TRY_PORT=18000

# Without privileges or a runtime: buildah changes the root folder and shares the host's network.
BUILDAH_RUN=(--isolation chroot --network host)

work="$(mktemp -d)"
container=""

clean_up() {
  if [ -n "$container" ]; then buildah rm "$container" >/dev/null; fi
  rm -rf "$work"
}
trap clean_up EXIT

die() {
  echo "build-image: $*" >&2
  exit 1
}

# buildah's own choice is overlay, which needs a kernel's leave that containers seldom have. vfs copies each layer in
# full instead. buildah itself takes no notice of the variable.
buildah() {
  command buildah ${STORAGE_DRIVER:+--storage-driver "$STORAGE_DRIVER"} "$@"
}

choose_storage() {
  if ! buildah images >/dev/null 2>&1; then STORAGE_DRIVER=vfs; fi
}

choose_builder() {
  if docker info >/dev/null 2>&1; then
    echo docker
  elif type -P buildah >/dev/null; then
    echo buildah
  else
    die "no Docker engine answers and buildah is missing; \`apt-get install buildah\` brings it"
  fi
}

default_base() {
  sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile
}

has_base() {
  case "$builder" in
    docker) docker image inspect "$1" >/dev/null 2>&1 || docker pull --quiet "$1" ;;
    buildah) buildah pull --quiet --policy missing "$1" ;;
  esac
}

make_debian_base() {
  command -v debootstrap >/dev/null \
    || die "no image registry is reached and debootstrap is missing; \`apt-get install debootstrap\`, or set BASE_IMAGE"
  [ "$(id -u)" -eq 0 ] || die "debootstrap needs root; run as root, or set BASE_IMAGE"
  local root="$work/root"
  debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
    "$DEBIAN_SUITE" "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/debootstrap.log" \
    || { tail -n 20 "$work/debootstrap.log" >&2; die "debootstrap failed"; }
  # What apt downloaded is of no use to anybody any more.
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
  case "$builder" in
    docker) tar --directory "$root" --create . | docker import - "$DEBIAN_BASE" ;;
    buildah)
      container="$(buildah from scratch)"
      buildah add --quiet "$container" "$root" / >/dev/null
      buildah commit --quiet --rm "$container" "$DEBIAN_BASE" >/dev/null
      container=""
      ;;
  esac
  rm -rf "$root"
}

first_file() {
  local file
  for file in "$@"; do
    if [ -f "$file" ]; then
      echo "$file"
      return
    fi
  done
}

# Fills `secrets` with options that both builders understand.
collect_secrets() {
  local conf bundle name
  conf="$(first_file "${PIP_CONFIG_FILE:-}" "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf" /etc/pip.conf)"
  bundle="$(first_file "${PIP_CERT:-}" "${REQUESTS_CA_BUNDLE:-}" "${SSL_CERT_FILE:-}")"
  install -m 600 /dev/null "$work/pip_env"
  for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_PROXY PIP_DEFAULT_TIMEOUT; do
    if [ -n "${!name:-}" ]; then printf 'export %s=%q\n' "$name" "${!name}" >>"$work/pip_env"; fi
  done
  secrets=(--secret "id=pip_env,src=$work/pip_env")
  if [ -n "$conf" ]; then secrets+=(--secret "id=pip_conf,src=$conf"); fi
  if [ -n "$bundle" ]; then secrets+=(--secret "id=ca_bundle,src=$bundle"); fi
}

build() {
  local options=(--tag "$IMAGE" --build-arg "BASE_IMAGE=$base" --build-arg "VERSION=$version"
    --build-arg "REVISION=$revision" "${secrets[@]}")
  case "$builder" in
    docker) DOCKER_BUILDKIT=1 docker build "${options[@]}" . ;;
    # One layer: torch with CUDA takes gigabytes, and vfs would store them once for each layer.
    buildah) buildah build "${BUILDAH_RUN[@]}" --layers=false "${options[@]}" . ;;
  esac
}

try() {
  case "$builder" in
    docker)
      # As docker-compose.yml runs it.
      docker run --rm "$IMAGE" --version
      docker run --rm --read-only --tmpfs /tmp --entrypoint sh "$IMAGE" -c "$(cat deploy/try-image.sh)"
      ;;
    buildah)
      [ "$(buildah inspect --type image --format '{{.OCIv1.Config.Entrypoint}}' "$IMAGE")" = "[torchqueue]" ] \
        || die "the image does not start torchqueue"
      container="$(buildah from --pull-never "$IMAGE")"
      # The network is the host's, so the port must be one that is likely to be free.
      buildah run "${BUILDAH_RUN[@]}" --env "TRY_PORT=$TRY_PORT" "$container" -- sh -c "$(cat deploy/try-image.sh)"
      ;;
  esac
}

image_size() {
  case "$builder" in
    docker) docker image inspect --format '{{.Size}}' "$IMAGE" | numfmt --to=si ;;
    buildah) buildah images --format '{{.Size}}' "$IMAGE" ;;
  esac
}

builder="$(choose_builder)"
if [ "$builder" = buildah ]; then choose_storage; fi
version="$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)"
revision="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
base="${BASE_IMAGE:-$(default_base)}"

if ! has_base "$base"; then
  [ -z "${BASE_IMAGE:-}" ] || die "the base image $base is not to be had"
  echo "no image registry is reached; making a base from Debian $DEBIAN_SUITE"
  make_debian_base
  base="$DEBIAN_BASE"
fi
collect_secrets
build
try
echo "OK: $IMAGE, built on $base with $builder, $(image_size)"
