#!/bin/sh
# Builds the image for `image.py`, on a stand-in for python:3.13-slim made of Debian's packages, which stays in podman's
# store as localhost/relay-base.
set -eu
cd "$(dirname "$0")/../.."
export STORAGE_DRIVER=vfs
base=localhost/relay-base image=localhost/omni-relay-test
if ! podman image exists "$base"; then
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    mirror=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)
    mmdebstrap --quiet --variant=minbase --include=python3-dev,python3-venv,ca-certificates trixie "$place/root" "$mirror"
    cp /etc/ssl/certs/ca-certificates.crt "$place/root/etc/ssl/certs/"
    ln -sf python3 "$place/root/usr/bin/python"
    tar -C "$place/root" -c . | podman import --quiet --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
        --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' - "$base"
fi
buildah bud --quiet --isolation chroot --pull-never --format docker --build-arg BASE="$base" --tag "$image" .
