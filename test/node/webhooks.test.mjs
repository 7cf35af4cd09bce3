// Events as the SDK's own verifier sees them.
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import Telnyx from 'telnyx';
import { connect, startServer } from './support.mjs';

test('an event is verified and unwrapped, and one that was changed is not', async (t) => {
  const got = [];
  const receiver = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    got.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
    response.end();
  });
  await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  t.after(() => receiver.close());
  const server = await startServer(t, '--webhook-url', `http://127.0.0.1:${receiver.address().port}/events`);
  const answer = await fetch(`${server.operator_url}/webhook`, { headers: { authorization: `Bearer ${server.operator_token}` } });
  const { public_key: publicKey } = (await answer.json()).data;

  // What the seed has done is told first; this comes in its turn.
  const manager = connect(server.manager_key, { baseURL: server.base_url });
  const made = (await manager.managedAccounts.create({ business_name: 'Heard of' })).data;
  const mine = () => got.find(({ body }) => JSON.parse(body).data.payload.account_id === made.id);
  for (let i = 0; i < 1000 && !mine(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(mine(), `not among ${got.length} events`);
  const { headers, body } = mine();

  const client = new Telnyx({ apiKey: 'none', publicKey });
  const event = await client.webhooks.unwrap(body, { headers });
  assert.equal(event.data.event_type, 'managed_account.created');
  assert.equal(event.data.payload.request_id.length, 36);
  await assert.rejects(client.webhooks.unwrap(body.replace('Heard of', 'Heard in'), { headers }));
  const stranger = new Telnyx({ apiKey: 'none', publicKey: Buffer.alloc(32, 1).toString('base64') });
  await assert.rejects(stranger.webhooks.unwrap(body, { headers }));
});
