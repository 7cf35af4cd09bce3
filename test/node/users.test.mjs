// Organization users and the groups report.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import Telnyx from 'telnyx';
import { collect, connect, ids, newOrganization, operator, operatorURL, organizationKey, refused, unique } from './support.mjs';

const nowhere = '00000000-0000-4000-8000-000000000000';

/** parseCSV reads RFC 4180, so that the test does not trust its own quoting. */
function parseCSV(text) {
  const rows = [[]];
  let cell = '', quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') { cell += '"'; i++; }
      else quoted = false;
    } else if (c === '"') {
      assert.equal(cell, '', 'a quote inside a bare cell');
      quoted = true;
    } else if (c === ',') {
      rows.at(-1).push(cell);
      cell = '';
    } else if (c === '\n') {
      rows.at(-1).push(cell);
      rows.push([]);
      cell = '';
    } else cell += c;
  }
  assert.equal(quoted, false, 'an open quote');
  rows.at(-1).push(cell);
  return rows;
}

describe('organization users', () => {
  let organization, users, groups, members;
  before(async () => {
    organization = await newOrganization();
    users = organization.client.organizations.users;
    const path = `/accounts/${organization.id}`;
    groups = {};
    for (const [word, name] of Object.entries({
      plain: 'Engineering', comma: 'Sales, "Inner" Circle', formula: '=HYPERLINK("http://evil.example","x")', wide: '営業 🐈', sum: '+1',
    })) {
      groups[word] = await operator('POST', `${path}/groups`, { name });
    }
    groups.admin = await operator('POST', `${path}/groups`, { name: 'Admins', permissions: ['organization'] });
    const add = (email, ...names) =>
      operator('POST', `${path}/users`, { email, group_ids: names.map((name) => groups[name].id) });
    members = {
      both: await add(`${unique('both')}@example.com`, 'plain', 'comma'),
      formula: await add(`${unique('Formula')}@example.com`, 'formula'),
      wide: await add(`${unique('wide')}@example.com`, 'wide', 'sum'),
      none: await add(`${unique('none')}@example.org`),
      blocked: await add(`${unique('blocked')}@example.org`),
      admin: await add(`${unique('admin')}@example.com`, 'admin'),
    };
    await operator('POST', `${path}/users/${members.blocked.id}/actions/block`);
  });
  const everybody = () => [organization.id, ...ids(Object.values(members))];

  test('list', async () => {
    const { data, meta } = await users.list();
    assert.deepEqual(ids(data), everybody());
    assert.deepEqual(meta, { total_pages: 1, total_results: 7, page_number: 1, page_size: 250 });
    assert.deepEqual(data.map((user) => user.record_type), ['organization_owner', ...Array(6).fill('organization_sub_user')]);
    const [owner] = data;
    assert.equal(owner.email, organization.email);
    assert.equal(owner.user_status, 'enabled');
    assert.equal(owner.last_sign_in_at, null);
    assert.equal(owner.organization_user_bypasses_sso, false);
    assert.equal('groups' in owner, false);
    assert.equal('api_key' in owner, false);
  });

  test('auto-paging', async () => {
    for (const size of [1, 2, 3, 6, 7, 8]) {
      assert.deepEqual(ids(await collect(users.list({ 'page[size]': size }))), everybody(), `by ${size}`);
    }
    assert.deepEqual(ids(await collect(users.list({ 'page[number]': 2, 'page[size]': 2 }))), everybody().slice(2));
    assert.deepEqual(ids(await collect(users.list({ page_number: 2, page_size: 2 }))), everybody().slice(2));
    assert.deepEqual(await collect(users.list({ 'page[number]': 9 })), []);
  });

  test('filters', async () => {
    const found = async (query) => ids(await collect(users.list({ 'page[size]': 1, ...query })));
    assert.deepEqual(await found({ filter: { user_status: 'blocked' } }), [members.blocked.id]);
    assert.deepEqual(await found({ filter: { user_status: 'disabled' } }), []);
    assert.equal((await found({ filter: { user_status: 'enabled' } })).length, 6);
    assert.deepEqual(await found({ filter: { email: 'FORMULA' } }), [members.formula.id]);
    assert.deepEqual(await found({ filter: { email: '.org', user_status: 'enabled' } }), [members.none.id]);
    assert.deepEqual(await found({ filter: { email: 'nobody-at-all' } }), []);
    await refused(users.list({ filter: { user_status: 'all' } }), Telnyx.BadRequestError, {
      status: 400, code: '10032', title: 'Invalid enumerated value', detail: /enabled, disabled, blocked/, source: { parameter: 'filter[user_status]' },
    });
    await refused(users.list({ filter: { email: { contains: 'x' } } }), Telnyx.BadRequestError, {
      status: 400, code: '10015', title: 'Bad Request', detail: /no such parameter/, source: { parameter: 'filter[email][contains]' },
    });
    await refused(users.list({ 'page[size]': 251 }), Telnyx.BadRequestError, {
      status: 400, code: '10033', title: 'Value outside of range', detail: /250/, source: { parameter: 'page[size]' },
    });
  });

  test('groups where they are asked for', async () => {
    const data = await collect(users.list({ include_groups: true, 'page[size]': 2 }));
    const names = Object.fromEntries(data.map((user) => [user.id, user.groups.map((group) => group.name).sort()]));
    assert.deepEqual(names[organization.id], []);
    assert.deepEqual(names[members.both.id], ['Engineering', 'Sales, "Inner" Circle']);
    assert.deepEqual(names[members.none.id], []);
    const { data: wide } = await users.retrieve(members.wide.id, { include_groups: true });
    assert.deepEqual(wide.groups.map((group) => group.id).sort(), [groups.wide.id, groups.sum.id].sort());
    assert.equal('groups' in (await users.retrieve(members.wide.id)).data, false);
    assert.equal('groups' in (await users.retrieve(members.wide.id, { include_groups: false })).data, false);
  });

  test('the report as an object', async () => {
    for (const params of [undefined, { Accept: 'application/json' }]) {
      const report = await users.getGroupsReport(params);
      assert.equal(report.meta, undefined);
      assert.deepEqual(ids(report.data), everybody());
      const by = Object.fromEntries(report.data.map((user) => [user.id, user]));
      assert.deepEqual(by[members.formula.id].groups, [{ id: groups.formula.id, name: '=HYPERLINK("http://evil.example","x")' }]);
      assert.deepEqual(by[members.wide.id].groups.map((group) => group.name).sort(), ['+1', '営業 🐈'].sort());
      assert.deepEqual(by[organization.id].groups, []);
      assert.equal(by[organization.id].last_sign_in_at, null);
      assert.equal(by[members.blocked.id].user_status, 'blocked');
      assert.deepEqual(by[members.both.id], (await users.retrieve(members.both.id, { include_groups: true })).data);
    }
  });

  test('the report as CSV', async () => {
    const text = await users.getGroupsReport({ Accept: 'text/csv' });
    assert.equal(typeof text, 'string');
    assert.ok(text.startsWith('id,email,user_status,created_at,last_sign_in_at,groups\n'));
    assert.ok(!text.endsWith('\n'));
    assert.ok(!text.includes('\r'));
    const [, ...rows] = parseCSV(text);
    assert.ok(rows.every((row) => row.length === 6));
    assert.deepEqual(rows.map((row) => row[0]), everybody());
    const by = Object.fromEntries(rows.map((row) => [row[0], row]));
    const { data: owner } = await users.retrieve(organization.id);
    assert.deepEqual(by[organization.id], [organization.id, organization.email, 'enabled', owner.created_at, '', '']);
    assert.equal(by[members.both.id][5], 'Engineering, Sales, "Inner" Circle');
    // A spreadsheet must take neither for a formula.
    assert.equal(by[members.formula.id][5], `'=HYPERLINK("http://evil.example","x")`);
    assert.match(by[members.wide.id][5], /^('\+1, 営業 🐈|営業 🐈, \+1)$/);
    assert.equal(by[members.blocked.id][2], 'blocked');
    const { response } = await users.getGroupsReport({ Accept: 'text/csv' }).withResponse();
    assert.match(response.headers.get('content-type'), /^text\/csv/);
  });

  test('the report after a sign-in', async () => {
    const mine = await newOrganization();
    const email = `${unique('person')}@example.com`;
    const person = await operator('POST', `/accounts/${mine.id}/users`, { email, password: 'plenty of characters' });
    const session = await fetch(new URL('/portal/session', operatorURL), {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ email, password: 'plenty of characters' }),
    });
    assert.equal(session.status, 200);
    const { data } = await mine.client.organizations.users.retrieve(person.id);
    assert.match(data.last_sign_in_at, /^\d{4}-.*\.\d{3}Z$/);
    const [, , row] = parseCSV(await mine.client.organizations.users.getGroupsReport({ Accept: 'text/csv' }));
    assert.equal(row[4], data.last_sign_in_at);
  });

  test('remove', async () => {
    const mine = await newOrganization();
    const group = await operator('POST', `/accounts/${mine.id}/groups`, { name: 'All', permissions: ['organization'] });
    const add = () => operator('POST', `/accounts/${mine.id}/users`, { email: `${unique('gone')}@example.com`, group_ids: [group.id] });
    const [one, two] = [await add(), await add()];
    const remove = (client, id) => client.organizations.users.actions.remove(id);
    const own = connect(one.api_key);
    assert.equal((await own.organizations.users.list()).data.length, 3);
    await refused(remove(own, one.id), Telnyx.PermissionDeniedError, {
      status: 403, code: '10010', title: 'Not authorized', detail: /yourself/, source: { pointer: '/' },
    });
    const { data } = await remove(own, two.id);
    assert.equal(data.id, two.id);
    assert.equal(data.email, two.email);
    assert.equal((await remove(mine.client, one.id)).data.id, one.id);
    await refused(own.organizations.users.list(), Telnyx.AuthenticationError, {
      status: 401, code: '10009', title: 'Authentication failed', detail: /credentials/, source: { parameter: 'Authorization' },
    });
    assert.deepEqual(ids((await mine.client.organizations.users.list()).data), [mine.id]);
    assert.equal((await mine.client.organizations.users.getGroupsReport()).data.length, 1);
    const missed = { status: 404, code: '10005', title: 'Resource not found', detail: /could not be found/, source: { parameter: 'id' } };
    await refused(remove(mine.client, one.id), Telnyx.NotFoundError, missed);
    await refused(mine.client.organizations.users.retrieve(one.id), Telnyx.NotFoundError, missed);
    await refused(remove(mine.client, mine.id), Telnyx.UnprocessableEntityError, {
      status: 422, code: '10015', title: 'Bad Request', detail: /owner/, source: { pointer: '/' },
    });
  });

  const everyOperation = {
    list: (client) => client.organizations.users.list(),
    report: (client) => client.organizations.users.getGroupsReport(),
    'CSV report': (client) => client.organizations.users.getGroupsReport({ Accept: 'text/csv' }),
    retrieve: (client, id) => client.organizations.users.retrieve(id),
    remove: (client, id) => client.organizations.users.actions.remove(id),
  };
  for (const [name, call] of Object.entries(everyOperation)) {
    test(`${name}: who may not is told so`, async () => {
      const id = members.none.id;
      await refused(call(connect('KEY_wrong'), id), Telnyx.AuthenticationError, {
        status: 401, code: '10009', title: 'Authentication failed', detail: /credentials/, source: { parameter: 'Authorization' },
      });
      await refused(call(connect(members.none.api_key), id), Telnyx.PermissionDeniedError, {
        status: 403, code: '10010', title: 'Not authorized', detail: /not authorized/, source: { parameter: 'Authorization' },
      });
      await refused(call(connect(members.blocked.api_key), id), Telnyx.PermissionDeniedError, {
        status: 403, code: '20013', title: 'Account blocked', detail: /./, source: { parameter: 'Authorization' },
      });
      if (call.length < 2) return;
      const missed = { status: 404, code: '10005', title: 'Resource not found', detail: /could not be found/, source: { parameter: 'id' } };
      await refused(call(organization.client, nowhere), Telnyx.NotFoundError, missed);
      await refused(call(connect(organizationKey), id), Telnyx.NotFoundError, missed);
      for (const odd of ['u 1/2', '%', 'ø', '\u{1F408}', 'a?b=c#d', 'users_groups_report/x']) {
        await refused(call(organization.client, odd), Telnyx.NotFoundError, missed);
      }
    });
  }

  test('a sub-user with the permission may', async () => {
    const { data } = await connect(members.admin.api_key).organizations.users.list();
    assert.deepEqual(ids(data), everybody());
  });
});
