// What the Node checks share: the list of checks and a small vocabulary of expectations.

import assert from 'node:assert/strict';

export const SYSTEM = 'Answer in one short sentence.';
export const PROMPT = 'Say hello.';
export const WEATHER = 'What is the weather in Paris?';
export const DESCRIPTION = 'Current weather of a city';
export const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
export const ANSWER_SCHEMA = {
  type: 'object',
  properties: { name: { type: 'string' }, age: { type: 'integer' }, tags: { type: 'array', items: { type: 'string' } } },
  required: ['name', 'age', 'tags'],
  additionalProperties: false,
};
export const STATUSES = [400, 401, 403, 404, 429, 500, 503, 529];
// A picture of one white pixel.
export const PNG_BASE64 =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=';
// A cancelled stream ends within this, in ms; the answer it cuts off would take far longer.
const CANCELLED_WITHIN = 2000;

export const CHECKS = [];

/** A function that puts checks into the group, one for each case if there are cases. */
export function checksOf(group) {
  return (name, casesOrRun, run) => {
    if (run === undefined) {
      CHECKS.push({ title: `${group}: ${name}`, run: casesOrRun });
    } else {
      for (const one of casesOrRun) CHECKS.push({ title: `${group}: ${name.replace('{}', one)}`, run: (target) => run(target, one) });
    }
  };
}

export function expect(truth, reason) {
  if (!truth) throw new assert.AssertionError({ message: reason });
}

export function expectEqual(what, seen, wanted) {
  expect(JSON.stringify(seen) === JSON.stringify(wanted), `${what} is ${JSON.stringify(seen)}, expected ${JSON.stringify(wanted)}`);
}

export function expectIn(what, seen, wanted) {
  expect(wanted.includes(seen), `${what} is ${JSON.stringify(seen)}, expected one of ${JSON.stringify(wanted)}`);
}

/** The arguments of a call of `get_weather`, as text or parsed. */
export function expectWeather(args) {
  const parsed = typeof args === 'string' ? JSON.parse(args) : args;
  expect(typeof parsed?.city === 'string', `arguments ${JSON.stringify(parsed)} do not fit the schema`);
}

/** JSON text that fits ANSWER_SCHEMA. */
export function expectPerson(text) {
  const told = JSON.parse(text);
  const fits = typeof told.name === 'string' && Number.isInteger(told.age) && Array.isArray(told.tags);
  expect(fits && Object.keys(told).length === 3, `${text} does not fit the schema`);
}

/** Awaits `run`, which must fail with one of the kinds (a class, or a name); returns the exception. */
export async function raises(kinds, run) {
  const wanted = [kinds].flat();
  let caught;
  try {
    await run();
  } catch (error) {
    caught = error;
  }
  const names = wanted.map((kind) => kind.name ?? kind).join(' or ');
  expect(caught !== undefined, `nothing was thrown, expected ${names}`);
  if (caught instanceof assert.AssertionError) throw caught;
  const fits = wanted.some((kind) => (typeof kind === 'string' ? caught.name === kind : caught instanceof kind));
  expect(fits, `threw ${caught?.name ?? caught?.constructor?.name} (${String(caught?.message).slice(0, 160)}), expected ${names}`);
  return caught;
}

/** `run` must end soon: what it cuts off would last. */
export async function atOnce(run) {
  const began = performance.now();
  await run();
  const took = performance.now() - began;
  expect(took < CANCELLED_WITHIN, `took ${Math.round(took)} ms, a cancelled stream should end at once`);
}

export async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

let number = 0;

/** A prompt that was not sent before: `mock-flaky` counts by what is sent. */
export const unique = (text) => `${text} (${Date.now()}-${process.pid}-${number++})`;
