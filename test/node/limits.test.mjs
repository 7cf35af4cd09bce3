// Rate limits, and servers of their own.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Telnyx from 'telnyx';
import { connect, refused, startServer } from './support.mjs';

describe('rate limit', { concurrency: 32 }, () => {
  test('a RateLimitError says how long to wait', async (t) => {
    const info = await startServer(t, '--rate-limit', '0.1', '--rate-burst', '3');
    const client = connect(info.manager_key, { baseURL: info.base_url });
    for (let left = 2; left >= 0; left--) {
      const { response } = await client.balance.retrieve().withResponse();
      assert.equal(response.headers.get('x-ratelimit-limit'), '3');
      assert.equal(response.headers.get('x-ratelimit-remaining'), String(left));
      assert.match(response.headers.get('x-ratelimit-reset'), /^(10|20|30)$/);
    }
    const error = await refused(client.managedAccounts.list(), Telnyx.RateLimitError, {
      status: 429, code: '10011', title: 'Too many requests', detail: /exceeded the maximum number of allowed requests/,
      source: { parameter: 'Authorization' },
    });
    assert.equal(error.headers.get('x-ratelimit-limit'), '3');
    assert.equal(error.headers.get('x-ratelimit-remaining'), '0');
    const [reset, wait, waitMs] = ['x-ratelimit-reset', 'retry-after', 'retry-after-ms'].map((name) => Number(error.headers.get(name)));
    assert.ok(reset > 20 && reset <= 30, `reset ${reset}`);
    assert.ok(wait > 2 && wait <= 10, `wait ${wait}`);
    assert.ok(Math.ceil(waitMs / 1000) - wait <= 1 && waitMs <= 10_001, `wait ${waitMs} ms`);
    assert.equal(error.headers.get('x-should-retry'), 'true');
    // Another key has a limit of its own, and the operator's API has none.
    await connect(info.organization_key, { baseURL: info.base_url }).balance.retrieve();
    const operator = async (path) => {
      const response = await fetch(info.operator_url + path, { headers: { authorization: `Bearer ${info.operator_token}` } });
      assert.equal(response.status, 200);
      return response.json();
    };
    for (let i = 0; i < 6; i++) await operator('/accounts');
    // A refused create has done nothing.
    await assert.rejects(client.managedAccounts.create({ business_name: 'Too much' }), Telnyx.RateLimitError);
    assert.equal((await operator(`/accounts?manager_account_id=${info.manager_id}`)).meta.total_results, 3);
  });

  test('with retries the SDK waits as told and gets through', async (t) => {
    const info = await startServer(t, '--rate-limit', '1.25', '--rate-burst', '1');
    const waits = [];
    let told, since;
    const client = connect(info.manager_key, {
      baseURL: info.base_url, maxRetries: 2,
      fetch: async (...request) => {
        if (told) waits.push({ told, waited: performance.now() - since });
        const response = await fetch(...request);
        told = response.status === 429 && Number(response.headers.get('retry-after-ms'));
        since = performance.now();
        return response;
      },
    });
    for (let i = 0; i < 3; i++) await client.managedAccounts.create({ business_name: `Patient ${i}` });
    // The pager is as patient.
    let n = 0;
    for await (const account of client.managedAccounts.list({ 'page[size]': 3 })) n += Boolean(account.id);
    assert.equal(n, 6);
    assert.ok(waits.length >= 2, `${waits.length} waits`);
    for (const { told, waited } of waits) assert.ok(told <= 801 && waited >= told - 2, `told ${told} ms, waited ${waited} ms`);
    // By itself the SDK would wait 500 ms at most.
    assert.ok(waits.some(({ waited }) => waited > 550));
  });

  test('guessing keys is limited by address', async (t) => {
    const info = await startServer(t);
    const client = connect('KEY_guess', { baseURL: info.base_url });
    const errors = await Promise.all(Array.from({ length: 130 }, () => client.balance.retrieve().catch((error) => error)));
    const count = (type) => errors.filter((error) => error instanceof type).length;
    assert.ok(count(Telnyx.AuthenticationError) >= 100);
    assert.ok(count(Telnyx.RateLimitError) >= 1);
    assert.equal(count(Telnyx.AuthenticationError) + count(Telnyx.RateLimitError), 130);
    // Who has the right key is not kept out.
    await connect(info.manager_key, { baseURL: info.base_url }).balance.retrieve();
  });
});
