// SPDX-License-Identifier: Apache-2.0
// The service's how-to of moving devices: policies, then have the device ask, then look.

import { act, allocations, doSteps, el, get, json, post, put, short, substatuses } from './dom.js';
import { listen, sorted, state } from './store.js';

const reprovisions = {
  migrate: 'Re-provision and migrate data',
  reset: 'Re-provision and reset to initial config',
  never: 'Never re-provision',
};

const nameOf = (p) => (!p ? 'migrate' : !p.updateHubAssignment ? 'never'
  : p.migrateDeviceData ? 'migrate' : 'reset');

const policyOf = (name) => ({
  updateHubAssignment: name !== 'never', migrateDeviceData: name === 'migrate',
});

const tells = {
  migrate: 'When the device registers again it may get another hub. Its twin moves along.',
  reset: 'When the device registers again it may get another hub. There it starts from the initial twin.',
  never: 'The device stays on its hub, whatever the allocation says.',
};

function options(map, chosen) {
  return Object.entries(map).map(([value, text]) => el('option',
    { value, selected: value === chosen }, text));
}

export function move(main, wanted) {
  let enrollments = [];
  let current = null;
  const which = el('select', { id: 'enrollment', onchange: () => choose(which.value) });
  const policies = el('div', { class: 'card' });
  const ask = el('div', { class: 'card' });
  const look = el('div', { class: 'card wide' });
  const device = el('select', { id: 'device', onchange: () => { drawAsk(); refresh(); } });
  main.append(el('div', { class: 'title' }, el('h2', {}, 'Move devices'),
    el('label', { for: 'enrollment' }, 'Enrollment ', which)),
  el('ol', { class: 'steps' },
    el('li', {}, policies), el('li', {}, ask), el('li', {}, look)));

  async function load(keep) {
    enrollments = await get('/api/enrollments');
    const ids = enrollments.map((e) => (e.group ? 'group:' : 'device:') + e.id);
    put(which, enrollments.map((e, i) => el('option', { value: ids[i] },
      e.group ? `${e.id} (group)` : e.id)));
    const first = ids.find((id) => id === `device:${wanted}`) || ids.find((id) => id.startsWith('device:')) || ids[0];
    if (first) choose(keep && ids.includes(keep) ? keep : first);
    else put(policies, 'There is no enrollment.');
  }

  function choose(id) {
    which.value = id;
    const [kind, ...rest] = id.split(':');
    current = enrollments.find((e) => e.group === (kind === 'group') && e.id === rest.join(':'));
    drawPolicies();
    drawDevices(true);
  }

  function drawPolicies() {
    const e = current;
    const reprovision = el('select', { id: 'reprovision', onchange: () => explain() },
      options(reprovisions, nameOf(e.reprovisionPolicy)));
    const allocation = el('select', { id: 'allocation', onchange: () => explain() },
      options(allocations, e.allocationPolicy || 'hashed'));
    const hint = el('p', { class: 'hint', id: 'reprovision-hint' });
    const webhook = el('input', { id: 'webhook', type: 'url', value: e.webhookUrl || '' });
    const answer = el('select', { id: 'webhook-hub', onchange: () => {
      webhook.value = `${location.origin}/allocate/${answer.value}`;
    } }, state.hubs.map((h) => el('option', { value: h.host,
      selected: (e.webhookUrl || '').endsWith(h.host) }, short(h.host))));
    const custom = el('div', { class: 'fields' },
      el('label', { for: 'webhook-hub' }, 'The console’s own webhook answers ', answer),
      el('label', { for: 'webhook' }, 'Webhook ', webhook));
    const boxes = state.hubs.map((h) => ({
      host: h.host,
      box: el('input', { type: 'checkbox', id: `use-${h.host}`, onchange: (ev) => {
        if (allocation.value === 'static' && ev.target.checked) {
          for (const b of boxes) b.box.checked = b.host === h.host;
        }
      }, checked: e.iotHubs.includes(h.host) || (!e.iotHubs.length && h.linked) }),
      weight: el('input', { type: 'number', min: 1, max: 1000, id: `weight-${h.host}`,
        value: h.weight || 1, disabled: !h.linked }),
      linked: el('input', { type: 'checkbox', id: `link-${h.host}`, checked: h.linked,
        onchange: (ev) => act('', () => doSteps(
          { [ev.target.checked ? 'link' : 'unlink']: h.host })) }),
    }));
    const table = el('table', { class: 'hubs-table' },
      el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Hub'),
        el('th', { scope: 'col' }, 'this enrollment'), el('th', { scope: 'col' }, 'weight'),
        el('th', { scope: 'col' }, 'linked'))),
      el('tbody', {}, boxes.map((b) => el('tr', {}, el('th', { scope: 'row' }, short(b.host)),
        el('td', {}, el('label', { for: b.box.id, class: 'hidden' }, `Allocate to ${short(b.host)}`), b.box),
        el('td', {}, el('label', { for: b.weight.id, class: 'hidden' }, `Weight of ${short(b.host)}`), b.weight),
        el('td', {}, el('label', { for: b.linked.id, class: 'hidden' }, `Link ${short(b.host)}`), b.linked)))));

    function explain() {
      hint.textContent = tells[reprovision.value];
      custom.hidden = allocation.value !== 'custom';
      if (!custom.hidden && !webhook.value) answer.dispatchEvent(new Event('change'));
      for (const b of boxes) b.weight.closest('td').classList.toggle('dim', allocation.value !== 'hashed');
      if (allocation.value === 'static') {
        const on = boxes.filter((b) => b.box.checked);
        for (const b of on.slice(1)) b.box.checked = false;
      }
    }

    async function save() {
      const hubs = boxes.filter((b) => b.box.checked).map((b) => b.host);
      const steps = boxes.filter((b) => !b.weight.disabled
        && Number(b.weight.value) !== state.hubs.find((h) => h.host === b.host)?.weight)
        .map((b) => ({ weight: { hub: b.host, weight: Number(b.weight.value) } }));
      const linked = state.hubs.filter((h) => h.linked).length;
      const change = {
        [e.group ? 'enrollmentGroupId' : 'registrationId']: e.id,
        reprovisionPolicy: policyOf(reprovision.value), allocationPolicy: allocation.value,
        // all of them: also those that are linked later
        iotHubs: hubs.length === linked && allocation.value !== 'static' ? [] : hubs,
      };
      if (allocation.value === 'custom' && !webhook.value.endsWith('?…')) change.webhookUrl = webhook.value;
      const saved = await act('Saved. Nothing happens to a device until it registers again.',
        () => doSteps(...steps, { enrollment: change }));
      if (saved) await load(which.value);
    }

    explain();
    put(policies, el('h3', {}, 'Set the policies'),
      el('div', { class: 'fields' },
        el('label', { for: 'reprovision' }, 'Reprovision policy ', reprovision), hint,
        el('label', { for: 'allocation' }, 'Allocation policy ', allocation)),
      custom, table,
      el('p', { class: 'buttons' },
        el('button', { class: 'primary', onclick: save }, 'Save'),
        e.attestation === 'symmetricKey' && key(e)));
  }

  function key(e) {
    const place = el('code', { class: 'secret', hidden: true, 'aria-live': 'polite' });
    return [el('button', { onclick: () => act('', async () => {
      if (!place.hidden) { place.hidden = true; put(place); return; }
      const k = await post('/api/key', e.group ? { group: e.id } : { id: e.id });
      place.textContent = k.primaryKey;
      place.hidden = false;
    }) }, 'Show the key'), place];
  }

  function members() {
    if (!current) return [];
    return current.group ? sorted().filter((d) => d.group === current.id)
      : sorted().filter((d) => d.id.toLowerCase() === current.id.toLowerCase());
  }

  let listed = '';
  function drawDevices(anew) {
    const found = members().slice(0, 500);
    const key = found.map((d) => d.id).join();
    if (anew || key !== listed) {
      listed = key;
      const was = device.value;
      put(device, found.map((d) => el('option', { value: d.id, selected: d.id === was }, d.id)));
      drawAsk();
      refresh();
    }
  }

  function drawAsk() {
    const d = state.devices.get(device.value);
    if (!d) {
      put(ask, el('h3', {}, 'Have the device ask'),
        el('p', {}, 'No device has registered under this enrollment yet.'));
      return;
    }
    const elsewhere = state.hubs.filter((h) => h.host !== d.hub && h.linked);
    const to = el('select', { id: 'move-to' }, elsewhere.map((h) => el('option', { value: h.host }, short(h.host))));
    put(ask, el('h3', {}, 'Have the device ask'),
      el('p', {}, 'A device learns of its new place only by registering again.'),
      el('div', { class: 'fields' }, el('label', { for: 'device' }, 'Device ', device)),
      el('p', { class: 'now', id: 'now', 'aria-live': 'polite' }, place(d)),
      el('p', { class: 'buttons' },
        el('button', { class: 'primary', id: 'ask', onclick: () => act(
          `${d.id} was asked, and answered that it will.`,
          () => doSteps({ method: { deviceId: d.deviceId, name: 'reprovision' } })) },
        'Ask this device to reprovision'),
        el('a', { class: 'button', href: `#/device/${encodeURIComponent(d.id)}` }, 'Its time line')),
      el('details', {}, el('summary', {}, 'It cannot be told?'),
        el('p', {}, 'Move it now: its old hub rejects it from then on, and it asks by itself.'),
        el('p', { class: 'buttons' }, el('label', { for: 'move-to' }, 'To ', to),
          el('button', { onclick: () => act('Moved: its hub rejects it now.',
            () => doSteps({ moveNow: { registrationId: d.id, hub: to.value } })) }, 'Move it now'))));
  }

  const place = (d) => [el('b', {}, d.hub ? short(d.hub) : 'no hub'), ' · ',
    substatuses[d.substatus] || d.status || '–', ' · ', d.connected ? 'connected' : 'not connected'];

  let asked = 0;
  async function refresh() {
    const turn = ++asked;
    if (!device.value) {
      put(look, el('h3', {}, 'Look'), el('p', {}, 'The twins are here when there is a device.'));
      return;
    }
    const d = await get(`/api/device?id=${encodeURIComponent(device.value)}`);
    if (turn !== asked || look.contains(document.activeElement)
      && ['INPUT', 'SUMMARY'].includes(document.activeElement.tagName)) return;
    const initial = d.initial?.properties?.desired || {};
    put(look, el('h3', {}, 'Look'),
      el('p', {}, 'Desired properties. What differs from the initial twin is marked: migrate takes it along, reset leaves it behind.'),
      el('div', { class: 'twins' },
        el('section', { class: 'twin initial', 'aria-label': 'Initial twin' },
          el('h4', {}, 'Initial twin', el('small', {}, 'at DPS')), json(initial)),
        d.twins.map((t) => el('section', {
          class: `twin ${t.exists ? '' : 'missing'} ${t.host === d.device.hub ? 'lives' : ''}`,
          'aria-label': `Twin at ${short(t.host)}` },
        el('h4', {}, short(t.host), el('small', {}, t.exists ? `version ${t.version}` : 'not in the registry')),
        t.exists ? [json(t.desired, initial), past(t, d.device)] : el('p', { class: 'none' }, '–')))));
  }

  // past lets a person give the device something to move with.
  function past(t, d) {
    const id = `past-${t.host}`;
    const value = el('input', { type: 'number', id, value: 23 });
    return el('form', { class: 'past', onsubmit: (ev) => {
      ev.preventDefault();
      document.activeElement.blur();
      act('Set. The device is told.', () => doSteps({ desired: {
        hub: t.host, deviceId: d.deviceId, patch: { targetTemperature: Number(value.value) },
      } })).then(refresh);
    } }, el('label', { for: id }, 'targetTemperature ', value), el('button', {}, 'Set'));
  }

  load();
  const stop = listen((kind, data) => {
    if (kind === 'hubs' && current) drawPolicies();
    if (kind === 'everything' || kind === 'change') {
      drawDevices(false);
      const d = state.devices.get(device.value);
      if (d && (data.devices || []).some((one) => one.id === d.id)) {
        const now = document.getElementById('now');
        if (now) put(now, place(d));
        refresh();
      }
    }
    if (kind === 'operator') refresh();
  });
  return stop;
}
