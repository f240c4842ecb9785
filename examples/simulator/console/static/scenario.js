// SPDX-License-Identifier: Apache-2.0
// Scenarios: what was done is recorded as a file, and files are played.

import { act, clock, el, post, put } from './dom.js';
import { listen, state } from './store.js';

export function scenario(main) {
  const record = el('button', { class: 'primary', onclick: () => act('', () => post('/api/record',
    { on: !state.operator.recording })) });
  const text = el('textarea', { id: 'file', rows: 14, spellcheck: 'false' });
  const play = el('button', { class: 'primary', onclick: () => act('', async () => {
    if (state.operator.playing) { await post('/api/stop', {}); return; }
    let parsed;
    try { parsed = JSON.parse(text.value); } catch (e) { throw new Error(`This is no JSON: ${e.message}`); }
    await post('/api/play', { scenario: parsed });
  }) });
  const download = el('button', { onclick: () => {
    const a = el('a', { download: 'faults.json',
      href: URL.createObjectURL(new Blob([text.value], { type: 'application/json' })) });
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 1000);
  } }, 'Save as a file');
  const open = el('input', { type: 'file', id: 'open', accept: '.json,application/json', onchange: async () => {
    if (open.files[0]) text.value = await open.files[0].text();
  } });
  const list = el('ol', { class: 'done', reversed: true });
  main.append(el('div', { class: 'title' }, el('h2', {}, 'Scenario')),
    el('div', { class: 'two' },
      el('div', { class: 'card' }, el('h3', {}, 'Record and play'),
        el('p', {}, 'What is done on these pages is recorded with its times. The file is what the flag -faults takes.'),
        el('p', { class: 'buttons' }, record, play, download),
        el('label', { for: 'file' }, 'The file '), text,
        el('p', {}, el('label', { for: 'open' }, 'Open one ', open))),
      el('div', { class: 'card' }, el('h3', {}, 'What was done'), list)));

  let was = state.operator.recorded;
  async function take() {
    const r = await fetch('/api/recording');
    text.value = await r.text();
  }
  function draw() {
    const o = state.operator;
    record.textContent = o.recording ? `Stop recording (${o.recorded})` : 'Record';
    record.classList.toggle('hot', o.recording);
    play.textContent = o.playing ? 'Stop playing' : 'Play';
    if (o.recorded !== was && o.recording) take();
    was = o.recorded;
    put(list, [...o.done].reverse().map((d) => el('li', { class: d.error ? 'bad' : '' },
      el('time', {}, clock(d.at)), ' ', el('code', {}, JSON.stringify(d.step)),
      d.error && el('small', {}, d.error))));
    if (!o.done.length) put(list, el('li', { class: 'nothing' }, 'Nothing yet.'));
  }
  draw();
  take();
  return listen((kind) => { if (kind === 'operator' || kind === 'everything') draw(); });
}
