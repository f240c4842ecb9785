# SPDX-License-Identifier: Apache-2.0
################################################################################
#
# rehome-thermostat
#
################################################################################

REHOME_THERMOSTAT_VERSION = 0.1.0
REHOME_THERMOSTAT_SITE = $(call github,rehome-iot,rehome,v$(REHOME_THERMOSTAT_VERSION))
REHOME_THERMOSTAT_LICENSE = Apache-2.0
REHOME_THERMOSTAT_LICENSE_FILES = LICENSE
REHOME_THERMOSTAT_GOMOD = github.com/rehome-iot/rehome
REHOME_THERMOSTAT_BUILD_TARGETS = examples/thermostat
# The infrastructure sets GOARM, GO386 and GOMIPS for the target.
REHOME_THERMOSTAT_GO_ENV = CGO_ENABLED=0
# No device package uses HTTP/2.
REHOME_THERMOSTAT_TAGS = nethttpomithttp2

ifeq ($(BR2_PACKAGE_REHOME_THERMOSTAT_SMALL),y)
REHOME_THERMOSTAT_BUILD_OPTS = \
	-gcflags all=-l -gcflags crypto/...= -gcflags runtime/...=
endif

# Of the service under BusyBox or System V init; systemd makes one by itself.
define REHOME_THERMOSTAT_USERS
	thermostat -1 thermostat -1 * - - - Thermostat
endef

define REHOME_THERMOSTAT_INSTALL_SETTINGS
	$(INSTALL) -D -m 0600 $(@D)/examples/thermostat/thermostat.env \
		$(TARGET_DIR)/etc/thermostat.env
endef
REHOME_THERMOSTAT_POST_INSTALL_TARGET_HOOKS += REHOME_THERMOSTAT_INSTALL_SETTINGS

define REHOME_THERMOSTAT_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/examples/thermostat/thermostat.service \
		$(TARGET_DIR)/usr/lib/systemd/system/thermostat.service
endef

define REHOME_THERMOSTAT_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(REHOME_THERMOSTAT_PKGDIR)/S80thermostat \
		$(TARGET_DIR)/etc/init.d/S80thermostat
endef

$(eval $(golang-package))
