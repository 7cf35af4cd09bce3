// Every operation on managed accounts, as a user of the SDK calls it.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import Telnyx from 'telnyx';
import { connect, newManager, newOrganization, operator, organizationKey, refused, unique } from './support.mjs';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const moment = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const nowhere = '00000000-0000-4000-8000-000000000000';
const unauthorized = {
  status: 401, code: '10009', title: 'Authentication failed', detail: /could not understand the provided credentials/i,
  source: { parameter: 'Authorization' },
};
const forbidden = {
  status: 403, code: '10010', title: 'Not authorized', detail: /not authorized to access the requested resource/,
  source: { parameter: 'Authorization' },
};
const missed = {
  status: 404, code: '10005', title: 'Resource not found', detail: /requested resource or URL could not be found/, source: { parameter: 'id' },
};

/** noNulls fails on a null anywhere: no field of an account is nullable. */
function noNulls(value, path = 'data') {
  assert.notEqual(value, null, path);
  if (typeof value === 'object') for (const [key, part] of Object.entries(value)) noNulls(part, `${path}.${key}`);
}

function assertFull(account, manager) {
  noNulls(account);
  assert.equal(account.record_type, 'managed_account');
  assert.match(account.id, uuid);
  assert.match(account.api_key, /^KEY[0-9A-F]{32}_[\w-]{22}$/);
  assert.match(account.api_token, /^[\w-]{22}$/);
  assert.equal(account.api_user, manager.email);
  assert.equal(account.manager_account_id, manager.id);
  assert.match(account.created_at, moment);
  assert.match(account.updated_at, moment);
}

describe('managed accounts', () => {
  let manager, accounts, other;
  before(async () => {
    [manager, other] = await Promise.all([newManager(100), newManager()]);
    accounts = manager.client.managedAccounts;
  });
  const create = async (more) => (await accounts.create({ business_name: unique('Company'), ...more })).data;

  test('create with a name alone', async () => {
    const { data } = await accounts.create({ business_name: "Larry's Cat Food Inc" });
    assertFull(data, manager);
    assert.equal(data.organization_name, "Larry's Cat Food Inc");
    assert.match(data.email, /@example\.com$/);
    assert.equal(data.rollup_billing, false);
    assert.equal(data.managed_account_allow_custom_pricing, false);
    assert.deepEqual(data.balance, {
      record_type: 'balance', balance: '0.00', credit_limit: '0.00', available_credit: '0.00', currency: 'USD',
    });
    const again = await accounts.create({ business_name: "Larry's Cat Food Inc" });
    assert.notEqual(again.data.id, data.id);
    assert.notEqual(again.data.email, data.email);
  });

  test('create with everything', async () => {
    const email = `${unique('New_Managed')}@customer.org`;
    const { data } = await accounts.create({
      business_name: 'Åse & Søn — 猫の餌 🐈 "Ltd" <b>', email, password: '3jVjLq!tMuWKyWx4NN*CvhnB',
      managed_account_allow_custom_pricing: true, rollup_billing: true,
    });
    assertFull(data, manager);
    assert.equal(data.organization_name, 'Åse & Søn — 猫の餌 🐈 "Ltd" <b>');
    assert.equal(data.email, email);
    assert.equal(data.rollup_billing, true);
    assert.equal(data.managed_account_allow_custom_pricing, true);
    assert.equal(data.balance, undefined, 'a rolled-up account has no balance of its own');
    assert.deepEqual((await accounts.retrieve(data.id)).data, data);
  });

  test('create refuses what is wrong', async () => {
    const email = `${unique('taken')}@example.com`;
    await create({ email });
    const bad = (body, code, title, pointer) =>
      refused(accounts.create(body), Telnyx.UnprocessableEntityError, { status: 422, code, title, detail: /./, source: { pointer } });
    const business_name = 'Company';
    await bad({}, '10004', 'Missing required parameter', '/business_name');
    await bad({ business_name: ' ' }, '10004', 'Missing required parameter', '/business_name');
    await bad({ business_name: 'x'.repeat(256) }, '10033', 'Value outside of range', '/business_name');
    await bad({ business_name: 7 }, '10026', 'Invalid parameter type', '/business_name');
    await bad({ business_name, email: 'nobody' }, '10019', 'Invalid email address', '/email');
    await bad({ business_name, email }, '10012', 'Duplicate resource', '/email');
    await bad({ business_name, email: email.toUpperCase() }, '10012', 'Duplicate resource', '/email');
    await bad({ business_name, password: 'short' }, '10033', 'Value outside of range', '/password');
    await bad({ business_name, rollup_billing: 'yes' }, '10026', 'Invalid parameter type', '/rollup_billing');
    const error = await accounts.create({ business_name: 7, email: 8, rollup_billing: 9 }).catch((error) => error);
    assert.deepEqual(error.error.errors.map((one) => one.source.pointer), ['/business_name', '/email', '/rollup_billing']);
  });

  test('null in a body is an absent field', async () => {
    const account = await create({ email: null, password: null, rollup_billing: null });
    assertFull(account, manager);
    assert.equal(account.rollup_billing, false);
  });

  test('a body that is not JSON is a BadRequestError', async () => {
    const options = { body: '{"business_name":', headers: { 'content-type': 'application/json' } };
    await refused(manager.client.post('/managed_accounts', options), Telnyx.BadRequestError, {
      status: 400, code: '10023', title: 'Invalid JSON', detail: /./, source: { pointer: '/' },
    });
  });

  test('retrieve', async () => {
    const account = await create();
    assert.deepEqual((await accounts.retrieve(account.id)).data, account);
    const { data, response } = await accounts.retrieve(account.id).withResponse();
    assert.deepEqual(data.data, account);
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /^application\/json/);
    assert.match(response.headers.get('x-request-id'), uuid);
  });

  test('update', async () => {
    const account = await create();
    const updated = (await accounts.update(account.id, { managed_account_allow_custom_pricing: true })).data;
    assertFull(updated, manager);
    assert.equal(updated.managed_account_allow_custom_pricing, true);
    assert.ok(updated.updated_at >= account.updated_at);
    assert.equal(updated.api_key, account.api_key);
    // No argument: the SDK sends content-type JSON and no body at all.
    assert.deepEqual((await accounts.update(account.id)).data, updated);
    assert.deepEqual((await accounts.update(account.id, {})).data, updated);
    // What cannot be updated is passed over, as the contract does not forbid it.
    assert.deepEqual((await accounts.update(account.id, { rollup_billing: true, email: 'x@example.com' })).data, updated);
    assert.deepEqual((await accounts.retrieve(account.id)).data, updated);
    const back = (await accounts.update(account.id, { managed_account_allow_custom_pricing: false })).data;
    assert.equal(back.managed_account_allow_custom_pricing, false);
    await refused(accounts.update(account.id, { managed_account_allow_custom_pricing: 'yes' }), Telnyx.UnprocessableEntityError, {
      status: 422, code: '10026', title: 'Invalid parameter type', detail: /true or false/,
      source: { pointer: '/managed_account_allow_custom_pricing' },
    });
  });

  test('channel limits', async () => {
    const mine = await newManager(10);
    const [one, two] = [
      (await mine.client.managedAccounts.create({ business_name: 'One' })).data,
      (await mine.client.managedAccounts.create({ business_name: 'Two' })).data,
    ];
    const pool = async () => (await mine.client.managedAccounts.getAllocatableGlobalOutboundChannels()).data;
    assert.deepEqual(await pool(), {
      record_type: 'allocatable_global_outbound_channels', allocatable_global_outbound_channels: 10,
      total_global_channels_allocated: 4, channels_in_use: 0, managed_account_allow_custom_pricing: false,
    });
    const limit = (id, channel_limit) => mine.client.managedAccounts.updateGlobalChannelLimit(id, { channel_limit });
    assert.deepEqual((await limit(one.id, 8)).data, {
      record_type: 'managed_account_global_outbound_settings', id: one.id, email: one.email, manager_account_id: mine.id, channel_limit: 8,
    });
    assert.equal((await pool()).total_global_channels_allocated, 10);
    const bad = (promise, code, title) =>
      refused(promise, Telnyx.UnprocessableEntityError, { status: 422, code, title, detail: /./, source: { pointer: '/channel_limit' } });
    await bad(limit(two.id, 3), '10033', 'Value outside of range');
    await bad(limit(two.id, -1), '10033', 'Value outside of range');
    await bad(limit(two.id, 1e15), '10033', 'Value outside of range');
    await bad(limit(two.id, 1.5), '10026', 'Invalid parameter type');
    await bad(limit(two.id, '3'), '10026', 'Invalid parameter type');
    await bad(mine.client.managedAccounts.updateGlobalChannelLimit(two.id), '10004', 'Missing required parameter');
    assert.equal((await limit(one.id, 0)).data.channel_limit, 0);
    assert.equal((await limit(two.id, 10)).data.channel_limit, 10);
    await bad(limit(one.id, 1), '10033', 'Value outside of range');
    // An account that finds the pool empty is made all the same.
    const three = (await mine.client.managedAccounts.create({ business_name: 'Three' })).data;
    assert.equal((await pool()).total_global_channels_allocated, 10);
    await operator('POST', `/accounts/${two.id}/actions/cancel`);
    assert.equal((await limit(three.id, 10)).data.channel_limit, 10);
  });

  test('a new key works, is refused while disabled, and works again', async () => {
    const account = await create();
    const own = connect(account.api_key);
    assert.equal((await own.balance.retrieve()).data.balance, '0.00');
    assert.deepEqual((await own.organizations.users.list()).data.map((user) => user.id), [account.id]);
    await refused(own.managedAccounts.list(), Telnyx.PermissionDeniedError, forbidden);

    const disabled = (await accounts.actions.disable(account.id)).data;
    assertFull(disabled, manager);
    const inactive = { status: 403, code: '20012', title: 'Account inactive', detail: /inactive/, source: { parameter: 'Authorization' } };
    await refused(own.balance.retrieve(), Telnyx.PermissionDeniedError, inactive);
    await refused(own.organizations.users.list(), Telnyx.PermissionDeniedError, inactive);
    assert.deepEqual((await accounts.actions.disable(account.id)).data, disabled, 'disabling twice changes nothing');

    const enabled = (await accounts.actions.enable(account.id)).data;
    assertFull(enabled, manager);
    assert.equal(enabled.api_key, account.api_key);
    assert.equal((await own.balance.retrieve()).data.balance, '0.00');
    assert.deepEqual((await accounts.actions.enable(account.id, { reenable_all_connections: true })).data, enabled);
    assert.deepEqual((await accounts.actions.enable(account.id, {})).data, enabled);
    await accounts.actions.disable(account.id);
    assert.equal((await accounts.actions.enable(account.id, { reenable_all_connections: true })).data.id, account.id);
    assert.equal((await own.balance.retrieve()).data.balance, '0.00');
    await refused(accounts.actions.enable(account.id, { reenable_all_connections: 1 }), Telnyx.UnprocessableEntityError, {
      status: 422, code: '10026', title: 'Invalid parameter type', detail: /true or false/, source: { pointer: '/reenable_all_connections' },
    });
    // With no body whatever.
    assert.equal((await manager.client.post(`/managed_accounts/${account.id}/actions/enable`)).data.id, account.id);
  });

  test('enable does not lift what the operator did', async () => {
    const account = await create();
    const own = connect(account.api_key);
    await operator('POST', `/accounts/${account.id}/actions/block`);
    await accounts.actions.enable(account.id);
    await refused(own.balance.retrieve(), Telnyx.PermissionDeniedError, {
      status: 403, code: '20013', title: 'Account blocked', detail: /blocked/, source: { parameter: 'Authorization' },
    });
    await operator('POST', `/accounts/${account.id}/actions/cancel`);
    await refused(own.balance.retrieve(), Telnyx.AuthenticationError, unauthorized);
    const conflict = await accounts.actions.disable(account.id, { maxRetries: 2 }).catch((error) => error);
    assert.ok(conflict instanceof Telnyx.ConflictError);
    assert.equal(conflict.headers.get('x-should-retry'), 'false');
    assert.equal(conflict.error.errors[0].code, '10021');
  });

  test('the V1 token works as V1 credentials', async () => {
    const account = await create();
    const v1 = new Telnyx({
      apiKey: 'unused', baseURL: manager.client.baseURL, maxRetries: 0,
      defaultHeaders: { authorization: null, 'x-api-user': account.email, 'x-api-token': account.api_token },
    });
    assert.equal((await v1.balance.retrieve()).data.record_type, 'balance');
  });

  test('balance', async () => {
    const rich = await newOrganization('12345.60');
    assert.deepEqual((await rich.client.balance.retrieve()).data, {
      record_type: 'balance', pending: '0.00', balance: '12345.60', credit_limit: '0.00', available_credit: '12345.60', currency: 'USD',
    });
    const mine = await newManager();
    const { data } = await mine.client.managedAccounts.create({ business_name: 'Child', rollup_billing: true });
    await operator('PATCH', `/accounts/${mine.id}`, { balance: '-3.50', credit_limit: '10.00' });
    const shared = (await connect(data.api_key).balance.retrieve()).data;
    assert.equal(shared.balance, '-3.50');
    assert.equal(shared.available_credit, '6.50');
  });

  test('audit events', async () => {
    const mine = await newManager();
    const { data } = await mine.client.managedAccounts.create({ business_name: 'Audited' });
    await mine.client.managedAccounts.actions.disable(data.id);
    await mine.client.managedAccounts.actions.enable(data.id);
    await mine.client.managedAccounts.update(data.id, { managed_account_allow_custom_pricing: true });
    const own = connect(data.api_key);
    const newest = await own.auditEvents.list({ 'page[size]': 10 });
    assert.deepEqual(newest.data.map((event) => event.change_type), [
      'managed_account.updated', 'managed_account.enabled', 'managed_account.disabled', 'managed_account.created',
    ]);
    assert.equal(newest.meta.total_results, 4);
    const [update] = newest.data;
    assert.equal(update.record_type, 'audit_event');
    assert.equal(update.change_made_by, 'account_manager');
    assert.equal(update.organization_id, data.id);
    assert.equal(update.resource_id, data.id);
    assert.equal(update.alternate_resource_id, null);
    assert.deepEqual(update.changes, [{ field: 'managed_account_allow_custom_pricing', from: false, to: true }]);
    assert.match(update.created_at, moment);
    assert.ok(!JSON.stringify(newest.data).includes(data.api_key));

    const walk = [];
    for await (const event of own.auditEvents.list({ 'page[size]': 1, sort: 'asc' })) walk.push(event.id);
    assert.deepEqual(walk, newest.data.map((event) => event.id).reverse());
    const count = async (filter) => (await own.auditEvents.list({ filter })).meta.total_results;
    assert.equal(await count({ created_after: '2020-01-01T00:00:00Z' }), 4);
    assert.equal(await count({ created_before: '2020-01-01T00:00:00Z' }), 0);
    assert.equal(await count({ created_after: '2020-01-01T00:00:00+02:00', created_before: '2100-01-01 00:00:00 UTC' }), 4);
    await refused(own.auditEvents.list({ sort: 'up' }), Telnyx.BadRequestError, {
      status: 400, code: '10032', title: 'Invalid enumerated value', detail: /asc, desc/, source: { parameter: 'sort' },
    });
    await refused(own.auditEvents.list({ filter: { created_after: 'yesterday' } }), Telnyx.BadRequestError, {
      status: 400, code: '10026', title: 'Invalid parameter type', detail: /moment/, source: { parameter: 'filter[created_after]' },
    });
  });

  // What must hold of every operation alike.
  const everyOperation = {
    list: (client) => client.managedAccounts.list(),
    create: (client) => client.managedAccounts.create({ business_name: 'X' }),
    allocatable: (client) => client.managedAccounts.getAllocatableGlobalOutboundChannels(),
    retrieve: (client, id) => client.managedAccounts.retrieve(id),
    update: (client, id) => client.managedAccounts.update(id, { managed_account_allow_custom_pricing: true }),
    'empty update': (client, id) => client.managedAccounts.update(id),
    limit: (client, id) => client.managedAccounts.updateGlobalChannelLimit(id, { channel_limit: 1 }),
    disable: (client, id) => client.managedAccounts.actions.disable(id),
    enable: (client, id) => client.managedAccounts.actions.enable(id),
  };
  for (const [name, call] of Object.entries(everyOperation)) {
    test(`${name}: who may not is told so`, async () => {
      const account = await create();
      await refused(call(connect('KEY_wrong'), account.id), Telnyx.AuthenticationError, unauthorized);
      await refused(call(connect(organizationKey), account.id), Telnyx.PermissionDeniedError, forbidden);
      if (call.length < 2) return;
      await refused(call(manager.client, nowhere), Telnyx.NotFoundError, missed);
      await refused(call(other.client, account.id), Telnyx.NotFoundError, missed);
      for (const id of ['u 1/2', '%', 'ø', "'--", '\u{1F408}', 'a?b=c#d', 'x'.repeat(2000), account.id.toUpperCase() + '0']) {
        await refused(call(manager.client, id), Telnyx.NotFoundError, missed);
      }
    });
  }

  test('a revoked manager is refused and has its accounts back when approved again', async () => {
    const mine = await newManager();
    const { data } = await mine.client.managedAccounts.create({ business_name: 'Orphan' });
    await operator('POST', `/accounts/${mine.id}/actions/revoke_manager`);
    await refused(mine.client.managedAccounts.retrieve(data.id), Telnyx.PermissionDeniedError, forbidden);
    await refused(mine.client.managedAccounts.list(), Telnyx.PermissionDeniedError, forbidden);
    await operator('POST', `/accounts/${mine.id}/actions/approve_manager`, {});
    assert.equal((await mine.client.managedAccounts.retrieve(data.id)).data.id, data.id);
  });
});
