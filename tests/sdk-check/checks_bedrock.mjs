// Amazon Bedrock's Converse and InvokeModel through `@aws-sdk/client-bedrock-runtime`, which speaks HTTP/2.

import {
  BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand, CountTokensCommand, InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from '@aws-sdk/client-bedrock-runtime';

import {
  DESCRIPTION, PNG_BASE64, PROMPT, SCHEMA, STATUSES, SYSTEM, WEATHER,
  atOnce, checksOf, expect, expectEqual, expectIn, expectWeather, raises, unique,
} from './common.mjs';

const check = checksOf('node bedrock');
const MODEL = 'anthropic.claude-3-haiku-20240307-v1:0';
const USER = [{ role: 'user', content: [{ text: PROMPT }] }];
const TOOLS = { tools: [{ toolSpec: { name: 'get_weather', description: DESCRIPTION, inputSchema: { json: SCHEMA } } }] };
const BOTH = ['whole', 'streamed'];
const CODES = {
  400: ['ValidationException'],
  401: ['UnrecognizedClientException', 'AccessDeniedException', 'InvalidSignatureException', 'MissingAuthenticationTokenException'],
  403: ['AccessDeniedException', 'UnrecognizedClientException'],
  404: ['ResourceNotFoundException'],
  429: ['ThrottlingException'],
  500: ['InternalServerException'],
  503: ['ServiceUnavailableException', 'ModelNotReadyException'],
  529: ['ServiceUnavailableException', 'ModelNotReadyException', 'ModelErrorException'],
};
const BODIES = {
  anthropic: [MODEL, { anthropic_version: 'bedrock-2023-05-31', max_tokens: 32, messages: [{ role: 'user', content: PROMPT }] }],
  titan: ['amazon.titan-text-lite-v1', { inputText: PROMPT, textGenerationConfig: { maxTokenCount: 32 } }],
  llama: ['meta.llama3-1-70b-instruct-v1:0', { prompt: PROMPT, max_gen_len: 32 }],
};
const utf8 = new TextDecoder();

/** Calls `run` with a client that is closed afterwards. */
async function withClient({ base }, more, run) {
  const credentials = { accessKeyId: more.key ?? 'AKIDEXAMPLE', secretAccessKey: 'simulated' };
  const client = new BedrockRuntimeClient({ region: 'us-east-1', endpoint: base, credentials, maxAttempts: 1, ...more.options });
  try {
    return await run(client);
  } finally {
    client.destroy();
  }
}

const send = (target, command, more = {}, options) => withClient(target, more, (client) => client.send(command, options));

/** One answer in the shape of Converse; streams are joined by block. */
async function told(target, how, ask = {}, more = {}) {
  const input = { modelId: MODEL, messages: USER, ...ask };
  if (how === 'whole') return send(target, new ConverseCommand(input), more);
  return withClient(target, more, async (client) => {
    const { stream } = await client.send(new ConverseStreamCommand(input));
    const blocks = [];
    const answer = { kinds: [] };
    for await (const event of stream) {
      const [kind, body] = Object.entries(event)[0];
      answer.kinds.push(kind);
      const block = body?.contentBlockIndex === undefined ? undefined : (blocks[body.contentBlockIndex] ??= {});
      if (kind === 'contentBlockStart') block.toolUse = { ...body.start.toolUse, input: '' };
      else if (kind === 'contentBlockDelta' && body.delta.text !== undefined) block.text = (block.text ?? '') + body.delta.text;
      else if (kind === 'contentBlockDelta' && body.delta.toolUse) block.toolUse.input += body.delta.toolUse.input;
      else if (kind === 'contentBlockDelta' && body.delta.reasoningContent) {
        const said = (block.reasoningContent ??= { reasoningText: { text: '', signature: '' } }).reasoningText;
        said.text += body.delta.reasoningContent.text ?? '';
        said.signature += body.delta.reasoningContent.signature ?? '';
      } else if (kind === 'messageStop') answer.stopReason = body.stopReason;
      else if (kind === 'metadata') Object.assign(answer, { usage: body.usage, metrics: body.metrics });
    }
    for (const block of blocks) if (block?.toolUse) block.toolUse.input = JSON.parse(block.toolUse.input);
    answer.output = { message: { role: 'assistant', content: blocks.filter(Boolean) } };
    return answer;
  });
}

const blocksOf = (answer, kind) => answer.output.message.content.filter((block) => block[kind] !== undefined).map((block) => block[kind]);

function expectText(answer) {
  expect(blocksOf(answer, 'text').join(''), 'no text');
  expectIn('stopReason', answer.stopReason, ['end_turn', 'max_tokens']);
  expect(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0, `usage ${JSON.stringify(answer.usage)}`);
  expect(answer.metrics.latencyMs !== undefined, 'no latencyMs');
}

check('converse, {}', BOTH, async (target, how) => expectText(await told(target, how, { system: [{ text: SYSTEM }], inferenceConfig: { maxTokens: 64 } })));

check('converse, events in order', async (target) => {
  const { kinds } = await told(target, 'streamed');
  expectEqual('the first event', kinds[0], 'messageStart');
  expectEqual('the last events', kinds.slice(-3), ['contentBlockStop', 'messageStop', 'metadata']);
});

check('converse, streams at the same time on one connection', async (target) => {
  await withClient(target, {}, async (client) => {
    const one = async () => {
      const { stream } = await client.send(new ConverseStreamCommand({ modelId: MODEL, messages: USER }));
      let last;
      for await (const event of stream) last = event;
      return last;
    };
    for (const last of await Promise.all(Array.from({ length: 8 }, one))) expect(last.metadata, 'a stream without metadata at its end');
  });
});

check('image in', async (target) => {
  const image = { image: { format: 'png', source: { bytes: Buffer.from(PNG_BASE64, 'base64') } } };
  expectText(await told(target, 'whole', { messages: [{ role: 'user', content: [image, { text: 'What is this?' }] }] }));
});

check('tools, {}', BOTH, async (target, how) => {
  const answer = await told(target, how, { modelId: 'mock-tool-call', toolConfig: TOOLS });
  expectEqual('stopReason', answer.stopReason, 'tool_use');
  const [use] = blocksOf(answer, 'toolUse');
  expectWeather(use?.input);
  if (how === 'whole') {
    const result = { toolResult: { toolUseId: use.toolUseId, content: [{ text: '20 degrees' }] } };
    const messages = [{ role: 'user', content: [{ text: WEATHER }] }, answer.output.message, { role: 'user', content: [result] }];
    expectText(await told(target, how, { modelId: 'mock-tool-call', messages, toolConfig: TOOLS }));
  }
});

check('tools, two at once, {}', BOTH, async (target, how) => {
  const uses = blocksOf(await told(target, how, { modelId: 'mock-tool-calls', toolConfig: TOOLS }), 'toolUse');
  expectEqual('number of calls', new Set(uses.map((use) => use.toolUseId)).size, 2);
});

check('thinking, {}', BOTH, async (target, how) => {
  const [said] = blocksOf(await told(target, how, { modelId: 'mock-thinking' }), 'reasoningContent');
  expect(said?.reasoningText?.text && said.reasoningText.signature, `odd reasoning ${JSON.stringify(said)}`);
});

check('count of input tokens', async (target) => {
  const command = new CountTokensCommand({ modelId: MODEL, input: { converse: { messages: USER } } });
  expect((await send(target, command)).inputTokens > 0, 'no tokens');
});

check('invoke model, {}', Object.keys(BODIES), async (target, kind) => {
  const [modelId, body] = BODIES[kind];
  const answer = await send(target, new InvokeModelCommand({ modelId, body: JSON.stringify(body), contentType: 'application/json' }));
  const parsed = JSON.parse(utf8.decode(answer.body));
  expect(parsed.content?.[0]?.text || parsed.results?.[0]?.outputText || parsed.generation, `no text in ${JSON.stringify(parsed).slice(0, 200)}`);
});

check('invoke model, streamed, {}', Object.keys(BODIES), async (target, kind) => {
  const [modelId, body] = BODIES[kind];
  await withClient(target, {}, async (client) => {
    const { body: stream } = await client.send(new InvokeModelWithResponseStreamCommand({ modelId, body: JSON.stringify(body) }));
    const parts = [];
    for await (const event of stream) parts.push(JSON.parse(utf8.decode(event.chunk.bytes)));
    expect(parts.map((part) => part.delta?.text ?? part.outputText ?? part.generation ?? '').join(''), 'no text');
    expect(parts.at(-1)['amazon-bedrock-invocationMetrics']?.outputTokenCount > 0, 'no metrics in the last chunk');
  });
});

check('error {}', STATUSES, async (target, status) => {
  for (const how of BOTH) {
    const error = await raises(Error, () => told(target, how, { modelId: `mock-error-${status}` }));
    expectEqual('status', error.$metadata?.httpStatusCode, status);
    expectIn('the exception', error.name, CODES[status]);
    expect(error.message, 'no message');
  }
});

check('bad key and missing model', async (target) => {
  const refused = await raises(Error, () => told(target, 'whole', {}, { key: 'bad-key' }));
  expectIn('status', refused.$metadata?.httpStatusCode, [401, 403]);
  const missing = await raises(Error, () => told(target, 'whole', { modelId: 'mock-missing' }));
  expectEqual('status', missing.$metadata?.httpStatusCode, 404);
});

check('flaky server, with and without retries', async (target) => {
  const ask = (text) => ({ modelId: 'mock-flaky', messages: [{ role: 'user', content: [{ text: unique(text) }] }] });
  await raises(Error, () => told(target, 'whole', ask('once')));
  const answer = await told(target, 'whole', ask('again'), { options: { maxAttempts: 3 } });
  expectText(answer);
  expectEqual('attempts', answer.$metadata.attempts, 2);
});

const INSIDE = { 400: 'ValidationException', 429: 'ThrottlingException', 500: 'InternalServerException', 503: 'ServiceUnavailableException' };

check('exception in the stream, {}', Object.keys(INSIDE), async (target, status) => {
  await raises(INSIDE[status], () => told(target, 'streamed', { modelId: `mock-midstream-${status}` }));
});

/** The kinds of a stream's events up to its end, and the exception that ended it, if one did. */
async function cutOff(target, modelId) {
  return withClient(target, {}, async (client) => {
    const { stream } = await client.send(new ConverseStreamCommand({ modelId, messages: USER }));
    const kinds = [];
    try {
      for await (const event of stream) kinds.push(Object.keys(event)[0]);
    } catch (error) {
      return { kinds, error };
    }
    return { kinds };
  });
}

check('stream that ends early', async (target) => {
  const { kinds } = await cutOff(target, 'mock-truncate');
  expect(kinds.includes('contentBlockDelta') && !kinds.includes('messageStop'), `events ${kinds}`);
});

check('connection reset in mid-stream', async (target) => {
  const { kinds, error } = await cutOff(target, 'mock-reset');
  expect(kinds.includes('contentBlockDelta') && error, `events ${kinds}, nothing thrown`);
});

check('cancel in mid-stream, then again', async (target) => {
  await withClient(target, {}, async (client) => {
    await atOnce(async () => {
      const stop = new AbortController();
      const { stream } = await client.send(new ConverseStreamCommand({ modelId: 'mock-long', messages: USER }), { abortSignal: stop.signal });
      let seen = 0;
      for await (const _ of stream) if (++seen === 4) break;
      stop.abort();
    });
    expectText(await client.send(new ConverseCommand({ modelId: MODEL, messages: USER })));
  });
});
