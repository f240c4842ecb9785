// SPDX-License-Identifier: Apache-2.0
// A device with a TPM: azure-iot-security-tpm, on the port of the TPM simulator that it knows by default.
'use strict';

const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Http } = require('azure-iot-provisioning-device-http');
const { Client } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { open } = require('./device');

let security; // one TPM, one client of it

function tpm(registrationId) {
  if (!security) {
    const { TpmSecurityClient } = require('azure-iot-security-tpm');
    const { Tpm } = require('tss.js');
    security = new TpmSecurityClient(registrationId, new Tpm(true));
  }
  return security;
}

function called(method, ...args) {
  return new Promise((resolve, reject) => security[method](...args, (err, result) => (err ? reject(err) : resolve(result))));
}

// tpmKeys({}) returns what an operator enrolls, and the registration ID that the client makes of it.
async function tpmKeys() {
  tpm();
  return {
    endorsementKey: (await called('getEndorsementKey')).toString('base64'),
    storageRootKey: (await called('getStorageRootKey')).toString('base64'),
    registrationId: await called('getRegistrationId'),
  };
}

// registerTpm({host, idScope}) registers, and leaves the key for the hub in the TPM.
async function registerTpm(o) {
  return ProvisioningDeviceClient.create(o.host, o.idScope, new Http(), tpm()).register();
}

// connectTpm({name, hub, deviceId}) connects with tokens that the TPM signs.
async function connectTpm(o) {
  const { TpmAuthenticationProvider } = require('azure-iot-security-tpm');
  const provider = TpmAuthenticationProvider.fromTpmSecurityClient(o.deviceId, o.hub, tpm());
  await open(o.name, Client.fromAuthenticationProvider(provider, Mqtt));
}

module.exports = { tpmKeys, registerTpm, connectTpm };
