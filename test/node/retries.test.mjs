// The SDK's own retries, behind a network that loses answers.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Telnyx from 'telnyx';
import { collect, connect, ids, newManager, newOrganization, operator, startProxy, unique } from './support.mjs';

const first = (fault) => (n) => (n === 0 ? fault : undefined);

describe('a create whose answer is lost', { concurrency: 32 }, () => {
  const cases = [
    ['the connection is cut after the answer', first('cut'), [0, 1]],
    ['a proxy answers 500', first(500), [0, 1]],
    ['a proxy answers 502', first(502), [0, 1]],
    ['a proxy answers 503', first(503), [0, 1]],
    ['a proxy answers 504, then the connection is cut', (n) => [504, 'cut'][n], [0, 1, 2]],
    ['a proxy answers 409', first(409), [0, 1]],
    ['the request is lost', first('lost'), [0, 1]],
    ['the request is lost twice', (n) => ['lost', 'lost'][n], [0, 1, 2]],
    ['the answer, then the request is lost', (n) => ['cut', 'lost'][n], [0, 1, 2]],
    ['the request, then the answer is lost', (n) => ['lost', 'cut'][n], [0, 1, 2]],
  ];
  for (const [name, fault, tries] of cases) {
    for (const [kind, more] of [['a name alone', {}], ['everything', { password: 'plenty of characters', rollup_billing: true }]]) {
      test(`${name}, ${kind}`, async (t) => {
        const manager = await newManager();
        const proxy = await startProxy(t, fault);
        const client = connect(manager.key, { baseURL: proxy.baseURL, maxRetries: 2 });
        const body = { business_name: unique('Retried'), ...more };
        if (more.password) body.email = `${unique('retried')}@example.com`;
        const made = await client.managedAccounts.create(body);
        assert.deepEqual(proxy.seen.tries, tries);
        assert.ok(proxy.seen.codes.every((code) => code === 200));
        const list = await collect(manager.client.managedAccounts.list());
        assert.deepEqual(ids(list), [made.data.id], 'exactly one account exists');
        assert.deepEqual((await manager.client.managedAccounts.retrieve(made.data.id)).data, made.data);
        assert.equal((await connect(made.data.api_key).balance.retrieve()).data.record_type, 'balance');
        const events = await connect(made.data.api_key).auditEvents.list();
        assert.deepEqual(events.data.map((event) => event.change_type), ['managed_account.created']);
      });
    }
  }
});

test('an answer that breaks off half-way', async (t) => {
  // The SDK does not send this again by itself: its promise fails. The caller
  // who does it with an idempotency key gets the account that was made.
  const manager = await newManager();
  const proxy = await startProxy(t, first('half'));
  const client = connect(manager.key, { baseURL: proxy.baseURL, maxRetries: 2 });
  const create = () => client.managedAccounts.create({ business_name: 'Half' }, { headers: { 'idempotency-key': 'half' } });
  await assert.rejects(create(), { name: 'TypeError', message: 'terminated' });
  const { data } = await create();
  assert.deepEqual(proxy.seen.tries, [0, 0]);
  assert.deepEqual(ids(await collect(manager.client.managedAccounts.list())), [data.id]);
});

describe('several creates', { concurrency: 32 }, () => {
  test('equal ones at once, all answers lost: each gets its own', async (t) => {
    const manager = await newManager();
    const proxy = await startProxy(t, (n) => (n < 8 ? 'cut' : undefined));
    const client = connect(manager.key, { baseURL: proxy.baseURL, maxRetries: 2 });
    const made = await Promise.all(Array.from({ length: 8 }, () => client.managedAccounts.create({ business_name: 'Twin' })));
    const list = ids(await collect(manager.client.managedAccounts.list()));
    assert.equal(list.length, 8);
    assert.deepEqual(made.map(({ data }) => data.id).sort(), list.sort());
  });

  test('equal ones at once, the answers lost twice: each gets its own', async (t) => {
    const manager = await newManager();
    const proxy = await startProxy(t, (n, attempt) => (attempt < 2 ? 'cut' : undefined));
    const client = connect(manager.key, { baseURL: proxy.baseURL, maxRetries: 2 });
    const made = await Promise.all([0, 150, 300, 450].map(async (pause) => {
      await new Promise((resolve) => setTimeout(resolve, pause));
      return (await client.managedAccounts.create({ business_name: 'Twin' })).data.id;
    }));
    assert.deepEqual(made.sort(), ids(await collect(manager.client.managedAccounts.list())).sort());
  });

  test('an equal one between the retries of another: each keeps its own', async () => {
    const manager = await newManager();
    const attempt = async (n) =>
      (await manager.client.managedAccounts.create({ business_name: 'Twin' }, { headers: { 'x-stainless-retry-count': `${n}` } })).data.id;
    const one = await attempt(0);
    assert.equal(await attempt(1), one);
    const two = await attempt(0);
    assert.equal(await attempt(2), one);
    assert.equal(await attempt(1), two);
    assert.equal((await manager.client.managedAccounts.list()).meta.total_results, 2);
  });

  test('a retry while the first attempt is still under way', async () => {
    // Ruby's SDK asks again at once when a proxy gives up; a password takes the
    // server longer, and longer still when others wait before it.
    const manager = await newManager();
    const create = (business_name, attempt) => manager.client.managedAccounts.create(
      { business_name, password: 'plenty of characters' }, { headers: { 'x-stainless-retry-count': `${attempt}` } });
    const others = Array.from({ length: 12 }, (_, i) => create(`Other ${i}`, 0));
    const attempts = [];
    for (const n of [0, 1, 2]) {
      await new Promise((resolve) => setTimeout(resolve, 80));
      attempts.push(create('Overtaken', n));
    }
    const made = new Set((await Promise.all(attempts)).map(({ data }) => data.id));
    assert.equal(made.size, 1);
    await Promise.all(others);
    assert.equal((await manager.client.managedAccounts.list()).meta.total_results, 13);
  });

  test('an equal one later, its answer lost: it gets its own', async (t) => {
    const manager = await newManager();
    const proxy = await startProxy(t, (n) => (n === 2 ? 'cut' : undefined));
    const client = connect(manager.key, { baseURL: proxy.baseURL, maxRetries: 2 });
    const made = [];
    for (let i = 0; i < 4; i++) made.push((await client.managedAccounts.create({ business_name: 'Twin' })).data.id);
    assert.deepEqual(proxy.seen.tries, [0, 0, 0, 1, 0]);
    assert.deepEqual(made, ids(await collect(manager.client.managedAccounts.list({ sort: 'created_at' }))));
  });

  test('another body is not taken for a retry', async (t) => {
    const manager = await newManager();
    const headers = { 'x-stainless-retry-count': '1' };
    const create = (business_name) => manager.client.managedAccounts.create({ business_name }, { headers });
    const [one, two] = [await create('One'), await create('Two')];
    assert.notEqual(one.data.id, two.data.id);
  });

  test('two managers are not taken for each other', async () => {
    const [one, two] = await Promise.all([newManager(), newManager()]);
    await one.client.managedAccounts.create({ business_name: 'Same' });
    const { data } = await two.client.managedAccounts.create({ business_name: 'Same' }, { headers: { 'x-stainless-retry-count': '1' } });
    assert.equal(data.manager_account_id, two.id);
  });

  test('a refusal is repeated as a refusal', async (t) => {
    const manager = await newManager();
    const email = `${unique('taken')}@example.com`;
    await manager.client.managedAccounts.create({ business_name: 'First', email });
    const proxy = await startProxy(t, first('cut'));
    const client = connect(manager.key, { baseURL: proxy.baseURL, maxRetries: 2 });
    await assert.rejects(client.managedAccounts.create({ business_name: 'Second', email }), Telnyx.UnprocessableEntityError);
    assert.deepEqual(proxy.seen.codes, [422, 422]);
  });

  test('a retry after the account was disabled still gets the first answer', async () => {
    const manager = await newManager();
    const body = { business_name: unique('Slow') };
    const { data } = await manager.client.managedAccounts.create(body);
    await manager.client.managedAccounts.actions.disable(data.id);
    const again = await manager.client.managedAccounts.create(body, { headers: { 'x-stainless-retry-count': '2' } });
    assert.deepEqual(again.data, data);
  });

  test('an idempotency key', async () => {
    const manager = await newManager();
    const create = (business_name, key) => manager.client.managedAccounts.create({ business_name }, { headers: { 'idempotency-key': key } });
    const { data } = await create('Keyed', 'key-1');
    assert.deepEqual((await create('Keyed', 'key-1')).data, data);
    assert.notEqual((await create('Keyed', 'key-2')).data.id, data.id);
    const error = await create('Other', 'key-1').catch((error) => error);
    assert.ok(error instanceof Telnyx.UnprocessableEntityError);
    assert.equal(error.error.errors[0].code, '10027');
    const bad = await create('Keyed', 'no spaces').catch((error) => error);
    assert.ok(bad instanceof Telnyx.BadRequestError);
    assert.equal(bad.error.errors[0].code, '10015');
    assert.equal((await manager.client.managedAccounts.list()).meta.total_results, 2);
  });
});

describe('other calls whose answer is lost', { concurrency: 32 }, () => {
  test('remove', async (t) => {
    const organization = await newOrganization();
    const user = await operator('POST', `/accounts/${organization.id}/users`, { email: `${unique('gone')}@example.com` });
    const proxy = await startProxy(t, first('cut'));
    const client = connect(organization.key, { baseURL: proxy.baseURL, maxRetries: 2 });
    const { data } = await client.organizations.users.actions.remove(user.id);
    assert.equal(data.id, user.id);
    assert.equal(data.email, user.email);
    assert.deepEqual(proxy.seen.codes, [200, 200]);
  });

  test('disable and enable', async (t) => {
    const manager = await newManager();
    const { data } = await manager.client.managedAccounts.create({ business_name: 'Switched' });
    const proxy = await startProxy(t, (n) => [503, undefined, 'cut', undefined][n]);
    const client = connect(manager.key, { baseURL: proxy.baseURL, maxRetries: 2 });
    assert.equal((await client.managedAccounts.actions.disable(data.id)).data.id, data.id);
    assert.equal((await client.managedAccounts.actions.enable(data.id)).data.id, data.id);
    assert.deepEqual(proxy.seen.tries, [0, 1, 0, 1]);
    const events = await connect(data.api_key).auditEvents.list({ sort: 'asc' });
    assert.deepEqual(events.data.map((event) => event.change_type), [
      'managed_account.created', 'managed_account.disabled', 'managed_account.enabled',
    ]);
  });
});
