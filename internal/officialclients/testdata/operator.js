// SPDX-License-Identifier: Apache-2.0
// The operator's side: azure-iot-provisioning-service and azure-iothub.
'use strict';

const { createHash } = require('node:crypto');

const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');
const {
  Client, ConnectionString, Registry, SharedAccessSignature,
} = require('azure-iothub');

const body = (r) => (r && r.responseBody !== undefined ? r.responseBody : r);

// provisioning({connectionString, call, args}) calls a method of the client of DPS's service API.
async function provisioning(o) {
  const client = ProvisioningServiceClient.fromConnectionString(o.connectionString);
  if (o.call === 'runBulkEnrollmentOperation') { // its promise never settles: it answers callbacks alone
    return new Promise((resolve, reject) => client[o.call](...o.args, (err, result) => (err ? reject(err) : resolve(result))));
  }
  return body(await client[o.call](...(o.args || [])));
}

// provisioningQuery({connectionString, call, args}) reads all pages of a query.
async function provisioningQuery(o) {
  const query = ProvisioningServiceClient.fromConnectionString(o.connectionString)[o.call](...(o.args || []));
  return pages(query);
}

// registry({connectionString, call, args}) calls a method of the hub's registry client.
async function registry(o) {
  return body(await Registry.fromConnectionString(o.connectionString)[o.call](...(o.args || [])));
}

async function registryQuery(o) {
  return pages(Registry.fromConnectionString(o.connectionString).createQuery(...o.args));
}

async function pages(query) {
  const all = [];
  do {
    const page = await new Promise((resolve, reject) => query.next((err, items) => (err ? reject(err) : resolve(items))));
    all.push(...(page || []));
  } while (query.hasMoreResults);
  return all;
}

// invoke({connectionString, device, method, payload, responseTimeoutInSeconds})
async function invoke(o) {
  const client = Client.fromConnectionString(o.connectionString);
  const { result } = await client.invokeDeviceMethod(o.device, {
    methodName: o.method, payload: o.payload, responseTimeoutInSeconds: o.responseTimeoutInSeconds || 5,
  });
  const { status, payload } = result;
  return { status, payload };
}

// serviceSend({connectionString, device, body}) sends a message to a device, which goes over AMQP.
async function serviceSend(o) {
  const client = Client.fromConnectionString(o.connectionString);
  await client.open();
  return body(await client.send(o.device, o.body));
}

// readBlob({connectionString, address}) reads an uploaded file from storage with a token of one of the hub's policies.
async function readBlob(o) {
  const c = ConnectionString.parse(o.connectionString);
  const token = SharedAccessSignature.create(c.HostName, c.SharedAccessKeyName, c.SharedAccessKey, Math.floor(Date.now() / 1000) + 600);
  const response = await fetch(o.address, { headers: { Authorization: token.toString() } });
  const content = Buffer.from(await response.arrayBuffer());
  return { status: response.status, size: content.length, sha256: createHash('sha256').update(content).digest('hex') };
}

module.exports = { provisioning, provisioningQuery, registry, registryQuery, invoke, serviceSend, readBlob };
