// SPDX-License-Identifier: Apache-2.0
// Faults by switch. Each shows the steps that do the same in a file.

import { act, doSteps, el, post, put, say, short } from './dom.js';
import { listen, state } from './store.js';

const dps = 'global.azure-devices-provisioning.net';

// A fault: its fields, and the steps that it is made of.
const list = [
  {
    key: 'throttle', name: 'Hub throttles',
    tells: 'Status 429 with Retry-After where HTTP or the twin can say so, and CONNECT is refused as busy: MQTT 3.1.1 has no Retry-After.',
    fields: { host: 'hub', seconds: ['Retry-After, s', 20] },
    steps: ({ host, seconds }) => [
      { hub: { host, on: 'upgrade', status: 429, code: 429001, errorCode: 'ThrottlingException', retryAfter: String(seconds), times: -1 } },
      { hub: { host, on: 'send', status: 429, code: 429001, errorCode: 'ThrottlingException', retryAfter: String(seconds), times: -1 } },
      { hub: { host, on: 'twinGet', status: 429, code: 429001, times: -1 } },
      { hub: { host, on: 'connect', returnCode: 3, times: -1 } },
    ],
    also: ({ host }) => [{ cut: host }],
  },
  {
    key: 'broken', name: 'Hub fails (5xx)',
    tells: '503 over HTTP, return code 3 over MQTT: the server is not available.',
    fields: { host: 'hub' },
    steps: ({ host }) => [
      { hub: { host, on: 'connect', returnCode: 3, times: -1 } },
      { hub: { host, on: 'upgrade', status: 503, errorCode: 'ServiceUnavailable', times: -1 } },
      { hub: { host, on: 'send', status: 503, errorCode: 'ServiceUnavailable', times: -1 } },
    ],
    also: ({ host }) => [{ cut: host }],
  },
  {
    key: 'dps', name: 'DPS throttles (429)',
    tells: 'Registrations are refused, and told how long to wait.',
    fields: { seconds: ['Retry-After, s', 20] },
    steps: ({ seconds }) => [
      { dps: { on: 'register', code: 429001, retryAfter: String(seconds), times: -1 } },
    ],
  },
  {
    key: 'reject', name: 'Reject a device',
    tells: 'Its hub answers as if it did not know it. The device goes to DPS.',
    fields: { deviceId: 'device' },
    steps: ({ deviceId }) => {
      const host = hubOf(deviceId);
      return [{ hub: { host, deviceId: nameAtHub(deviceId), on: 'connect', returnCode: 5, times: -1 } }];
    },
    also: ({ deviceId }) => [{ disconnect: { hub: hubOf(deviceId), deviceId: nameAtHub(deviceId) } }],
  },
  {
    key: 'cut', name: 'Cut', once: 'Cut now',
    tells: 'Resets the live connections to a host, once.',
    fields: { host: 'host' },
    steps: ({ host }) => [{ cut: host }],
  },
  {
    key: 'silence', name: 'Black hole',
    tells: 'Nothing comes back from a host any more.',
    fields: { host: 'host' },
    steps: ({ host }) => [{ network: { host, fault: 'blackhole' } }],
    also: ({ host }) => [{ cut: host }],
  },
  {
    key: 'clock', name: 'Clock skew',
    tells: 'The services’ clock is wrong against the devices’.',
    fields: { hours: ['hours ahead', 48] },
    steps: ({ hours }) => [{ clockOffset: `${hours}h` }],
  },
  {
    key: 'certificate', name: 'Bad certificate',
    tells: 'A host shows a certificate that must not be trusted.',
    fields: { host: 'host', certificate: { expired: 'expired', notYetValid: 'not yet valid', unknownCA: 'unknown CA', wrongName: 'wrong name' } },
    steps: ({ host, certificate }) => [{ network: { host, certificate } }],
    also: ({ host }) => [{ cut: host }],
  },
];

// chosen returns the fields of a fault that is on: they are in its steps.
const chosen = ([step]) => {
  const of = step.hub || step.network || step.dps || {};
  const device = [...state.devices.values()].find((d) => d.deviceId === of.deviceId);
  return { host: of.host, seconds: of.retryAfter, certificate: of.certificate,
    deviceId: device?.id || of.deviceId, hours: parseFloat(step.clockOffset) };
};

const hubOf = (id) => state.devices.get(id)?.hub || state.hubs[0]?.host || '';
const nameAtHub = (id) => state.devices.get(id)?.deviceId || id;

export const pretty = (steps) => steps.map((s, i) => JSON.stringify({ at: i ? '30s' : '30s', ...s })
  .replaceAll('":', '": ').replaceAll(',"', ', "')).join(',\n');

export function faults(main) {
  const known = el('datalist', { id: 'known-devices' });
  const cards = list.map((f) => card(f));
  main.append(el('div', { class: 'title' }, el('h2', {}, 'Faults'),
    el('button', { onclick: () => act('All faults are off.', async () => {
      for (const key of Object.keys(state.operator.faults)) await post('/api/fault', { key, on: false });
      await doSteps({ clear: true });
    }) }, 'Take all back')),
  known, el('div', { class: 'cards' }, cards.map((c) => c.element)));
  const devices = () => put(known, [...state.devices.keys()].slice(0, 500)
    .map((id) => el('option', { value: id })));
  devices();
  return listen((kind) => {
    if (kind === 'operator' || kind === 'everything') for (const c of cards) c.draw();
    if (kind === 'everything') devices();
  });
}

function card(f) {
  const inputs = {};
  const fields = Object.entries(f.fields).map(([name, kind]) => {
    const id = `${f.key}-${name}`;
    const hosts = state.hubs.map((h) => [h.host, short(h.host)]);
    if (kind === 'hub' || kind === 'host') {
      inputs[name] = el('select', { id, onchange: () => draw() },
        (kind === 'host' ? [...hosts, [dps, 'DPS']] : hosts)
          .map(([value, text]) => el('option', { value }, text)));
      return el('label', { for: id }, kind === 'hub' ? 'Hub ' : 'Host ', inputs[name]);
    }
    if (kind === 'device') {
      inputs[name] = el('input', { id, list: 'known-devices', oninput: () => draw(),
        value: [...state.devices.keys()].sort()[0] || '', autocomplete: 'off' });
      return el('label', { for: id }, 'Device ', inputs[name]);
    }
    if (Array.isArray(kind)) {
      inputs[name] = el('input', { id, type: 'number', value: kind[1], required: true, oninput: () => draw() });
      return el('label', { for: id }, `${kind[0]} `, inputs[name]);
    }
    inputs[name] = el('select', { id, onchange: () => draw() },
      Object.entries(kind).map(([value, text]) => el('option', { value }, text)));
    return el('label', { for: id }, 'It is ', inputs[name]);
  });
  const values = () => Object.fromEntries(Object.entries(inputs).map(([k, i]) => [k,
    i.type === 'number' ? Number(i.value) : i.value]));
  const text = el('pre', { class: 'step', tabindex: 0, 'aria-label': `Steps of ${f.name}` });
  const toggle = f.once
    ? el('button', { class: 'primary', onclick: () => act(`${f.name}: done.`, () => doSteps(...f.steps(values()))) }, f.once)
    : el('button', { class: 'switch', role: 'switch', 'aria-checked': 'false', 'aria-labelledby': `name-${f.key}`,
      onclick: () => flip() });
  const element = el('section', { class: 'fault', 'aria-labelledby': `name-${f.key}` },
    el('div', { class: 'top' }, el('h3', { id: `name-${f.key}` }, f.name), toggle),
    el('p', { class: 'hint' }, f.tells), el('div', { class: 'fields row' }, fields),
    el('details', { open: innerWidth > 760 }, el('summary', {}, 'As steps of a file'), text,
      el('button', { onclick: async () => {
        try {
          await navigator.clipboard.writeText(text.textContent);
          say('Copied.');
        } catch {
          getSelection().selectAllChildren(text);
          say('Selected: copy it with Ctrl+C.');
        }
      } }, 'Copy')));

  async function flip() {
    const on = toggle.getAttribute('aria-checked') !== 'true';
    if (on && !Object.values(inputs).every((i) => i.reportValidity())) return;
    await act('', async () => {
      await post('/api/fault', { key: f.key, on, steps: on ? f.steps(values()) : [] });
      if (on && f.also) await doSteps(...f.also(values()));
    });
  }

  function draw() {
    const on = state.operator.faults[f.key];
    toggle.setAttribute('aria-checked', String(Boolean(on)));
    element.classList.toggle('active', Boolean(on));
    if (f.once) toggle.removeAttribute('aria-checked');
    for (const [name, i] of Object.entries(inputs)) {
      i.disabled = Boolean(on);
      if (on) i.value = chosen(on)[name]; // switched on from another page, or before this one
    }
    text.textContent = pretty([...(on || f.steps(values())), ...(f.also?.(values()) || [])]);
  }
  draw();
  return { element, draw };
}
