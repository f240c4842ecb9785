// SPDX-License-Identifier: Apache-2.0

// Package rehome connects a device to the Azure IoT hub it was assigned to, remembers that hub
// across boots, and asks the Device Provisioning Service (DPS) again only when the hub's answer
// calls for it. It has nothing but this page: a program imports the packages below it.
//
//   - [github.com/rehome-iot/rehome/provisioning]: Device, which keeps a device connected. Begin
//     here.
//   - [github.com/rehome-iot/rehome/provisioning/fleet]: many devices in one process, and what they
//     share of a service.
//   - [github.com/rehome-iot/rehome/provisioning/dps]: who the device is, and one exchange with
//     DPS.
//   - [github.com/rehome-iot/rehome/hubconn]: one connection to one hub: telemetry, messages,
//     direct methods, the twin, uploads.
//   - [github.com/rehome-iot/rehome/cache]: what a device remembers, and where.
//   - [github.com/rehome-iot/rehome/provisioning/lease]: which of several replicas of a program
//     runs which device.
//   - [github.com/rehome-iot/rehome/retry]: what an error calls for, and when to try again.
//
// For tests of a device's program, without a subscription of Azure:
//
//   - [github.com/rehome-iot/rehome/provisioning/devicetest]: network, DPS, hubs and an enrolled
//     device in one call.
//   - [github.com/rehome-iot/rehome/hubconn/simnet],
//     [github.com/rehome-iot/rehome/provisioning/dpstest] and
//     [github.com/rehome-iot/rehome/hubconn/hubtest]: the parts it is made of.
//   - [github.com/rehome-iot/rehome/cache/cachetest] and
//     [github.com/rehome-iot/rehome/provisioning/lease/leasetest]: check a store and leases of your
//     own.
//   - [github.com/rehome-iot/rehome/hubconn/simdial]: leads a program to the simulator of
//     examples/simulator, if its environment says so.
//
// Modules of their own, in directories here, bring a dependency each: provisioning/tpm, for devices
// whose keys are in a TPM 2.0; provisioning/promdevice and provisioning/oteldevice, metrics and
// traces; hubconn/outbox, which keeps telemetry over outages; cache/boltstore, one file for what
// thousands of devices remember; and cache/natskv, replicas of a program that share devices.
//
// README.md has a program to start from, docs/first-hour.md the way from a clone to a first
// message, and docs/ the rest.
package rehome
