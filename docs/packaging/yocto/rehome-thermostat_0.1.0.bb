# SPDX-License-Identifier: Apache-2.0
# Copy into recipes-connectivity/rehome/ of a layer, with your own settings: see the README there.
SUMMARY = "Thermostat that finds its Azure IoT hub by itself"
DESCRIPTION = "Registers with the Azure Device Provisioning Service, remembers its hub, and goes \
back to the service only when the hub's answers call for it."
HOMEPAGE = "https://github.com/rehome-iot/rehome"
BUGTRACKER = "https://github.com/rehome-iot/rehome/issues"
SECTION = "net"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://src/${GO_IMPORT}/LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

GO_IMPORT = "github.com/rehome-iot/rehome"
GO_INSTALL = "${GO_IMPORT}/examples/thermostat"
SRC_URI = "git://${GO_IMPORT};protocol=https;nobranch=1;tag=v${PV};destsuffix=${GO_SRCURI_DESTSUFFIX}"

inherit go-mod systemd

# The class takes GOARM, GO386 and GOMIPS from the machine. Its build fetches modules, whose hashes
# go.sum has.
do_compile[network] = "1"

# No device package uses HTTP/2.
GOBUILDFLAGS:append = " -tags nethttpomithttp2"

SYSTEMD_SERVICE:${PN} = "thermostat.service"
SYSTEMD_AUTO_ENABLE = "enable"

do_install:append() {
	# The sources: nothing is compiled against them.
	rm -rf ${D}${libdir}/go
	install -D -m 0644 ${S}/src/${GO_IMPORT}/examples/thermostat/thermostat.service \
		${D}${systemd_system_unitdir}/thermostat.service
	install -D -m 0600 ${S}/src/${GO_IMPORT}/examples/thermostat/thermostat.env \
		${D}${sysconfdir}/thermostat.env
}

CONFFILES:${PN} = "${sysconfdir}/thermostat.env"

# To verify the services by.
RDEPENDS:${PN} = "ca-certificates"
