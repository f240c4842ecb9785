#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Before a removal. An upgrade leaves the service running: deb says "upgrade", rpm says 1.
set -e
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
[ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ] || exit 0
systemctl disable --now thermostat.service
