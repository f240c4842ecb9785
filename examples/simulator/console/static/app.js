// SPDX-License-Identifier: Apache-2.0
import { el, put } from './dom.js';
import { follow, listen, state } from './store.js';
import { fleet } from './fleet.js';
import { move } from './move.js';
import { faults } from './faults.js';
import { scenario } from './scenario.js';
import { device } from './device.js';

const pages = { fleet, move, faults, scenario, device };
const main = document.getElementById('main');
let leave = null;

// show opens the page that the address names. A page is a function of the place it fills and its
// argument, and returns what to call when it is left.
function show(first) {
  const [, name = 'fleet', argument = ''] = location.hash.split('/');
  const page = pages[name] ? name : 'fleet';
  leave?.();
  put(main);
  let named = argument;
  try { named = decodeURIComponent(argument); } catch { /* typed by hand: it is as it is */ }
  leave = pages[page](main, named);
  for (const a of document.querySelectorAll('nav a')) {
    const here = a.getAttribute('href') === `#/${page}`;
    if (here) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  document.title = `${main.querySelector('h2')?.textContent || 'Fleet'} · Simulator console`;
  if (!first) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function head() {
  const link = document.getElementById('link');
  link.textContent = state.live ? 'live' : 'the simulator does not answer';
  link.className = state.live ? 'live' : 'dead';
  document.getElementById('scope').textContent = state.idScope;
  const on = Object.keys(state.operator.faults).length;
  const count = document.getElementById('faults-on');
  count.hidden = !on;
  put(count, `${on} `, el('span', { class: 'hidden' }, 'on'));
  const recording = document.getElementById('recording');
  recording.hidden = !state.operator.recording && !state.operator.playing;
  recording.textContent = state.operator.recording ? '● recording' : '▶ playing';
}

let begun = false;
listen((kind) => {
  if (kind !== 'change') head();
  if (kind === 'everything' && !begun) {
    begun = true;
    addEventListener('hashchange', () => {
      if (location.hash.startsWith('#/')) show(false);
    });
    show(true);
  }
});
follow();
