// Anthropic's messages through `@anthropic-ai/sdk`.

import Anthropic from '@anthropic-ai/sdk';

import {
  ANSWER_SCHEMA, DESCRIPTION, PNG_BASE64, PROMPT, SCHEMA, STATUSES, SYSTEM, WEATHER,
  atOnce, checksOf, collect, expect, expectEqual, expectIn, expectPerson, expectWeather, raises, unique,
} from './common.mjs';

const check = checksOf('node anthropic');
const USER = [{ role: 'user', content: PROMPT }];
const TOOL = { name: 'get_weather', description: DESCRIPTION, input_schema: SCHEMA };
const ASK = { model: 'mock', max_tokens: 64, messages: USER };
const BOTH = ['whole', 'streamed'];
const KINDS = {
  400: Anthropic.BadRequestError,
  401: Anthropic.AuthenticationError,
  403: Anthropic.PermissionDeniedError,
  404: Anthropic.NotFoundError,
  429: Anthropic.RateLimitError,
  500: Anthropic.InternalServerError,
  503: Anthropic.InternalServerError,
  529: Anthropic.InternalServerError,
};
const client = ({ base, key, timeout }, more = {}) => new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0, timeout, ...more });
const textOf = (message) => message.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
const callsOf = (message) => message.content.filter((block) => block.type === 'tool_use');

async function told(target, how, more = {}) {
  const { messages } = client(target);
  return how === 'whole' ? messages.create({ ...ASK, ...more }) : messages.stream({ ...ASK, ...more }).finalMessage();
}

function expectText(message) {
  expect(textOf(message), 'no text');
  expectIn('stop_reason', message.stop_reason, ['end_turn', 'max_tokens']);
  expect(message.usage.input_tokens > 0 && message.usage.output_tokens > 0, `usage ${JSON.stringify(message.usage)}`);
}

check('message, {}', BOTH, async (target, how) => expectText(await told(target, how, { system: SYSTEM })));

check('message, events in order', async (target) => {
  const kinds = (await collect(await client(target).messages.create({ ...ASK, stream: true }))).map((event) => event.type).filter((kind) => kind !== 'ping');
  expectEqual('the first events', kinds.slice(0, 2), ['message_start', 'content_block_start']);
  expectEqual('the last events', kinds.slice(-3), ['content_block_stop', 'message_delta', 'message_stop']);
});

check('image in', async (target) => {
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG_BASE64 } };
  expectText(await told(target, 'whole', { messages: [{ role: 'user', content: [image, { type: 'text', text: 'What is this?' }] }] }));
});

check('tools, {}', BOTH, async (target, how) => {
  const message = await told(target, how, { model: 'mock-tool-call', tools: [TOOL] });
  expectEqual('stop_reason', message.stop_reason, 'tool_use');
  expectEqual('the tools called', callsOf(message).map((call) => call.name), ['get_weather']);
  expectWeather(callsOf(message)[0].input);
});

check('tools, two at once, {}', BOTH, async (target, how) => {
  const calls = callsOf(await told(target, how, { model: 'mock-tool-calls', tools: [TOOL] }));
  expectEqual('number of calls', new Set(calls.map((call) => call.id)).size, 2);
});

check('tools, round trip', async (target) => {
  const first = await told(target, 'whole', { model: 'mock-tool-call', tools: [TOOL] });
  const result = { type: 'tool_result', tool_use_id: callsOf(first)[0].id, content: '20 degrees' };
  const messages = [{ role: 'user', content: WEATHER }, { role: 'assistant', content: first.content }, { role: 'user', content: [result] }];
  expectText(await told(target, 'whole', { model: 'mock-tool-call', messages, tools: [TOOL] }));
});

check('thinking, {}', BOTH, async (target, how) => {
  const [block] = (await told(target, how, { model: 'mock-thinking' })).content;
  expectEqual('the first block', block.type, 'thinking');
  expect(block.thinking && block.signature, 'no thinking or no signature');
});

check('thinking redacted, {}', BOTH, async (target, how) => {
  const { content } = await told(target, how, { model: 'mock-redacted' });
  expect(content.some((block) => block.type === 'redacted_thinking' && block.data), `blocks ${content.map((block) => block.type)}`);
});

check('JSON by schema', async (target) => {
  const output_config = { format: { type: 'json_schema', schema: ANSWER_SCHEMA } };
  expectPerson(textOf(await told(target, 'whole', { max_tokens: 500, output_config })));
});

check('refusal', async (target) => expectEqual('stop_reason', (await told(target, 'streamed', { model: 'mock-refusal' })).stop_reason, 'refusal'));

check('count of input tokens', async (target) => {
  const { messages } = client(target);
  const few = (await messages.countTokens({ model: 'mock', messages: USER })).input_tokens;
  const many = (await messages.countTokens({ model: 'mock', messages: [{ role: 'user', content: PROMPT.repeat(30) }] })).input_tokens;
  expect(0 < few && few < many, `${few} tokens for a short text, ${many} for a long one`);
});

check('models', async (target) => {
  const names = (await collect(client(target).models.list())).map((model) => model.id);
  expect(names.includes('mock') && names.includes('mock-thinking'), `listed: ${names}`);
});

check('error {}', STATUSES, async (target, status) => {
  for (const stream of [false, true]) {
    const ask = { ...ASK, model: `mock-error-${status}`, stream };
    const error = await raises(KINDS[status], () => client(target).messages.create(ask));
    expectEqual('status', error.status, status);
    expect(error.error?.error?.message, `no message in ${JSON.stringify(error.error)}`);
    if (status === 429) expect(Number(error.headers.get('retry-after')) > 0, 'no retry-after');
  }
});

check('bad key and missing model', async (target) => {
  await raises(Anthropic.AuthenticationError, () => client(target, { apiKey: 'bad-key' }).messages.create(ASK));
  await raises(Anthropic.NotFoundError, () => client(target).messages.create({ ...ASK, model: 'mock-missing' }));
});

check('flaky server, with and without retries', async (target) => {
  const ask = (text) => ({ ...ASK, model: 'mock-flaky', messages: [{ role: 'user', content: unique(text) }] });
  await raises(Anthropic.InternalServerError, () => client(target).messages.create(ask('once')));
  expectText(await client(target, { maxRetries: 2 }).messages.create(ask('again')));
});

check('error in mid-stream', async (target) => {
  const stream = await client(target).messages.create({ ...ASK, model: 'mock-midstream-error', stream: true });
  let deltas = 0;
  await raises(Anthropic.APIError, async () => {
    for await (const event of stream) deltas += event.type === 'content_block_delta';
  });
  expect(deltas > 0, 'no text before the error');
});

check('stream that ends early', async (target) => {
  await raises(Anthropic.AnthropicError, () => told(target, 'streamed', { model: 'mock-truncate' }));
});

check('connection reset in mid-stream', async (target) => {
  const stream = await client(target).messages.create({ ...ASK, model: 'mock-reset', stream: true });
  await raises(Error, () => collect(stream));
});

check('cancel in mid-stream, then again', async (target) => {
  const c = client(target);
  await atOnce(async () => {
    let seen = 0;
    for await (const _ of await c.messages.create({ ...ASK, model: 'mock-long', max_tokens: 1000, stream: true })) if (++seen === 5) break;
  });
  expectText(await c.messages.create(ASK));
});

check('time-out of the client', async (target) => {
  const c = client(target, { timeout: 500 });
  await raises(Anthropic.APIConnectionTimeoutError, () => c.messages.create({ ...ASK, model: 'mock-slow' }));
});
