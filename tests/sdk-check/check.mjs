// Do the vendors' own JavaScript SDKs work, unchanged, against what `llms-bench mock serve` simulates?
//
// One line a check (`ok`, or `FAILED` with the reason), at the end `N passed, M failed`; exits 1 if any failed.
// `cargo xtask sdk-check` installs the SDKs, starts a server and calls this; by hand, where they are installed:
//
//     node check.mjs http://127.0.0.1:8399 [--filter TEXT] [--list]
//
// Over HTTPS (`--https`) the certificate must be known: NODE_EXTRA_CA_CERTS.

import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { filter: { type: 'string', default: '' }, list: { type: 'boolean', default: false }, jobs: { type: 'string', default: '6' },
    https: { type: 'string', default: '' }, pair: { type: 'string', default: ':' } },
});
// The SDKs must find neither a proxy nor a real key nor another address.
for (const name of Object.keys(process.env)) {
  if (/_proxy$/i.test(name) || /^(AWS|OPENAI|AZURE|ANTHROPIC|OLLAMA)_/.test(name)) delete process.env[name];
}
process.env.AWS_EC2_METADATA_DISABLED = 'true';
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
process.env.AWS_CONFIG_FILE = process.env.AWS_SHARED_CREDENTIALS_FILE = '/dev/null';

const { CHECKS } = await import('./common.mjs');
for (const part of ['openai', 'anthropic', 'bedrock', 'ollama', 'secure']) await import(`./checks_${part}.mjs`);
const possible = CHECKS.filter((check) => values.https || !check.title.startsWith('node https'));
const chosen = possible.filter((check) => check.title.includes(values.filter));
if (values.list) {
  for (const check of chosen) console.log(check.title);
  process.exit(0);
}
if (positionals.length !== 1) {
  console.error('expected the base URL of a server, as http://127.0.0.1:8399');
  process.exit(2);
}
const target = {
  base: positionals[0].replace(/\/$/, ''),
  key: 'simulated',
  timeout: 30_000,
  secure: values.https.replace(/\/$/, ''), // another server, that knows `pair`
  pair: values.pair.split(':'), // AWS key and secret
};

async function outcome(check) {
  const began = performance.now();
  let reason = '';
  let limit;
  try {
    const late = new Promise((_, reject) => {
      limit = setTimeout(() => reject(new Error('no end after 60 s')), 60_000);
    });
    await Promise.race([check.run(target), late]);
  } catch (error) {
    reason = error?.name === 'AssertionError' ? error.message : `${error?.name}: ${error?.message}`;
  }
  clearTimeout(limit);
  const took = `${Math.round(performance.now() - began)} ms`;
  if (reason) return [false, `FAILED  ${check.title} (${took}): ${reason.replace(/\s+/g, ' ').slice(0, 400)}`];
  return [true, `ok      ${check.title} (${took})`];
}

// Some run at the same time; their lines come in order.
const results = chosen.map(() => Promise.withResolvers?.() ?? deferred());
let next = 0;
const workers = Array.from({ length: Number(values.jobs) }, async () => {
  while (next < chosen.length) {
    const at = next++;
    results[at].resolve(await outcome(chosen[at]));
  }
});
let passed = 0;
for (const result of results) {
  const [ok, line] = await result.promise;
  console.log(line);
  passed += ok;
}
await Promise.all(workers);
console.log(`${passed} passed, ${chosen.length - passed} failed`);
process.exit(passed === chosen.length ? 0 : 1);

function deferred() {
  const made = {};
  made.promise = new Promise((resolve) => (made.resolve = resolve));
  return made;
}
