// SPDX-License-Identifier: Apache-2.0
// The device's side of DPS: azure-iot-provisioning-device with its three transports and two kinds of credential.
'use strict';

const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Http } = require('azure-iot-provisioning-device-http');
const { Mqtt, MqttWs } = require('azure-iot-provisioning-device-mqtt');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { X509Security } = require('azure-iot-security-x509');

const transports = { https: Http, mqtt: Mqtt, ws: MqttWs };

// register({host, idScope, registrationId, transport, key | cert + certKey, payload}) returns the registration's state.
async function register(o) {
  const security = o.cert
    ? new X509Security(o.registrationId, { cert: o.cert, key: o.certKey })
    : new SymmetricKeySecurityClient(o.registrationId, o.key);
  const client = ProvisioningDeviceClient.create(o.host, o.idScope, new transports[o.transport](), security);
  if (o.payload) client.setProvisioningPayload(o.payload);
  return client.register();
}

module.exports = { register };
