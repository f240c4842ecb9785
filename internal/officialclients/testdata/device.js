// SPDX-License-Identifier: Apache-2.0
// The device's side of its hub, and a module's: azure-iot-device over MQTT and MQTT over WebSocket.
'use strict';

const { Readable } = require('node:stream');

const { Client, Message, ModuleClient } = require('azure-iot-device');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');

const transports = { mqtt: Mqtt, ws: MqttWs };
const devices = new Map(); // by name

// A queue hands events over one by one, to those who wait for them.
class Queue {
  constructor() { this.events = []; this.waiting = []; }
  put(e) { this.waiting.length ? this.waiting.shift()(e) : this.events.push(e); }
  next() { return this.events.length ? Promise.resolve(this.events.shift()) : new Promise((resolve) => this.waiting.push(resolve)); }
}

function device(name) {
  const d = devices.get(name);
  if (!d) throw new Error(`device ${name} is not open`);
  return d;
}

// connect({name, connectionString, transport, cert, certKey}) connects a device, or a module where the string has a ModuleId.
async function connect(o) {
  const kind = /;ModuleId=/.test(o.connectionString) ? ModuleClient : Client;
  const client = kind.fromConnectionString(o.connectionString, transports[o.transport]);
  if (o.cert) await client.setOptions({ cert: o.cert, key: o.certKey });
  await open(o.name, client);
}

// open opens a client and files it under a name.
async function open(name, client) {
  const d = { client, messages: new Queue(), desired: new Queue(), methods: new Queue(), disconnects: 0 };
  client.on('error', () => {});
  client.on('disconnect', () => { d.disconnects++; });
  await client.open();
  devices.set(name, d);
}

// send({name, body, properties, output}) sends telemetry; a module's may be an output's.
async function send(o) {
  const m = new Message(o.body);
  for (const [key, value] of Object.entries(o.properties || {})) m.properties.add(key, value);
  m.messageId = o.messageId || '';
  m.contentType = 'application/json';
  m.contentEncoding = 'utf-8';
  const { client } = device(o.name);
  await (o.output ? client.sendOutputEvent(o.output, m) : client.sendEvent(m));
}

// listen({name}) asks for cloud-to-device messages, or for those to a module's inputs.
async function listen(o) {
  const d = device(o.name);
  const take = (m, input) => {
    const properties = {};
    for (let i = 0; i < m.properties.count(); i++) {
      const p = m.properties.getItem(i);
      properties[p.key] = p.value;
    }
    d.client.complete(m, () => {});
    d.messages.put({ body: m.getData().toString(), messageId: m.messageId, properties, input });
  };
  if (d.client instanceof ModuleClient) d.client.on('inputMessage', (input, m) => take(m, input));
  else d.client.on('message', take);
}

async function nextMessage(o) { return device(o.name).messages.next(); }

// twin({name}) returns the twin, and asks for changes of the desired properties.
async function twin(o) {
  const d = device(o.name);
  const t = await d.client.getTwin();
  if (!d.twin) t.on('properties.desired', (delta) => d.desired.put(delta)); // called at once with the present state
  d.twin = t;
  return { desired: t.properties.desired, reported: stripped(t.properties.reported) };
}

function stripped(properties) {
  const { update, ...rest } = properties; // update is the client's own method
  return rest;
}

// report({name, patch})
async function report(o) {
  const { twin: t } = device(o.name);
  await new Promise((resolve, reject) => t.properties.reported.update(o.patch, (err) => (err ? reject(err) : resolve())));
}

async function nextDesired(o) { return device(o.name).desired.next(); }

// serve({name, method, status, response}) answers a direct method; nextCall tells each call.
async function serve(o) {
  const d = device(o.name);
  const answer = (request, response) => {
    d.methods.put({ method: request.methodName, payload: request.payload });
    response.send(o.status, o.response, () => {});
  };
  if (d.client instanceof ModuleClient) d.client.onMethod(o.method, answer);
  else d.client.onDeviceMethod(o.method, answer);
}

async function nextCall(o) { return device(o.name).methods.next(); }

// upload({name, blob, size}) uploads so many bytes as a file: each is its place in the file, modulo 251.
async function upload(o) {
  const content = Buffer.alloc(o.size, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));
  await device(o.name).client.uploadToBlob(o.blob, Readable.from([content]), o.size);
}

async function close(o) {
  const d = device(o.name);
  devices.delete(o.name);
  await d.client.close();
}

module.exports = {
  connect, open, send, listen, nextMessage, twin, report, nextDesired, serve, nextCall, upload, close,
};
