// The operator's side: azure-iot-provisioning-service and azure-iothub.
'use strict';

const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');
const { Client, Registry } = require('azure-iothub');

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

module.exports = { provisioning, provisioningQuery, registry, registryQuery, invoke, serviceSend };
