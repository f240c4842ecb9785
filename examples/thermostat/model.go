// SPDX-License-Identifier: Apache-2.0

package main

// modelID is the IoT Plug and Play model that the program implements. The hub and the Device
// Provisioning Service are told; model.json beside this file describes it.
const modelID = "dtmi:com:example:rehome:Thermostat;1"
