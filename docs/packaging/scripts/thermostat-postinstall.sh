#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# After an installation or an upgrade. The service is not started: its settings come first.
set -e
[ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
# One that runs goes on with the new version. It is not waited for: that may take as long as the
# network is away.
systemctl --no-block try-restart thermostat.service
