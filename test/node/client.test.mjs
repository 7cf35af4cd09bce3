// How the client is set up, and many calls at once.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import Telnyx from 'telnyx';
import { baseURL, collect, connect, ids, managerID, managerKey, newManager, unique } from './support.mjs';

const run = promisify(execFile);

describe('client', () => {
  test('the two environment variables are enough', async () => {
    const script = `
      import Telnyx from 'telnyx';
      const client = new Telnyx();
      const page = await client.managedAccounts.list({ sort: 'created_at' });
      console.log(JSON.stringify([client.baseURL, page.data[0].manager_account_id]));`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], {
      cwd: new URL('.', import.meta.url).pathname,
      env: { TELNYX_BASE_URL: baseURL, TELNYX_API_KEY: managerKey },
    });
    assert.deepEqual(JSON.parse(stdout), [baseURL, managerID]);
  });

  test('CommonJS, the other way to load the SDK', async () => {
    const script = `
      const Telnyx = require('telnyx');
      new Telnyx().balance.retrieve().then(({ data }) => console.log(data.record_type));`;
    const { stdout } = await run(process.execPath, ['--input-type=commonjs', '-e', script], {
      cwd: new URL('.', import.meta.url).pathname,
      env: { TELNYX_BASE_URL: baseURL, TELNYX_API_KEY: managerKey },
    });
    assert.equal(stdout.trim(), 'balance');
  });

  test('a trailing slash in the base URL', async () => {
    const { data } = await connect(managerKey, { baseURL: `${baseURL}/` }).balance.retrieve();
    assert.equal(data.record_type, 'balance');
  });

  test('custom headers and query parameters of a call', async () => {
    const client = connect(managerKey, { defaultHeaders: { 'x-mine': 'yes' } });
    const { response } = await client.managedAccounts.list({}, { query: { 'page[size]': 1 }, headers: { 'x-request-id': 'mine' } }).withResponse();
    assert.notEqual(response.headers.get('x-request-id'), 'mine');
  });

  test('an aborted call leaves the client and the server well', async () => {
    const client = connect(managerKey);
    const stop = new AbortController();
    const call = client.managedAccounts.list({}, { signal: stop.signal });
    stop.abort();
    await assert.rejects(call, Telnyx.APIUserAbortError);
    await client.balance.retrieve();
  });

  test('200 creates at once', async () => {
    const manager = await newManager();
    const word = unique('many');
    const made = await Promise.all(Array.from({ length: 200 }, (_, i) =>
      manager.client.managedAccounts.create({ business_name: `Company ${i}`, email: `${word}-${i}@example.com` })));
    const accounts = made.map(({ data }) => data);
    assert.equal(new Set(ids(accounts)).size, 200);
    assert.equal(new Set(accounts.map((account) => account.api_key)).size, 200);
    accounts.forEach((account, i) => assert.equal(account.organization_name, `Company ${i}`));
    const listed = await collect(manager.client.managedAccounts.list({ 'page[size]': 7 }));
    assert.deepEqual(ids(listed).sort(), ids(accounts).sort());
    const { data: pool } = await manager.client.managedAccounts.getAllocatableGlobalOutboundChannels();
    assert.equal(pool.total_global_channels_allocated, 400);
  });

  test('one address wanted 20 times at once is given once', async () => {
    const manager = await newManager();
    const email = `${unique('wanted')}@example.com`;
    const results = await Promise.allSettled(Array.from({ length: 20 }, (_, i) =>
      manager.client.managedAccounts.create({ business_name: `Rival ${i}`, email })));
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
    for (const { reason } of results) if (reason) assert.equal(reason.error.errors[0].code, '10012');
    assert.equal((await manager.client.managedAccounts.list()).meta.total_results, 1);
  });

  test('the pool is never handed out twice', async () => {
    const manager = await newManager(50);
    const accounts = await Promise.all(Array.from({ length: 10 }, (_, i) => manager.client.managedAccounts.create({ business_name: `Part ${i}` })));
    const results = await Promise.allSettled(accounts.map(({ data }) =>
      manager.client.managedAccounts.updateGlobalChannelLimit(data.id, { channel_limit: 9 })));
    const { data } = await manager.client.managedAccounts.getAllocatableGlobalOutboundChannels();
    const granted = results.filter(({ status }) => status === 'fulfilled').length;
    assert.equal(data.total_global_channels_allocated, granted * 9 + (10 - granted) * 2);
    assert.ok(data.total_global_channels_allocated <= 50);
    assert.ok(granted >= 4);
  });

  test('disable and enable at once leave one of the two', async () => {
    const manager = await newManager();
    const { data } = await manager.client.managedAccounts.create({ business_name: 'Torn' });
    const { actions } = manager.client.managedAccounts;
    await Promise.all(Array.from({ length: 40 }, (_, i) => (i % 2 ? actions.enable(data.id) : actions.disable(data.id))));
    await actions.enable(data.id);
    const events = (await collect(connect(data.api_key).auditEvents.list({ sort: 'asc' }))).map((event) => event.change_type).slice(1);
    events.forEach((event, i) => assert.equal(event, i % 2 ? 'managed_account.enabled' : 'managed_account.disabled'));
  });
});
