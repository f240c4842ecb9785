// SPDX-License-Identifier: Apache-2.0
// What is known of the simulator: kept up to date by the events of the server.

export const state = {
  live: false, idScope: '', hubs: [], devices: new Map(),
  operator: { faults: {}, done: [], recording: false, recorded: 0, playing: false },
};

// who moved last, the newest first
export const moves = [];

const listeners = new Set();

// listen calls f(kind, data) from now on: 'everything', 'change', 'hubs', 'operator', 'link'.
export function listen(f) {
  listeners.add(f);
  return () => listeners.delete(f);
}

function tell(kind, data) {
  for (const f of [...listeners]) f(kind, data);
}

export function follow() {
  const source = new EventSource('/api/events');
  const on = (kind, f) => source.addEventListener(kind, (e) => {
    const data = JSON.parse(e.data);
    f(data);
    tell(kind, data);
  });
  on('everything', (d) => {
    state.live = true;
    Object.assign(state, { idScope: d.idScope, hubs: d.hubs, operator: d.operator });
    state.devices = new Map(d.devices.map((one) => [one.id, one]));
  });
  on('change', (d) => {
    for (const one of d.devices || []) {
      const was = state.devices.get(one.id);
      if (was?.hub && one.hub && was.hub !== one.hub) {
        moves.unshift({ at: Date.now(), id: one.id, from: was.hub, to: one.hub });
      }
      state.devices.set(one.id, one);
    }
    moves.length = Math.min(moves.length, 6);
    for (const id of d.gone || []) state.devices.delete(id);
  });
  on('hubs', (d) => { state.hubs = d; });
  on('operator', (d) => { state.operator = d; });
  source.onopen = () => { state.live = true; tell('link'); };
  source.onerror = () => { state.live = false; tell('link'); };
}

export const sorted = () => [...state.devices.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
