// OpenAI's chat completions, Responses, completions and models through `openai`.

import OpenAI, { AzureOpenAI } from 'openai';

import {
  ANSWER_SCHEMA, DESCRIPTION, PNG_BASE64, PROMPT, SCHEMA, STATUSES, SYSTEM, WEATHER,
  atOnce, checksOf, collect, expect, expectEqual, expectIn, expectPerson, expectWeather, raises, unique,
} from './common.mjs';

const check = checksOf('node openai');
const USER = [{ role: 'user', content: PROMPT }];
const TOOL = { type: 'function', function: { name: 'get_weather', description: DESCRIPTION, parameters: SCHEMA } };
const RESPONSE_TOOL = { type: 'function', name: 'get_weather', description: DESCRIPTION, parameters: SCHEMA, strict: true };
const BOTH = ['whole', 'streamed'];
const KINDS = {
  400: OpenAI.BadRequestError,
  401: OpenAI.AuthenticationError,
  403: OpenAI.PermissionDeniedError,
  404: OpenAI.NotFoundError,
  429: OpenAI.RateLimitError,
  500: OpenAI.InternalServerError,
  503: OpenAI.InternalServerError,
  529: OpenAI.InternalServerError,
};
const client = ({ base, key, timeout }, more = {}) => new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0, timeout, ...more });

function expectText(completion) {
  const [choice] = completion.choices;
  expect(choice.message.content, 'no text');
  expectIn('finish_reason', choice.finish_reason, ['stop', 'length']);
  const { usage } = completion;
  expect(usage?.prompt_tokens > 0 && usage.completion_tokens > 0, `usage ${JSON.stringify(usage)}`);
  expectEqual('total_tokens', usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
}

function expectResponse(response, status = 'completed') {
  expect(response.output_text, 'no text');
  expectEqual('status', response.status, status);
  const { usage } = response;
  expect(usage?.input_tokens > 0 && usage.output_tokens > 0, `usage ${JSON.stringify(usage)}`);
  expectEqual('total_tokens', usage.total_tokens, usage.input_tokens + usage.output_tokens);
}

/** One answer, whole or through the SDK's accumulator. */
async function told(target, how, more = {}) {
  const ask = { model: 'mock', messages: USER, ...more };
  const chat = client(target).chat.completions;
  return how === 'whole' ? chat.create(ask) : chat.stream({ stream_options: { include_usage: true }, ...ask }).finalChatCompletion();
}

async function responded(target, how, more = {}) {
  const ask = { model: 'mock', input: PROMPT, ...more };
  const { responses } = client(target);
  return how === 'whole' ? responses.create(ask) : responses.stream(ask).finalResponse();
}

check('chat, {}', BOTH, async (target, how) => expectText(await told(target, how, { messages: [{ role: 'system', content: SYSTEM }, ...USER] })));

check('chat, streamed with usage', async (target) => {
  const ask = { model: 'mock', messages: USER, stream: true, stream_options: { include_usage: true } };
  const chunks = await collect(await client(target).chat.completions.create(ask));
  const last = chunks.at(-1);
  expect(last.usage?.completion_tokens > 0 && last.choices.length === 0, 'usage is not in a last chunk without choices');
  expect(!chunks.slice(0, -1).some((chunk) => chunk.usage), 'usage in an earlier chunk');
  expectEqual('the id', [...new Set(chunks.map((chunk) => chunk.id))].length, 1);
});

check('image in', async (target) => {
  const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG_BASE64}` } };
  expectText(await told(target, 'whole', { messages: [{ role: 'user', content: [{ type: 'text', text: 'What is this?' }, image] }] }));
});

check('tools, {}', BOTH, async (target, how) => {
  const completion = await told(target, how, { model: 'mock-tool-call', tools: [TOOL] });
  expectEqual('finish_reason', completion.choices[0].finish_reason, 'tool_calls');
  const calls = completion.choices[0].message.tool_calls ?? [];
  expectEqual('the tools called', calls.map((call) => call.function.name), ['get_weather']);
  expectWeather(calls[0].function.arguments);
});

check('tools, two at once, {}', BOTH, async (target, how) => {
  const completion = await told(target, how, { model: 'mock-tool-calls', tools: [TOOL] });
  const calls = completion.choices[0].message.tool_calls ?? [];
  expectEqual('number of calls', new Set(calls.map((call) => call.id)).size, 2);
  for (const call of calls) expectWeather(call.function.arguments);
});

check('tools, round trip', async (target) => {
  const messages = [{ role: 'user', content: WEATHER }];
  const first = await told(target, 'whole', { model: 'mock-tool-call', messages, tools: [TOOL] });
  const { message } = first.choices[0];
  messages.push(message, { role: 'tool', tool_call_id: message.tool_calls[0].id, content: '20 degrees' });
  expectText(await told(target, 'whole', { model: 'mock-tool-call', messages, tools: [TOOL] }));
});

check('tools, run by the SDK itself', async (target) => {
  const run = async ({ city }) => `20 degrees in ${city}`;
  const tool = { type: 'function', function: { name: 'get_weather', description: DESCRIPTION, parameters: SCHEMA, parse: JSON.parse, function: run } };
  const runner = client(target).chat.completions.runTools({ model: 'mock-tool-call', messages: USER, tools: [tool] });
  expect(await runner.finalContent(), 'no text after the tool');
});

check('thinking, {}', BOTH, async (target, how) => {
  if (how === 'whole') {
    const completion = await told(target, how, { model: 'mock-thinking' });
    expect(completion.choices[0].message.reasoning_content, 'no reasoning_content');
    expect(completion.usage.completion_tokens_details?.reasoning_tokens > 0, 'no reasoning_tokens');
  } else {
    const chunks = await collect(await client(target).chat.completions.create({ model: 'mock-thinking', messages: USER, stream: true }));
    expect(chunks.filter((chunk) => chunk.choices[0]?.delta.reasoning_content).length > 1, 'reasoning_content is not streamed');
  }
});

check('JSON by schema, {}', BOTH, async (target, how) => {
  const response_format = { type: 'json_schema', json_schema: { name: 'person', strict: true, schema: ANSWER_SCHEMA } };
  const completion = await told(target, how, { response_format });
  expectPerson(completion.choices[0].message.content);
});

check('refusal, {}', BOTH, async (target, how) => {
  const completion = await told(target, how, { model: 'mock-refusal' });
  expect(completion.choices[0].message.refusal, 'no refusal');
});

check('legacy completions', async (target) => {
  const { completions } = client(target);
  const whole = await completions.create({ model: 'mock', prompt: 'Once', max_tokens: 8 });
  expect(whole.choices[0].text && whole.usage.completion_tokens > 0, 'no text or usage');
  const chunks = await collect(await completions.create({ model: 'mock', prompt: 'Once', stream: true }));
  expect(chunks.map((chunk) => chunk.choices[0]?.text ?? '').join(''), 'no streamed text');
});

check('models', async (target) => {
  const names = (await collect(client(target).models.list())).map((model) => model.id);
  for (const name of ['mock', 'mock-tool-call', 'mock-error-429']) expect(names.includes(name), `${name} is not listed`);
  expectEqual('one model', (await client(target).models.retrieve('mock')).id, 'mock');
});

check('error {}', STATUSES, async (target, status) => {
  for (const stream of [false, true]) {
    const ask = { model: `mock-error-${status}`, messages: USER, stream };
    const error = await raises(KINDS[status], () => client(target).chat.completions.create(ask));
    expectEqual('status', error.status, status);
    expect(error.error?.message, `no message in ${JSON.stringify(error.error)}`);
    expect(error.requestID, 'no x-request-id');
    if (status === 429) expect(Number(error.headers.get('retry-after')) > 0, 'no retry-after');
  }
});

check('bad key and missing model', async (target) => {
  const ask = { model: 'mock', messages: USER };
  await raises(OpenAI.AuthenticationError, () => client(target, { apiKey: 'bad-key' }).chat.completions.create(ask));
  await raises(OpenAI.NotFoundError, () => client(target).chat.completions.create({ ...ask, model: 'mock-missing' }));
});

check('flaky server, with and without retries', async (target) => {
  const ask = (text) => ({ model: 'mock-flaky', messages: [{ role: 'user', content: unique(text) }] });
  await raises(OpenAI.InternalServerError, () => client(target).chat.completions.create(ask('once')));
  expectText(await client(target, { maxRetries: 2 }).chat.completions.create(ask('again')));
});

check('error in mid-stream', async (target) => {
  const stream = await client(target).chat.completions.create({ model: 'mock-midstream-error', messages: USER, stream: true });
  let text = '';
  await raises(OpenAI.APIError, async () => {
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
  });
  expect(text, 'no text before the error');
});

check('stream that ends early', async (target) => {
  const chunks = await collect(await client(target).chat.completions.create({ model: 'mock-truncate', messages: USER, stream: true }));
  expect(!chunks.some((chunk) => chunk.choices[0]?.finish_reason), 'a finish reason after all');
});

check('connection reset in mid-stream', async (target) => {
  const stream = await client(target).chat.completions.create({ model: 'mock-reset', messages: USER, stream: true });
  const error = await raises(Error, () => collect(stream));
  expect(!(error instanceof OpenAI.APIError) || error.status === undefined, `threw ${error}`);
});

check('cancel in mid-stream, {}', ['by break', 'by signal'], async (target, how) => {
  const c = client(target);
  await atOnce(async () => {
    const stop = new AbortController();
    const stream = await c.chat.completions.create({ model: 'mock-long', messages: USER, stream: true }, { signal: stop.signal });
    let seen = 0;
    try {
      for await (const _ of stream) {
        if (++seen < 3) continue;
        if (how === 'by break') break;
        stop.abort();
      }
    } catch (error) {
      expect(error.name === 'AbortError' || error instanceof OpenAI.APIUserAbortError, `threw ${error}`);
    }
    expectIn('chunks seen', seen, [3, 4]);
  });
  expectText(await c.chat.completions.create({ model: 'mock', messages: USER }));
});

check('time-out of the client', async (target) => {
  const c = client(target, { timeout: 500 });
  await raises(OpenAI.APIConnectionTimeoutError, () => c.chat.completions.create({ model: 'mock-slow', messages: USER }));
});

check('Azure, {}', BOTH, async (target, how) => {
  const c = new AzureOpenAI({ endpoint: target.base, apiKey: target.key, apiVersion: '2024-10-21', maxRetries: 0 });
  const ask = { model: 'mock', messages: USER };
  if (how === 'whole') expectText(await c.chat.completions.create(ask));
  else expectText(await c.chat.completions.stream({ ...ask, stream_options: { include_usage: true } }).finalChatCompletion());
});

check('responses, {}', BOTH, async (target, how) => expectResponse(await responded(target, how, { instructions: SYSTEM })));

check('responses, events in order', async (target) => {
  const kinds = (await collect(await client(target).responses.create({ model: 'mock', input: PROMPT, stream: true }))).map((e) => e.type);
  expectEqual('the first events', kinds.slice(0, 3), ['response.created', 'response.in_progress', 'response.output_item.added']);
  expectEqual('the last event', kinds.at(-1), 'response.completed');
});

check('responses, tools, {}', BOTH, async (target, how) => {
  const response = await responded(target, how, { model: 'mock-tool-call', tools: [RESPONSE_TOOL] });
  const calls = response.output.filter((item) => item.type === 'function_call');
  expectEqual('the tools called', calls.map((call) => call.name), ['get_weather']);
  expectWeather(calls[0].arguments);
  const output = { type: 'function_call_output', call_id: calls[0].call_id, output: '20 degrees' };
  const input = [{ role: 'user', content: WEATHER }, ...response.output, output];
  expectResponse(await responded(target, how, { model: 'mock-tool-call', input, tools: [RESPONSE_TOOL] }));
});

check('responses, reasoning, {}', BOTH, async (target, how) => {
  const response = await responded(target, how, { model: 'mock-thinking', reasoning: { summary: 'auto' } });
  expect(response.output.some((item) => item.type === 'reasoning'), 'no reasoning item');
  expect(response.usage.output_tokens_details.reasoning_tokens > 0, 'no reasoning_tokens');
});

check('responses, JSON by schema, {}', BOTH, async (target, how) => {
  const text = { format: { type: 'json_schema', name: 'person', strict: true, schema: ANSWER_SCHEMA } };
  expectPerson((await responded(target, how, { text })).output_text);
});

check('responses, limit of tokens', async (target) => {
  const response = await responded(target, 'whole', { model: 'mock-long', max_output_tokens: 5 });
  expectResponse(response, 'incomplete');
  expectEqual('the reason', response.incomplete_details?.reason, 'max_output_tokens');
});

check('responses, error {}', STATUSES, async (target, status) => {
  const error = await raises(KINDS[status], () => responded(target, 'whole', { model: `mock-error-${status}` }));
  expectEqual('status', error.status, status);
});
