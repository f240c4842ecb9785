// SPDX-License-Identifier: Apache-2.0
// Small things that every page needs: elements, requests, words.

const svgNames = new Set(['svg', 'g', 'path', 'line', 'rect', 'circle', 'text', 'title', 'tspan']);

// el makes an element: el('p', {class: 'x', onclick: f}, 'text', child, …). What is null is left
// out.
export function el(name, attributes = {}, ...children) {
  const e = svgNames.has(name)
    ? document.createElementNS('http://www.w3.org/2000/svg', name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
    else if (key === 'value') e.value = value;
    else e.setAttribute(key, value === true ? '' : value);
  }
  e.append(...children.flat(9).filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

// put replaces the children of an element only if they are not the same already, so that what a
// person selected or focused stays.
export function put(parent, ...children) {
  parent.replaceChildren(...children.flat(9).filter((c) => c || c === 0));
}

export const short = (host) => (host || '').split('.')[0];

export function duration(ms) {
  if (ms < 950) return `${Math.round(ms)} ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 99_500) return `${Math.round(ms / 1000)} s`;
  if (ms < 5_400_000) return `${Math.round(ms / 60_000)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

export const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB');

// words for what the service calls by names of its own
export const substatuses = {
  initialAssignment: 'first assignment',
  deviceDataMigrated: 'moved with its data',
  deviceDataReset: 'moved and reset',
  reprovisionedToInitialAssignment: 'asked again, stayed',
};

export const allocations = {
  hashed: 'Evenly weighted distribution',
  geoLatency: 'Lowest latency',
  static: 'Static configuration',
  custom: 'Custom (webhook)',
};

let quiet;

// say tells the person something, for a while.
export function say(text, wrong = false) {
  const box = document.getElementById('said');
  box.textContent = text;
  box.classList.toggle('wrong', wrong);
  box.hidden = false;
  clearTimeout(quiet);
  quiet = setTimeout(() => { box.hidden = true; }, wrong ? 12_000 : 5000);
}

// ask is fetch, with an error that people understand where nobody answers.
const ask = (path, options) => fetch(path, options)
  .catch(() => { throw new Error('The simulator does not answer.'); });

export async function get(path) {
  const r = await ask(path);
  if (!r.ok) throw new Error(await r.text());
  return r.json();
}

export async function post(path, body) {
  const r = await ask(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Console': '1' },
    body: JSON.stringify(body),
  });
  if (!r.ok) {
    const text = await r.text();
    let problem = text;
    try { problem = JSON.parse(text).error; } catch { /* it is text already */ }
    throw new Error(problem);
  }
  return r.json();
}

// act does something, and says how it went.
export async function act(what, f) {
  try {
    await f();
    if (what) say(what);
    return true;
  } catch (e) {
    say(e.message, true);
    return false;
  }
}

export const doSteps = (...steps) => post('/api/do', { steps });

// json shows a value with those lines marked that stand out against another one.
export function json(value, against) {
  const lines = [];
  const walk = (name, v, other, depth, known) => {
    const indent = '  '.repeat(depth);
    const label = name === null ? '' : `${JSON.stringify(name)}: `;
    const fresh = known && JSON.stringify(v) !== JSON.stringify(other);
    if (v && typeof v === 'object' && !Array.isArray(v)) {
      const keys = Object.keys(v).sort();
      if (!keys.length) { lines.push([`${indent}${label}{}`, false]); return; }
      lines.push([`${indent}${label}{`, false]);
      for (const k of keys) walk(k, v[k], other?.[k], depth + 1, known);
      lines.push([`${indent}}`, false]);
      return;
    }
    lines.push([`${indent}${label}${JSON.stringify(v)}`, fresh]);
  };
  walk(null, value ?? {}, against ?? {}, 0, against !== undefined);
  return el('pre', { class: 'json', tabindex: 0 }, lines.map(([text, fresh]) => [
    fresh ? [text.match(/^ */)[0], el('mark', {}, text.trim())] : text, '\n',
  ]));
}
