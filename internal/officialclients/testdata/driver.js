// SPDX-License-Identifier: Apache-2.0
// Drives the official clients by commands from a Go test: one JSON object a line on standard input, {"id", "do", "with"}, is answered by one on
// standard output, {"id", "result"} or {"id", "error"}. Commands run at the same time; the end of standard input ends the program.
'use strict';

const readline = require('node:readline');

const commands = {
  ...require('./provisioning'), ...require('./device'), ...require('./operator'), ...require('./tpm'),
};

function answer(line) {
  process.stdout.write(JSON.stringify(line) + '\n');
}

function described(err) {
  const response = err.response || {};
  return {
    name: err.name,
    message: String(err.message),
    status: response.statusCode || err.statusCode || 0,
    body: String(err.responseBody || response.body || ''),
  };
}

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const { id, do: name, with: args } = JSON.parse(line);
  try {
    if (!commands[name]) throw new Error(`no command ${name}`);
    const result = await commands[name](args || {});
    answer({ id, result: result === undefined ? null : result });
  } catch (err) {
    answer({ id, error: described(err) });
  }
}).on('close', () => process.exit(0));

// What the clients throw out of turn must not pass for success.
process.on('uncaughtException', (err) => {
  process.stderr.write(`uncaught: ${err.stack}\n`);
  process.exit(1);
});
