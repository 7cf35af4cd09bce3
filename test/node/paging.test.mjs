// Lists, filters, orders, and the SDK's own walk from page to page.
import assert from 'node:assert/strict';
import http from 'node:http';
import { before, describe, test } from 'node:test';
import Telnyx from 'telnyx';
import { collect, connect, createMany, fetchOver, ids, managerID, managerKey, newManager, operator, refused, unique } from './support.mjs';

describe('lists', () => {
  let manager, made, newest;
  before(async () => {
    manager = await newManager();
    made = await createMany(manager.client, 11);
    newest = ids(made).reverse();
  });
  const list = (query, options) => manager.client.managedAccounts.list(query, options);
  const walk = async (query) => ids(await collect(list(query)));

  for (const size of [1, 2, 3, 4, 5, 10, 11, 12, 250]) {
    test(`auto-paging by ${size}`, async () => {
      assert.deepEqual(await walk({ 'page[size]': size }), newest);
    });
  }

  test('auto-paging with the default size', async () => {
    assert.deepEqual(await walk(), newest);
    const { data, meta } = await list();
    assert.deepEqual(meta, { total_pages: 1, total_results: 11, page_number: 1, page_size: 20 });
    for (const account of data) {
      assert.equal(account.api_key, undefined);
      assert.equal(account.api_token, undefined);
      assert.equal(account.balance, undefined);
    }
  });

  test('an empty list, one account, exactly one page', async () => {
    const mine = await newManager();
    const accounts = mine.client.managedAccounts;
    const page = await accounts.list();
    assert.deepEqual(page.data, []);
    assert.deepEqual(page.meta, { total_pages: 0, total_results: 0, page_number: 1, page_size: 20 });
    assert.equal(page.hasNextPage(), false);
    assert.deepEqual(await collect(accounts.list()), []);
    assert.deepEqual(await collect(accounts.list({ 'page[number]': 3 })), []);
    const [one] = await createMany(mine.client, 1);
    assert.deepEqual(ids(await collect(accounts.list())), [one.id]);
    assert.deepEqual(ids(await collect(accounts.list({ 'page[size]': 1 }))), [one.id]);
    const two = await createMany(mine.client, 2);
    assert.deepEqual(ids(await collect(accounts.list({ 'page[size]': 3 }))), ids([...two.reverse(), one]));
  });

  test('started at page 2', async () => {
    assert.deepEqual(await walk({ 'page[number]': 2, 'page[size]': 3 }), newest.slice(3));
    assert.deepEqual(await walk({ 'page[number]': 4, 'page[size]': 3 }), newest.slice(9));
    assert.deepEqual(await walk({ 'page[number]': 5, 'page[size]': 3 }), []);
    assert.deepEqual(await walk({ 'page[number]': Number.MAX_SAFE_INTEGER, 'page[size]': 250 }), []);
  });

  test('snake_case names, as Ruby has them', async () => {
    assert.deepEqual(await walk({ page_size: 2 }), newest);
    assert.deepEqual(await walk({ page_number: 2, page_size: 2 }), newest.slice(2));
    assert.deepEqual(await walk({ page: { number: 2, size: 2 } }), newest.slice(2));
    assert.deepEqual(await walk({ number: 2, page_size: 2 }), newest.slice(2));
  });

  test('page by page', async () => {
    const numbers = [];
    for await (const page of (await list({ 'page[size]': 4 })).iterPages()) {
      assert.equal(page.meta.total_pages, 3);
      assert.equal(page.meta.total_results, 11);
      numbers.push(page.meta.page_number);
    }
    assert.deepEqual(numbers, [1, 2, 3]);
    let page = await list({ 'page[size]': 4 });
    page = await page.getNextPage();
    assert.deepEqual(ids(page.data), newest.slice(4, 8));
  });

  test('orders', async () => {
    const byEmail = ids([...made].sort((a, b) => (a.email < b.email ? -1 : 1)));
    const wanted = {
      created_at: ids(made), '-created_at': newest, email: byEmail, '-email': [...byEmail].reverse(),
    };
    for (const [sort, order] of Object.entries(wanted)) {
      assert.deepEqual(await walk({ sort, 'page[size]': 3 }), order, sort);
      assert.deepEqual(await walk({ sort }), order, sort);
    }
    await refused(list({ sort: 'name' }), Telnyx.BadRequestError, {
      status: 400, code: '10018', title: 'Invalid sort direction', detail: /created_at/, source: { parameter: 'sort' },
    });
  });

  test('page bounds', async () => {
    const bad = (query, code, parameter) => refused(list(query), Telnyx.BadRequestError, {
      status: 400, code, title: code === '10033' ? 'Value outside of range' : 'Invalid parameter type', detail: /./, source: { parameter },
    });
    for (const size of [0, -1, 251, 1e18, '99999999999999999999']) await bad({ 'page[size]': size }, '10033', 'page[size]');
    for (const number of [0, -1, '9007199254740992']) await bad({ 'page[number]': number }, '10033', 'page[number]');
    await bad({ 'page[size]': 'many' }, '10026', 'page[size]');
    await bad({ page_number: 1.5 }, '10026', 'page_number');
  });

  test('unknown parameters', async () => {
    const bad = (query, parameter) => refused(list(query), Telnyx.BadRequestError, {
      status: 400, code: '10015', title: 'Bad Request', detail: /no such parameter/, source: { parameter },
    });
    await bad({ filter: { emial: { contains: 'abc' } } }, 'filter[emial][contains]');
    await bad({ filter: { email: 'abc' } }, 'filter[email]');
    await bad({ page: { limit: 3 } }, 'page[limit]');
    assert.equal((await list({ verbose: true })).meta.total_results, 11);
  });
});

describe('filters', () => {
  let manager, one, two, three, four;
  const tag = unique('f');
  before(async () => {
    manager = await newManager();
    const create = async (business_name, email) => (await manager.client.managedAccounts.create({ business_name, email })).data;
    one = await create("Larry's Cat Food Inc", `Larry.${tag}@Example.com`);
    two = await create('Käse & Ärger', `kaese.${tag}@example.org`);
    three = await create('100% = "all" + more', `plus+${tag}@example.net`);
    four = await create('Dogs', `dogs.${tag}@example.org`);
    await manager.client.managedAccounts.actions.disable(two.id);
    await operator('POST', `/accounts/${three.id}/actions/block`);
    await operator('POST', `/accounts/${four.id}/actions/cancel`);
  });
  const found = async (query) => ids(await collect(manager.client.managedAccounts.list({ 'page[size]': 1, ...query })));
  const filtered = (filter, more) => found({ filter, ...more });

  test('email', async () => {
    assert.deepEqual(await filtered({ email: { contains: tag } }), [three.id, two.id, one.id]);
    assert.deepEqual(await filtered({ email: { contains: `LARRY.${tag.toUpperCase()}@EX` } }), [one.id]);
    assert.deepEqual(await filtered({ email: { contains: `us+${tag}` } }), [three.id]);
    assert.deepEqual(await filtered({ email: { contains: 'no such' } }), []);
    assert.deepEqual(await filtered({ email: { eq: one.email } }), [one.id]);
    assert.deepEqual(await filtered({ email: { eq: one.email.toLowerCase() } }), []);
    assert.deepEqual(await filtered({ email: { eq: tag } }), []);
    assert.deepEqual(await filtered({ email: { eq: two.email, contains: 'kaese' } }), [two.id]);
    assert.deepEqual(await filtered({ email: { eq: two.email, contains: 'larry' } }), []);
  });

  test('organization_name', async () => {
    assert.deepEqual(await filtered({ organization_name: { contains: 'CAT FOOD' } }), [one.id]);
    assert.deepEqual(await filtered({ organization_name: { contains: 'se & är' } }), [two.id]);
    assert.deepEqual(await filtered({ organization_name: { contains: '100%' } }), [three.id]);
    assert.deepEqual(await filtered({ organization_name: { contains: '"all" +' } }), [three.id]);
    assert.deepEqual(await filtered({ organization_name: { eq: "Larry's Cat Food Inc" } }), [one.id]);
    assert.deepEqual(await filtered({ organization_name: { eq: 'Larry' } }), []);
    assert.deepEqual(await filtered({ organization_name: { contains: 'food' }, email: { contains: 'kaese' } }), []);
  });

  test('three characters are the least', async () => {
    for (const [field, term] of [['email', 'ab'], ['organization_name', 'é漢']]) {
      await refused(manager.client.managedAccounts.list({ filter: { [field]: { contains: term } } }), Telnyx.BadRequestError, {
        status: 400, code: '10033', title: 'Value outside of range', detail: /at least 3/, source: { parameter: `filter[${field}][contains]` },
      });
    }
    assert.deepEqual(await filtered({ organization_name: { contains: 'är' + 'g' } }), [two.id]);
  });

  test('status and include_cancelled_accounts', async () => {
    const wanted = {
      enabled: [one], disabled: [two], blocked: [three], cancelled: [four], active: [three, two, one], all: [four, three, two, one],
    };
    for (const [status, accounts] of Object.entries(wanted)) {
      assert.deepEqual(await filtered({ status: { eq: status } }), ids(accounts), status);
      for (const include_cancelled_accounts of [true, false]) {
        assert.deepEqual(await filtered({ status: { eq: status } }, { include_cancelled_accounts }), ids(accounts), status);
      }
    }
    assert.deepEqual(await found(), ids([three, two, one]));
    assert.deepEqual(await found({ include_cancelled_accounts: false }), ids([three, two, one]));
    assert.deepEqual(await found({ include_cancelled_accounts: true }), ids([four, three, two, one]));
    await refused(manager.client.managedAccounts.list({ filter: { status: { eq: 'asleep' } } }), Telnyx.BadRequestError, {
      status: 400, code: '10032', title: 'Invalid enumerated value', detail: /cancelled/, source: { parameter: 'filter[status][eq]' },
    });
    await refused(manager.client.managedAccounts.list({ include_cancelled_accounts: 'yes' }), Telnyx.BadRequestError, {
      status: 400, code: '10026', title: 'Invalid parameter type', detail: /true or false/, source: { parameter: 'include_cancelled_accounts' },
    });
  });
});

describe('walks while accounts are created', () => {
  // present checks that what was there at the start came once, in its order.
  const present = (seen, start, sort) => {
    assert.equal(new Set(seen).size, seen.length, `${sort}: an account came twice`);
    const old = new Set(start);
    assert.deepEqual(seen.filter((id) => old.has(id)), start, `${sort}: an account was skipped`);
  };
  for (const sort of [undefined, '-created_at', 'created_at', 'email', '-email']) {
    test(`sort ${sort}`, async () => {
      const manager = await newManager();
      await createMany(manager.client, 20);
      const start = ids(await collect(manager.client.managedAccounts.list({ sort, 'page[size]': 250 })));
      assert.equal(start.length, 20);
      const seen = [];
      let n = 0;
      for await (const account of manager.client.managedAccounts.list({ sort, 'page[size]': 3 })) {
        seen.push(account.id);
        if (n++ < 30) {
          // In front, in the middle and at the end of every order.
          await manager.client.managedAccounts.create({ business_name: 'New', email: `${'amz'[n % 3]}${unique('w')}@example.com` });
        }
      }
      present(seen, start, sort);
    });
  }

  test('two walks of one key, one ahead of the other', async () => {
    const manager = await newManager();
    await createMany(manager.client, 12);
    const [first, second] = [connect(manager.key), connect(manager.key)];
    const start = ids(await collect(first.managedAccounts.list({ 'page[size]': 250 })));
    const [a, b] = [first, second].map((client) => client.managedAccounts.list({ 'page[size]': 2 })[Symbol.asyncIterator]());
    const seen = [[], []];
    // The first is some pages ahead, and accounts come between them.
    for (let i = 0; i < 5; i++) seen[0].push((await a.next()).value.id);
    await createMany(manager.client, 1);
    for (let i = 0; i < 20; i++) {
      for (const [n, walk] of [a, b].entries()) {
        const { value, done } = await walk.next();
        if (!done) seen[n].push(value.id);
      }
    }
    present(seen[0], start, 'the first walk');
    present(seen[1], start, 'the second walk');
  });

  // Behind a load balancer, or in a client that has done several calls at once,
  // one walk's requests come over many connections.
  for (const habit of ['walks to the end', 'stops half-way before', 'looks at the first page before']) {
    test(`one walk after the other, over changing connections: ${habit}`, async (t) => {
      const manager = await newManager();
      const agents = Array.from({ length: 3 }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }));
      t.after(() => agents.forEach((agent) => agent.destroy()));
      let state = 1;
      const random = (n) => ((state = (state * 1103515245 + 12345) % 2 ** 31) >> 8) % n;
      const client = connect(manager.key, { fetch: (url, init) => fetchOver(agents[random(3)], url, init) });
      await createMany(manager.client, 12);
      for (let i = 0; i < 8; i++) {
        if (habit.startsWith('stops')) {
          let left = 3 + random(12);
          for await (const account of client.managedAccounts.list({ 'page[size]': 3 })) if (account && --left === 0) break;
        }
        if (habit.startsWith('looks')) await client.managedAccounts.list({ 'page[size]': 3 });
        await createMany(manager.client, 1 + random(4));
        const start = ids((await manager.client.managedAccounts.list({ 'page[size]': 250 })).data);
        assert.deepEqual(ids(await collect(client.managedAccounts.list({ 'page[size]': 3 }))), start, `walk ${i}`);
      }
    });
  }

  test('accounts leave a filtered walk as it handles them', async () => {
    // The usual way to disable all that are enabled.
    const manager = await newManager();
    const made = ids(await createMany(manager.client, 13));
    const handled = [];
    for await (const account of manager.client.managedAccounts.list({ filter: { status: { eq: 'enabled' } }, 'page[size]': 3 })) {
      await manager.client.managedAccounts.actions.disable(account.id);
      handled.push(account.id);
    }
    assert.deepEqual(handled, made.reverse());
  });

  test('the manager of the development server', async () => {
    const accounts = await collect(connect(managerKey).managedAccounts.list({ sort: 'created_at', 'page[size]': 1 }));
    assert.deepEqual(accounts.slice(0, 3).map((account) => account.email), [
      'larry@example.com', 'new_managed_account@example.org', 'hotels@example.net',
    ]);
    assert.ok(accounts.every((account) => account.manager_account_id === managerID));
  });
});
