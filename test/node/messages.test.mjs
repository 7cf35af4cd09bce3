// Messages, and the vendor's example of how to handle errors.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Telnyx from 'telnyx';
import { connect, managerKey, newManager, newOrganization, refused, startProxy, startServer, unique } from './support.mjs';

const hello = { to: '+18445550001', from: '+18005550101', text: 'Hello, World!' };

describe('messages', { concurrency: 8 }, () => {
  test('a message is sent, and delivered a little later', async () => {
    const { client, id } = await newOrganization();
    const { data } = await client.messages.send(hello);
    assert.equal(data.record_type, 'message');
    assert.equal(data.direction, 'outbound');
    assert.equal(data.organization_id, id);
    assert.equal(data.type, 'SMS');
    assert.equal(data.parts, 1);
    assert.equal(data.from.phone_number, hello.from);
    assert.deepEqual(data.to, [{ phone_number: hello.to, status: 'queued', carrier: '', line_type: '' }]);
    assert.equal(data.sent_at, null);
    assert.deepEqual(data.errors, []);
    const seen = new Set();
    let message;
    for (const until = Date.now() + 20_000; Date.now() < until; await new Promise((resolve) => setTimeout(resolve, 50))) {
      ({ data: message } = await client.messages.retrieve(data.id));
      seen.add(message.to[0].status);
      if (message.completed_at) break;
    }
    assert.equal(message.to[0].status, 'delivered');
    assert.ok(message.received_at < message.sent_at && message.sent_at < message.completed_at);
    assert.deepEqual([...seen].filter((status) => !['queued', 'sent', 'delivered'].includes(status)), []);
  });

  test('one that is not delivered says why', async () => {
    const { client } = await newOrganization();
    const { data } = await client.messages.send({ ...hello, to: '+15005550003' });
    assert.equal(data.to[0].status, 'delivery_unconfirmed');
    const { data: message } = await client.messages.retrieve(data.id);
    assert.equal(message.errors[0].code, '40006');
  });

  test('what cannot be sent is refused', async () => {
    const { client } = await newOrganization();
    await refused(client.messages.send({ ...hello, to: '8445550001' }), Telnyx.UnprocessableEntityError, {
      status: 422, code: '10016', title: 'Invalid phone number', detail: /E\.164/, source: { pointer: '/to' },
    });
    await refused(client.messages.send({ ...hello, to: '+1844' }), Telnyx.UnprocessableEntityError, {
      status: 422, code: '10002', title: 'Invalid phone number', detail: /7 to 15 digits/, source: { pointer: '/to' },
    });
    await refused(client.messages.send({ ...hello, to: '+15005550001' }), Telnyx.UnprocessableEntityError, {
      status: 422, code: '40004', title: 'Rejected by destination', detail: /sandbox refuses/, source: { pointer: '/' },
    });
    await refused(client.messages.retrieve('00000000-0000-7000-8000-0000000000ff'), Telnyx.NotFoundError, {
      status: 404, code: '10005', title: 'Resource not found', detail: /could not be found/, source: { parameter: 'id' },
    });
  });

  test('a disabled account sends nothing, and cannot look either', async () => {
    const { client } = await newManager();
    const { data: account } = await client.managedAccounts.create({ business_name: unique('Child'), email: `${unique('child')}@example.com` });
    const child = connect(account.api_key);
    const { data: sent } = await child.messages.send(hello);
    await refused(client.messages.retrieve(sent.id), Telnyx.NotFoundError, {
      status: 404, code: '10005', title: 'Resource not found', detail: /could not be found/, source: { parameter: 'id' },
    });
    await client.managedAccounts.actions.disable(account.id);
    for (const call of [() => child.messages.send(hello), () => child.messages.retrieve(sent.id)]) {
      await refused(call(), Telnyx.PermissionDeniedError, {
        status: 403, code: '20012', title: 'Account inactive', detail: /inactive/, source: { parameter: 'Authorization' },
      });
    }
    await client.managedAccounts.actions.enable(account.id, {});
    await child.messages.send(hello);
  });

  test('an account without money sends nothing', async () => {
    const { client } = await newOrganization('-1.00');
    await refused(client.messages.send(hello), Telnyx.PermissionDeniedError, {
      status: 403, code: '20100', title: 'Insufficient funds', detail: /funds/, source: { parameter: 'Authorization' },
    });
  });

  for (const fault of ['cut', 502]) {
    test(`a lost answer (${fault}) does not send twice`, async (t) => {
      const { key } = await newOrganization();
      const proxy = await startProxy(t, (n) => (n === 0 ? fault : undefined));
      const client = connect(key, { baseURL: proxy.baseURL, maxRetries: 2 });
      const { data } = await client.messages.send(hello);
      assert.deepEqual(proxy.seen.tries, [0, 1]);
      assert.deepEqual(proxy.seen.codes, [200, 200]);
      assert.equal(proxy.seen.bodies[0].data.id, data.id);
      const { data: other } = await client.messages.send(hello);
      assert.notEqual(other.id, data.id);
    });
  }
});

// The vendor's guide: rescue connection errors, then rate limits, then other statuses.
async function send(client) {
  try {
    await client.messages.send(hello);
    return 'sent';
  } catch (error) {
    if (error instanceof Telnyx.APIConnectionError) return 'The server could not be reached';
    if (error instanceof Telnyx.RateLimitError) return `A 429 status code was received; we should back off ${error.headers.get('retry-after')} s`;
    if (error instanceof Telnyx.APIError) return `Another non-200-range status code was received: ${error.status}`;
    throw error;
  }
}

describe('the example of the guide', () => {
  test('runs with the key of the README', async () => assert.equal(await send(connect(managerKey)), 'sent'));

  test('rescues a server that is not there', async () =>
    assert.equal(await send(connect(managerKey, { baseURL: 'http://127.0.0.1:1/v2' })), 'The server could not be reached'));

  test('rescues a wrong key', async () =>
    assert.equal(await send(connect('KEY_wrong')), 'Another non-200-range status code was received: 401'));
});

describe('the example of the guide, limited', () => {
  test('rescues the rate limit, which says how long to wait', async (t) => {
    const info = await startServer(t, '--rate-limit', '0.5', '--rate-burst', '1');
    const options = { baseURL: info.base_url };
    assert.equal(await send(connect(info.manager_key, options)), 'sent');
    assert.match(await send(connect(info.manager_key, options)), /^A 429 .* back off [12] s$/);
    // With the SDK's own retries, it does.
    assert.equal(await send(connect(info.manager_key, { ...options, maxRetries: 2 })), 'sent');
  });
});
