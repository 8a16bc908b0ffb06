// The official TypeScript SDK against the built server: resources, a whole turn over the stream, pages, typed errors.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { start } from './server.js';

let server;
let client;

before(async () => {
  server = await start();
  client = server.client;
});

after(() => server.stop());

async function createAgent(name = 'counter') {
  return client.beta.agents.create({
    name,
    model: 'scripted',
    tools: [{ type: 'agent_toolset_20260401' }],
  });
}

async function createSession() {
  const agent = await createAgent();
  const environment = await client.beta.environments.create({
    name: `counting-${agent.id}`,
    config: { type: 'cloud', networking: { type: 'unrestricted' } },
  });
  return client.beta.sessions.create({ agent: agent.id, environment_id: environment.id, title: 'words' });
}

test('an agent is created, read back and updated', async () => {
  const agent = await createAgent('first');
  assert.equal(agent.type, 'agent');
  assert.equal(agent.version, 1);
  assert.deepEqual(await client.beta.agents.retrieve(agent.id), agent);
  const updated = await client.beta.agents.update(agent.id, { version: 1, name: 'second' });
  assert.equal(updated.version, 2);
  assert.equal(updated.name, 'second');
});

test('a session belongs to its agent and environment', async () => {
  const session = await createSession();
  assert.equal(session.type, 'session');
  assert.equal(session.status, 'idle');
  assert.equal(session.title, 'words');
  assert.deepEqual((await client.beta.sessions.retrieve(session.id)).agent, session.agent);
});

test('a whole turn runs over the stream, with a real command', async () => {
  const session = await createSession();
  const stream = await client.beta.sessions.events.stream(session.id);
  await client.beta.sessions.events.send(session.id, {
    events: [{ type: 'user.message', content: [{ type: 'text', text: 'Please count the words.' }] }],
  });
  const events = [];
  for await (const event of stream) {
    // A message is on the stream twice: when it was taken in, and when the agent gets it.
    if (event.processed_at) events.push(event);
    if (event.type === 'session.status_idle') break;
  }
  const types = events.map((event) => event.type);
  for (const type of ['session.status_running', 'agent.tool_use', 'agent.tool_result', 'agent.message']) {
    assert.ok(types.includes(type), `${type} is in ${types}`);
  }
  const result = events.find((event) => event.type === 'agent.tool_result');
  assert.equal(result.content[0].text.trim(), '3');
  const last = events.findLast((event) => event.type === 'agent.message');
  assert.match(last.content[0].text, /this many: 3/);
  assert.deepEqual(events.at(-1).stop_reason, { type: 'end_turn' });

  const listed = [];
  for await (const event of client.beta.sessions.events.list(session.id)) listed.push(event);
  const streamed = events.map((event) => event.id);
  assert.deepEqual(listed.map((event) => event.id).slice(-streamed.length), streamed);
});

test('pages follow each other until all objects were seen once', async () => {
  const made = [];
  for (let index = 0; index < 5; index += 1) made.push((await createAgent(`page-${index}`)).id);
  const seen = [];
  for await (const agent of client.beta.agents.list({ limit: 2 })) seen.push(agent.id);
  assert.equal(new Set(seen).size, seen.length);
  for (const id of made) assert.ok(seen.includes(id), `${id} was listed`);
});

test('an unknown session is a typed error with a request id', async () => {
  await assert.rejects(client.beta.sessions.retrieve('sesn_does_not_exist'), (error) => {
    assert.ok(error instanceof Anthropic.NotFoundError);
    assert.equal(error.status, 404);
    assert.equal(error.error.error.type, 'not_found_error');
    assert.match(error.requestID, /^req_/);
    return true;
  });
});

test('a wrong key and a wrong field are typed errors too', async () => {
  const stranger = new Anthropic({ baseURL: server.baseURL, apiKey: 'sk-jm-wrong', maxRetries: 0 });
  await assert.rejects(stranger.beta.agents.list(), Anthropic.AuthenticationError);
  await assert.rejects(client.beta.agents.create({ name: 'x', model: 'scripted', tols: [] }), (error) => {
    assert.ok(error instanceof Anthropic.BadRequestError);
    assert.match(error.message, /tols/);
    return true;
  });
});
