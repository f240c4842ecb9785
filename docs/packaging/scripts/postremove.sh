#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# After a removal or an upgrade. What a device remembers stays.
set -e
[ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
