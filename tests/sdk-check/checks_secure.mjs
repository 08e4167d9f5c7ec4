// Over HTTPS, to a server that knows one pair of AWS credentials: what plain HTTP cannot show.

import Anthropic from '@anthropic-ai/sdk';
import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } from '@aws-sdk/client-bedrock-runtime';
import OpenAI from 'openai';

import { PROMPT, checksOf, collect, expect, expectEqual, raises } from './common.mjs';

const check = checksOf('node https');
const MODEL = 'anthropic.claude-3-haiku-20240307-v1:0';
const ASK = { modelId: MODEL, messages: [{ role: 'user', content: [{ text: PROMPT }] }] };

check('openai', async ({ secure, key }) => {
  const c = new OpenAI({ baseURL: `${secure}/v1`, apiKey: key, maxRetries: 0 });
  const stream = await c.chat.completions.create({ model: 'mock', messages: [{ role: 'user', content: PROMPT }], stream: true });
  expect((await collect(stream)).length > 3, 'hardly any chunks');
});

check('anthropic', async ({ secure, key }) => {
  const c = new Anthropic({ baseURL: secure, apiKey: key, maxRetries: 0 });
  const message = await c.messages.create({ model: 'mock', max_tokens: 64, messages: [{ role: 'user', content: PROMPT }] });
  expect(message.content[0].text, 'no text');
});

async function send(target, command, more = {}) {
  const [accessKeyId, secretAccessKey] = target.pair;
  const credentials = { accessKeyId, secretAccessKey, ...more };
  const client = new BedrockRuntimeClient({ region: 'us-east-1', endpoint: target.secure, credentials, maxAttempts: 1 });
  try {
    const answer = await client.send(command);
    return answer.stream ? await collect(answer.stream) : answer;
  } finally {
    client.destroy();
  }
}

// What stands in the path is signed too: a colon, a slash, an ARN.
const PATHS = ['mock', MODEL, 'arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.mock'];

check('bedrock, signature of the path {}', PATHS, async (target, modelId) => {
  expect((await send(target, new ConverseCommand({ ...ASK, modelId }))).output.message.content[0].text, 'no text');
  const events = await send(target, new ConverseStreamCommand({ ...ASK, modelId }));
  expect(events.at(-1).metadata, 'no metadata at the end');
});

check('bedrock, wrong secret and unknown key', async (target) => {
  const wrong = await raises(Error, () => send(target, new ConverseCommand(ASK), { secretAccessKey: 'wrong' }));
  expectEqual('the exception', [wrong.name, wrong.$metadata?.httpStatusCode], ['InvalidSignatureException', 403]);
  const unknown = await raises(Error, () => send(target, new ConverseCommand(ASK), { accessKeyId: 'AKIDUNKNOWN' }));
  expectEqual('the exception', unknown.name, 'UnrecognizedClientException');
});

check('bedrock, bearer key, good and bad', async ({ secure }) => {
  const ask = async (token) => {
    const client = new BedrockRuntimeClient({ region: 'us-east-1', endpoint: secure, token: { token }, authSchemePreference: ['httpBearerAuth'], maxAttempts: 1 });
    try {
      return await client.send(new ConverseCommand(ASK));
    } finally {
      client.destroy();
    }
  };
  expect((await ask('simulated')).output.message.content[0].text, 'no text');
  const bad = await raises(Error, () => ask('bad-key'));
  expect([401, 403].includes(bad.$metadata?.httpStatusCode), `status ${bad.$metadata?.httpStatusCode}`);
});
