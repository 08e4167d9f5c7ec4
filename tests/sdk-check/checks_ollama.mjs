// Ollama's API through `ollama`.

import { Ollama } from 'ollama';

import {
  ANSWER_SCHEMA, DESCRIPTION, PROMPT, SCHEMA, STATUSES, SYSTEM,
  atOnce, checksOf, collect, expect, expectEqual, expectPerson, expectWeather, raises,
} from './common.mjs';

const check = checksOf('node ollama');
const USER = [{ role: 'user', content: PROMPT }];
const TOOL = { type: 'function', function: { name: 'get_weather', description: DESCRIPTION, parameters: SCHEMA } };
const BOTH = ['whole', 'streamed'];
const client = ({ base }) => new Ollama({ host: base });
const textOf = (parts) => parts.map((part) => part.message?.content ?? '').join('');

async function chat(target, how, more = {}) {
  const ask = { model: 'mock', messages: USER, ...more };
  return how === 'whole' ? [await client(target).chat(ask)] : collect(await client(target).chat({ ...ask, stream: true }));
}

check('chat, {}', BOTH, async (target, how) => {
  const parts = await chat(target, how, { messages: [{ role: 'system', content: SYSTEM }, ...USER], options: { num_predict: 16 } });
  const last = parts.at(-1);
  expect(textOf(parts), 'no text');
  expect(last.done && last.prompt_eval_count > 0 && last.eval_count > 0 && last.total_duration >= 0, `last line ${JSON.stringify(last)}`);
});

check('tools, {}', BOTH, async (target, how) => {
  const parts = await chat(target, how, { model: 'mock-tool-call', tools: [TOOL] });
  const calls = parts.flatMap((part) => part.message.tool_calls ?? []);
  expectEqual('the tools called', calls.map((call) => call.function.name), ['get_weather']);
  expectWeather(calls[0].function.arguments);
});

check('thinking, {}', BOTH, async (target, how) => {
  const parts = await chat(target, how, { model: 'mock-thinking', think: true });
  expect(parts.map((part) => part.message.thinking ?? '').join(''), 'no thinking');
});

check('JSON by schema', async (target) => expectPerson(textOf(await chat(target, 'whole', { format: ANSWER_SCHEMA }))));

check('generate, {}', BOTH, async (target, how) => {
  const ask = { model: 'mock', prompt: PROMPT };
  const parts = how === 'whole' ? [await client(target).generate(ask)] : await collect(await client(target).generate({ ...ask, stream: true }));
  expect(parts.map((part) => part.response).join('') && parts.at(-1).done, 'no text or no end');
});

check('list, show, ps, pull', async (target) => {
  const c = client(target);
  const names = (await c.list()).models.map((model) => model.name.replace(/:latest$/, ''));
  expect(names.includes('mock'), `listed: ${names}`);
  expect((await c.show({ model: 'mock' })).capabilities.includes('completion'), 'no capabilities');
  expect(Array.isArray((await c.ps()).models), 'no models');
  expectEqual('status', (await collect(await c.pull({ model: 'mock', stream: true }))).at(-1).status, 'success');
});

check('error {}', STATUSES, async (target, status) => {
  for (const how of BOTH) {
    const error = await raises('ResponseError', () => chat(target, how, { model: `mock-error-${status}` }));
    expectEqual('status', error.status_code, status);
  }
});

check('error in mid-stream', async (target) => {
  await raises(Error, () => chat(target, 'streamed', { model: 'mock-midstream-error' }));
});

check('cancel in mid-stream, then again', async (target) => {
  const c = client(target);
  await atOnce(async () => {
    const stream = await c.chat({ model: 'mock-long', messages: USER, stream: true });
    let seen = 0;
    try {
      for await (const _ of stream) if (++seen === 3) stream.abort();
    } catch (error) {
      expect(error.name === 'AbortError', `threw ${error}`);
    }
  });
  expect((await c.chat({ model: 'mock', messages: USER })).message.content, 'no text');
});
