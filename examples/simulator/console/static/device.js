// SPDX-License-Identifier: Apache-2.0
// A device's time line: what it asked and was answered, and how long it waited between, drawn as a
// sequence: the device, DPS and the hubs are lines, time goes down. Waits are not to scale: a
// pause of an hour has room for a word and not for an hour.

import { clock, duration, el, get, put, short, substatuses } from './dom.js';
import { listen, state } from './store.js';

const shown = 60; // events

export function device(main, id) {
  const place = el('div', { class: 'drawing', tabindex: 0, role: 'region', 'aria-label': 'Time line' });
  const facts = el('p', { class: 'facts', 'aria-live': 'polite' });
  const count = el('p', { class: 'note' });
  let follows = true;
  const keep = el('input', { type: 'checkbox', id: 'follow', checked: true, onchange: () => {
    follows = keep.checked;
    refresh();
  } });
  main.append(el('div', { class: 'title' },
    el('h2', {}, id), el('label', { for: 'follow' }, keep, ' follow')),
  facts, el('p', { class: 'buttons' }, el('a', { class: 'button', href: '#/fleet' }, 'Fleet'),
    el('a', { class: 'button', href: `#/move/${encodeURIComponent(id)}` }, 'Move it')), count, place);
  let turn = 0;
  let key = '';
  async function refresh() {
    const mine = ++turn;
    const d = await get(`/api/device?id=${encodeURIComponent(id)}`);
    if (mine !== turn) return;
    const one = d.device;
    put(facts, one.hub ? `at ${short(one.hub)}` : 'at no hub', ' · ',
      one.connected ? 'connected' : 'not connected', ' · ',
      substatuses[one.substatus] || one.status || (one.hub ? 'made at the hub' : 'not registered'),
      one.error ? [' · ', el('span', { class: one.recovered ? 'past' : 'bad' }, one.error,
        one.recovered && (one.connected ? ', works again' : ', worked since'))] : null);
    const next = JSON.stringify([d.events.slice(-shown), place.clientWidth]);
    if (next === key) return;
    key = next;
    count.textContent = d.events.length > shown
      ? `The newest ${shown} of ${d.events.length} events.` : '';
    count.hidden = !count.textContent;
    if (!d.events.length) { put(place, el('p', {}, 'It has not asked for anything yet.')); return; }
    put(place, ...draw(d.events.slice(-shown), one, Math.max(320, place.clientWidth)));
    if (follows) place.scrollTop = place.scrollHeight;
  }
  refresh();
  const timer = setInterval(refresh, 1000);
  const resized = () => refresh();
  addEventListener('resize', resized);
  const stop = listen((kind, data) => {
    if (kind === 'change' && data.devices?.some((one) => one.id === id)) refresh();
  });
  return () => { clearInterval(timer); removeEventListener('resize', resized); stop(); };
}

// pause is how high a wait is drawn: by the logarithm of its length.
const pause = (ms) => 26 + 15 * Math.log10(Math.max(1, ms / 500)) ** 1.25;

const words = {
  register: 'register', poll: 'poll', connect: 'CONNECT (MQTT)', 'status lookup': 'status lookup',
};

export function draw(events, device, width) {
  const small = width < 620;
  const lanes = ['dps', ...state.hubs.map((h) => h.host)
    .filter((h) => events.some((e) => e.to === h) || !small || h === device.hub)];
  const left = small ? 62 : 190;
  const right = width - (small ? 34 : 110);
  const x = (to) => left + (lanes.indexOf(to) + 1) * ((right - left) / lanes.length);
  const name = (to) => (to === 'dps' ? 'DPS' : short(to));
  const layer = { back: el('g'), lines: el('g'), front: el('g') };
  let y = 26;
  let connectedTo = null;
  let since = 0;
  let at = 0;
  const add = (where, element) => { layer[where].append(element); return element; };
  const text = (tx, ty, words, attributes = {}) => add('front', el('text',
    { x: tx, y: ty, ...attributes }, words));
  const stamp = (ms) => {
    const t = clock(ms);
    if (t !== at) text(4, y + 4, t, { class: 'time' });
    at = t;
  };
  const endBar = () => {
    if (connectedTo !== null) {
      add('back', el('rect', { x: x(connectedTo) - 7, y: since, width: 14,
        height: Math.max(4, y - since), rx: 7, class: 'bar-on' },
      el('title', {}, `connected to ${name(connectedTo)}`)));
    }
    connectedTo = null;
  };
  const first = events.find((e) => e.kind !== 'moved');
  if (first && (first.kind === 'telemetry' || first.kind === 'operation' || first.kind === 'lost')) {
    connectedTo = first.to;
    since = y - 14;
  }

  for (const e of events) {
    if (e.wait) {
      const h = pause(e.wait);
      add('back', el('path', { class: 'wait', d: `M${left},${y - 6} v${h - 8}` }));
      const label = `${duration(e.wait)}`;
      const why = text(left + 12, y + h / 2 - 6, label, { class: 'wait-label' });
      const more = el('tspan', { class: 'why' }, ` ${e.why}`);
      if (small && e.why.length > 24) { more.setAttribute('x', left + 12); more.setAttribute('dy', 14); }
      why.append(more);
      y += h + (small && e.why.length > 24 ? 20 : 0);
    }
    const g = el('g', { class: `event ${e.outcome} ${e.kind}` }, el('title', {}, describe(e, name)));
    layer.front.append(g);
    const to = lanes.includes(e.to) ? x(e.to) : left;
    const back = e.outcome === 'refused' ? '✕ ' : '';
    stamp(e.at);
    if (e.kind === 'moved') {
      y += 4;
      g.append(el('rect', { x: left, y: y - 11, width: Math.max(60, to - left), height: 22, rx: 11, class: 'pill' }),
        el('circle', { cx: to, cy: y, r: 6, class: 'pill-end' }),
        el('text', { x: left + 12, y: y + 4, class: 'pill-text' },
          `${small ? '' : 'assigned: '}${name(e.to)}${small ? '' : ` · ${substatuses[e.detail] || e.detail}`}`));
      y += 34;
    } else if (e.kind === 'lost') {
      if (connectedTo === e.to) { endBar(); }
      g.append(el('text', { x: to, y: y + 5, class: 'cross', 'text-anchor': 'middle' }, '✕'),
        el('text', { x: to - 12, y: y + 4, 'text-anchor': 'end', class: 'label' }, 'connection ended'));
      y += 26;
    } else if (e.kind === 'telemetry') {
      if (connectedTo !== e.to) { endBar(); connectedTo = e.to; since = y; }
      for (const [i, dx] of [0, 1, 2].entries()) {
        if (i < e.count) g.append(el('circle', { cx: left + 14 + dx * 7, cy: y, r: 2.5, class: 'dot' }));
      }
      const told = `${e.count} ${e.count === 1 ? 'message' : 'messages'}${
        e.until > e.at ? ` in ${duration(e.until - e.at)}` : ''}`;
      g.append(el('text', { x: left + 40, y: y + 4, class: 'label' }, told));
      const start = Math.max(left + (small ? 130 : 190), left + 50 + told.length * 7);
      if (start < to - 30) g.append(arrow(start, y, to - 10, y, 'thin'));
      y += 26;
    } else {
      // a request, and its answer a little below
      const what = words[e.what] || e.what;
      g.append(arrow(left, y, to - (e.kind === 'operation' ? 9 : 1), y));
      g.append(el('text', { x: left + 12, y: y - 5, class: 'label' }, what));
      if (e.outcome === 'silent') {
        y += 18;
        g.append(el('text', { x: to - 12, y: y - 2, class: 'label bad', 'text-anchor': 'end' }, 'no answer'));
      } else if (e.answer) {
        y += 18;
        g.append(arrow(to - (e.kind === 'operation' ? 9 : 1), y, left, y, 'answer'));
        const took = e.until - e.at >= 20 ? ` after ${duration(e.until - e.at)}` : '';
        const long = `${back}${e.answer}${took}${!small && e.outcome === 'refused' && e.detail
          && e.kind === 'connect' ? ` · ${e.detail}` : ''}`;
        g.append(el('text', { x: to - 12, y: y - 4, class: 'label answer', 'text-anchor': 'end' }, long));
      }
      if (e.kind === 'connect' && e.outcome === 'ok') {
        endBar();
        connectedTo = e.to;
        since = y - 18;
      }
      y += 30;
    }
  }
  endBar();
  const height = y + 12;
  const lanesOnTop = el('svg', { class: 'timeline lanes', width, height: 34, 'aria-hidden': 'true' });
  const top = [['device', left, short(device.id)], ...lanes.map((l) => [l, x(l), name(l)])];
  for (const [lane, lx, label] of top) {
    add('lines', el('line', { x1: lx, x2: lx, y1: 0, y2: height - 6,
      class: lane === 'device' ? 'life device' : 'life' }));
    lanesOnTop.append(el('text', { x: lx, y: 22, class: 'lane', 'text-anchor': 'middle' },
      lane === 'device' ? (small ? 'device' : label.slice(0, 22)) : label));
  }
  return [lanesOnTop, el('svg', { class: 'timeline events', width, height, viewBox: `0 0 ${width} ${height}`,
    role: 'img', 'aria-label': `What ${device.id} asked, and how it waited: ${
      events.length} events. ${events.slice(-5).map((e) => describe(e, name)).join('. ')}` },
  layer.lines, layer.back, layer.front)];
}

function describe(e, name) {
  const wait = e.wait ? `waited ${duration(e.wait)}, ${e.why}; ` : '';
  const answer = e.outcome === 'silent' ? 'no answer' : e.answer;
  return `${clock(e.at)}: ${wait}${e.what} ${e.kind === 'moved' ? '→' : 'to'} ${name(e.to)}${
    answer ? `: ${answer}` : ''}${e.detail ? ` (${e.detail})` : ''}${
    e.retryAfter ? `, Retry-After ${e.retryAfter}` : ''}`;
}

function arrow(x1, y1, x2, y2, kind = '') {
  const d = x2 > x1 ? -1 : 1;
  return el('path', { class: `arrow ${kind}`,
    d: `M${x1},${y1} H${x2} m${6 * d},-4 l${-6 * d},4 l${6 * d},4` });
}
