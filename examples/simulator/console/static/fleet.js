// SPDX-License-Identifier: Apache-2.0
// The fleet: hubs as columns, devices as rows, or counts where there are too many.

import { allocations, clock, el, put, short, substatuses } from './dom.js';
import { listen, moves, sorted, state } from './store.js';

const most = 200; // rows
const still = matchMedia('(prefers-reduced-motion: reduce)');

export function fleet(main) {
  const search = el('input', {
    type: 'search', id: 'search', placeholder: 'all', autocomplete: 'off', oninput: () => draw(),
  });
  const summary = el('p', { class: 'summary', 'aria-live': 'off' });
  const counts = el('div', { class: 'hubs' });
  const note = el('p', { class: 'note' });
  const errors = el('ul');
  const movements = el('ul');
  const lists = el('div', { class: 'two lists' },
    el('section', { class: 'card', 'aria-label': 'Moved last' }, el('h3', {}, 'Moved last'), movements),
    el('section', { class: 'card', 'aria-label': 'Errors that last' }, el('h3', {}, 'Errors that last'), errors));
  const head = el('tr');
  const rows = el('tbody');
  const table = el('div', { class: 'scroll' },
    el('table', { class: 'fleet' },
      el('caption', { class: 'hidden' }, 'Devices by hub'), el('thead', {}, head), rows));
  main.append(
    el('div', { class: 'title' }, el('h2', {}, 'Fleet'), summary,
      el('label', { class: 'search', for: 'search' }, 'Find devices ', search)),
    counts, note, table, lists);

  const drawn = new Map(); // id → {row, key, hub}
  let columns = '';
  let due = false;

  // Changes of many devices come at once: the page is drawn once a frame at most.
  function soon() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; draw(); });
  }

  function draw() {
    const all = sorted();
    const connected = all.filter((d) => d.connected).length;
    summary.textContent = `${all.length.toLocaleString('en')} ${all.length === 1 ? 'device' : 'devices'}, ${
      connected.toLocaleString('en')} connected`;
    drawCounts(counts, all);
    drawLists(movements, errors, all);
    lists.hidden = all.length <= most;
    const wanted = search.value.trim().toLowerCase();
    const found = wanted
      ? all.filter((d) => `${d.id} ${d.hub} ${d.error || ''}`.toLowerCase().includes(wanted))
      : all;
    const shown = found.length > most ? [] : found;
    note.hidden = shown.length > 0;
    note.textContent = !all.length
      ? 'Nobody has registered yet. The command of a device that does is in the simulator’s log.'
      : found.length ? `More than ${most} devices are shown as counts. Find some by ID, hub or error to see them one by one.`
        : 'No device is like this.';
    table.hidden = !shown.length;
    drawRows(shown);
  }

  function drawRows(shown) {
    const names = state.hubs.map((h) => h.host).join();
    if (names !== columns) {
      columns = names;
      drawn.clear();
      put(rows);
      put(head, el('th', { scope: 'col' }, 'Device'),
        state.hubs.map((h) => el('th', { scope: 'col' }, short(h.host))),
        el('th', { scope: 'col' }, 'How it got there'), el('th', { scope: 'col' }, 'Last error'));
    }
    const there = new Set(shown.map((d) => d.id));
    for (const [id, one] of drawn) {
      if (!there.has(id)) { one.row.remove(); drawn.delete(id); }
    }
    let before = null;
    for (const d of shown) {
      const key = JSON.stringify(d);
      let one = drawn.get(d.id);
      if (!one) {
        one = { row: el('tr'), key: '', hub: d.hub };
        drawn.set(d.id, one);
      }
      if (one.key !== key) fill(one, d, key);
      const place = before ? before.nextSibling : rows.firstChild;
      if (place !== one.row) rows.insertBefore(one.row, place);
      before = one.row;
    }
  }

  draw();
  return listen((kind) => { if (kind !== 'link') soon(); });
}

// fill draws a device's row anew. A device that has moved is seen to move.
function fill(one, d, key) {
  const moved = one.key && one.hub !== d.hub;
  const from = moved ? one.row.querySelector('.at')?.getBoundingClientRect() : null;
  const focused = one.row.contains(document.activeElement);
  const chip = el('span', { class: `at ${d.connected ? 'on' : 'off'}` },
    el('span', { class: 'dot', 'aria-hidden': 'true' }),
    d.disabled ? 'disabled' : d.connected ? 'connected' : 'not connected');
  put(one.row,
    el('th', { scope: 'row' }, el('a', { href: `#/device/${encodeURIComponent(d.id)}` }, d.id),
      d.deviceId !== d.id && el('small', {}, ` as ${d.deviceId}`)),
    state.hubs.map((h) => el('td', { class: h.host === d.hub ? 'here' : 'empty',
      'data-label': short(h.host) }, h.host === d.hub && chip)),
    el('td', { class: 'how', 'data-label': 'How' },
      substatuses[d.substatus] || d.substatus || d.status || 'made at the hub',
      el('small', {}, d.group ? `group ${d.group}` : d.enrollment ? 'own enrollment' : '',
        d.allocation && `, ${allocations[d.allocation].toLowerCase()}`)),
    el('td', { class: `error ${d.recovered || !d.error ? 'past' : ''}`, 'data-label': 'Last error' },
      d.error ? [d.error, el('small', {},
        d.errorAt ? clock(d.errorAt) : '', d.recovered ? (d.connected ? ', works again' : ', worked since') : '')] : '–'));
  if (focused) one.row.querySelector('a').focus();
  if (from && !still.matches) {
    const to = chip.getBoundingClientRect();
    chip.animate([
      { transform: `translate(${from.left - to.left}px, ${from.top - to.top}px)` },
      { transform: 'none' },
    ], { duration: 900, easing: 'cubic-bezier(.3, .1, .2, 1)' });
    one.row.classList.add('moved');
    setTimeout(() => one.row.classList.remove('moved'), 3000);
  }
  one.key = key;
  one.hub = d.hub;
}

// drawCounts draws the hubs: how many devices each has, and how they are.
function drawCounts(place, all) {
  const by = new Map(state.hubs.map((h) => [h.host, {
    all: 0, on: 0, how: new Map(), failing: 0,
  }]));
  let nowhere = 0;
  for (const d of all) {
    const h = by.get(d.hub);
    if (!h) { nowhere++; continue; }
    h.all++;
    if (d.connected) h.on++;
    if (d.error && !d.recovered) h.failing++;
    const how = d.substatus || 'made at the hub';
    h.how.set(how, (h.how.get(how) || 0) + 1);
  }
  const cards = state.hubs.map((h) => {
    const c = by.get(h.host);
    const part = c.all ? Math.round(1000 * c.on / c.all) / 10 : 0;
    return [h.host, h.host, `${h.linked ? `weight ${h.weight}` : 'not linked'}`,
      c.all, c.on, part, [...c.how].sort(), c.failing,
      all.length > most ? dots(all.filter((d) => d.hub === h.host), place.clientWidth) : null];
  });
  const key = JSON.stringify([cards, nowhere]);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  put(place, cards.map(([, host, weight, n, on, part, how, failing, drawing]) => el('section',
    { class: 'hub', 'aria-label': host },
    el('h3', {}, short(host), el('small', {}, weight)),
    el('p', { class: 'big' }, n.toLocaleString('en'), el('small', {}, n === 1 ? ' device' : ' devices')),
    bar(part, `${on} of ${n} connected`),
    el('ul', {}, el('li', {}, el('b', {}, on.toLocaleString('en')), ' connected'),
      how.map(([name, count]) => el('li', {}, el('b', {}, count.toLocaleString('en')), ` ${
        substatuses[name] || name}`)),
      failing ? el('li', { class: 'bad' }, el('b', {}, failing.toLocaleString('en')), ' with an error') : null),
    drawing && el('svg', { class: 'dots', viewBox: drawing.box, 'aria-hidden': 'true' },
      ['on', 'off', 'failing'].map((kind) => el('path', { class: kind, d: drawing[kind] }))))),
  nowhere ? el('section', { class: 'hub none' }, el('h3', {}, 'no hub'),
    el('p', { class: 'big' }, nowhere.toLocaleString('en'))) : null);
}

// dots draws a dot a device, in the order of their IDs.
function dots(devices, width) {
  const columns = Math.max(10, Math.floor((Math.min(width, width / state.hubs.length) - 36) / 11));
  const lines = { on: '', off: '', failing: '' };
  devices.forEach((d, i) => {
    const kind = d.error && !d.recovered ? 'failing' : d.connected ? 'on' : 'off';
    lines[kind] += `M${5 + 11 * (i % columns)} ${5 + 11 * Math.floor(i / columns)}h.01`;
  });
  return { ...lines, box: `0 0 ${11 * columns} ${11 * Math.max(1, Math.ceil(devices.length / columns))}` };
}

// drawLists draws what stands out among many.
function drawLists(movements, errors, all) {
  const kinds = new Map();
  for (const d of all) {
    if (d.error && !d.recovered) kinds.set(d.error, (kinds.get(d.error) || 0) + 1);
  }
  const worst = [...kinds].sort((a, b) => b[1] - a[1]).slice(0, 6);
  put(errors, worst.length
    ? worst.map(([text, n]) => el('li', { class: 'bad' }, el('b', {}, n.toLocaleString('en')), ` ${text}`))
    : el('li', {}, 'None.'));
  put(movements, moves.length
    ? moves.map((m) => el('li', {}, el('time', {}, clock(m.at)), ' ',
      el('a', { href: `#/device/${encodeURIComponent(m.id)}` }, m.id), ` ${short(m.from)} → ${short(m.to)}`))
    : el('li', {}, 'Nobody, since this page was opened.'));
}

function bar(part, label) {
  const svg = el('svg', { viewBox: '0 0 100 4', preserveAspectRatio: 'none', class: 'bar',
    role: 'img', 'aria-label': label });
  svg.append(el('rect', { width: 100, height: 4, class: 'rest' }),
    el('rect', { width: part, height: 4, class: 'part' }));
  return svg;
}
