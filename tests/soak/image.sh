#!/bin/sh
# The image, run as OpenShift runs it: a read-only root, no capabilities, no new privileges, and a user id that no file
# knows, of group 0.
#
#   ./tests/soak/image.sh
#
# Needs root, buildah, podman, runc and mmdebstrap. Base image: a stand-in for python:3.13-slim, made of Debian's
# packages; it stays in podman's store as localhost/relay-base. `image.py` says what is run. Exit status 1 if that fails.
set -eu
cd "$(dirname "$0")/../.."
export STORAGE_DRIVER=vfs
base=localhost/relay-base image=localhost/omni-relay-test
if ! podman image exists "$base"; then
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    mirror=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)
    mmdebstrap --quiet --variant=minbase --include=python3-minimal,python3-venv,ca-certificates trixie "$place/root" "$mirror"
    cp /etc/ssl/certs/ca-certificates.crt "$place/root/etc/ssl/certs/"
    ln -sf python3 "$place/root/usr/bin/python"
    tar -C "$place/root" -c . | podman import --quiet --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
        --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' - "$base"
fi
buildah bud --quiet --isolation chroot --pull-never --format docker --build-arg BASE="$base" --tag "$image" .
RELAY_IMAGE=$image .venv/bin/python -m tests.soak.image
