// What a manager does with accounts and their channels.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, test } from 'node:test';
import { operator, startDev } from './support.mjs';
import { audit, enter, follow, go, heading, menu, newAccount, newManager, noted, noteOf, parseCSV, press, row, said } from './flow.mjs';

const server = await startDev({ after });
const manager = await newManager(server, { pool: 500, name: 'Wholesale' });
const shops = [];
for (let i = 0; i < 120; i += 20) {
  shops.push(...await Promise.all(Array.from({ length: 20 }, async (_, j) => {
    const n = String(i + j).padStart(3, '0');
    return (await manager.client.managedAccounts.create({ business_name: `Shop ${n}`, email: `shop-${n}@example.com` })).data;
  })));
}
const shop = (n) => shops.find(({ email }) => email === `shop-${String(n).padStart(3, '0')}@example.com`);

/** section is the part of a page with that heading. */
const section = (page, name) => page.getByRole('main').locator('section').filter({ has: page.getByRole('heading', { name, exact: true }) });

/** emails are those of the rows of the list. */
const emails = (page) => page.getByRole('cell').getByRole('link').allInnerTexts();

/** ring takes channels of an account for a call. */
const ring = (id, call_id) => operator(server, 'POST', '/admission/check', { kind: 'call', account_id: id, call_id, acquire: true, switch: 'test' });

test('accounts are searched, sorted and paged', async (t) => {
  const page = await enter(t, server, manager.email);
  await page.getByRole('link', { name: '120', exact: true }).first().click();
  await heading(page, 'Accounts');
  await page.getByText('1–50 of 120').waitFor();
  await go(page, 'Accounts');
  assert.equal((await emails(page)).length, 50);
  const sort = (name) => follow(page, () => page.getByRole('columnheader', { name }).getByRole('link').click());
  await sort('Email');
  assert.equal(await page.getByRole('columnheader', { name: 'Email' }).getAttribute('aria-sort'), 'ascending');
  const seen = await emails(page);
  for (const text of ['51–100 of 120', '101–120 of 120']) {
    await follow(page, () => page.getByRole('link', { name: 'Next →' }).click());
    await page.getByText(text).waitFor();
    seen.push(...await emails(page));
  }
  assert.deepEqual(seen, shops.map(({ email }) => email).sort());
  assert.equal(await page.getByRole('link', { name: 'Next →' }).count(), 0);
  await follow(page, () => page.getByRole('link', { name: '← Previous' }).click());
  await page.getByText('51–100 of 120').waitFor();
  await sort('Email');
  assert.equal(await page.getByRole('columnheader', { name: 'Email' }).getAttribute('aria-sort'), 'descending');
  assert.equal((await emails(page))[0], 'shop-119@example.com');
  await sort('Created');
  await sort('Created');
  assert.equal(await page.getByRole('columnheader', { name: 'Created' }).getAttribute('aria-sort'), 'ascending');

  const search = page.getByRole('searchbox', { name: 'Search' });
  await search.fill('SHOP 11');
  await follow(page, () => search.press('Enter'));
  assert.deepEqual((await emails(page)).sort(), shops.map(({ email }) => email).filter((email) => email.startsWith('shop-11')).sort());
  assert.equal(await page.getByRole('columnheader', { name: 'Created' }).getAttribute('aria-sort'), 'ascending', 'the order is kept');
  await search.fill('nothing of that kind %_');
  await press(page, 'Search');
  await page.getByText('No account matches.').waitFor();
  await search.fill(shop(7).id);
  await press(page, 'Search');
  await heading(page, 'Shop 007', {});

  await manager.client.managedAccounts.actions.disable(shop(3).id);
  await go(page, 'Accounts');
  await follow(page, () => page.getByLabel('Status').selectOption('disabled')); // no click is needed
  await page.getByText('1–1 of 1', { exact: true }).waitFor();
  assert.deepEqual(await emails(page), ['shop-003@example.com']);
  await search.fill('shop-004');
  await press(page, 'Search');
  await page.getByText('No account matches.').waitFor();
  await manager.client.managedAccounts.actions.enable(shop(3).id);
});

test('the keyboard is enough', async (t) => {
  const page = await enter(t, server, manager.email);
  const { keyboard } = page;
  const keys = async (...all) => {
    for (const key of all) await keyboard.press(key);
  };
  await follow(page, () => keys('g', 'a'));
  await heading(page, 'Accounts');
  await keys('/');
  assert.equal(await page.getByRole('searchbox', { name: 'Search' }).evaluate((input) => input === document.activeElement), true);
  await keyboard.type('Shop 01g');
  await keys('Backspace');
  await follow(page, () => keys('Enter'));
  assert.equal((await emails(page)).length, 10);
  const [first, second] = await emails(page);
  const at = () => page.evaluate(() => document.activeElement.textContent);
  await keys('j', 'j');
  assert.equal(await at(), second);
  await keys('k', 'k', 'k');
  assert.equal(await at(), first);
  await follow(page, () => keys('Enter'));
  await page.getByText(first).first().waitFor();
  await keys('?');
  const help = page.getByRole('dialog', { name: 'Keys' });
  await help.waitFor();
  for (const name of await menu(page)) await help.getByText(name).waitFor();
  await keys('Escape');
  await help.waitFor({ state: 'hidden' });
  await follow(page, () => keys('g', 'c'));
  await heading(page, 'Channels');
  await follow(page, () => keys('g', 'o'));
  await heading(page, 'Wholesale');
  await follow(page, () => keys('g', 'a'));
  await follow(page, () => keys(']'));
  await page.getByText('51–100 of').waitFor();
  await follow(page, () => keys('['));
  await page.getByText('1–50 of').waitFor();
  await follow(page, () => keys('n'));
  await heading(page, 'New account');
  // From the top, the first key leads past the menu.
  await page.goto('/portal/accounts');
  await keys('Tab');
  assert.equal(await at(), 'Skip to the content');
  await keys('Enter', 'Tab');
  assert.equal(await at(), 'Export CSV');
});

test('an account is made, changed, stopped and started', async (t) => {
  const page = await enter(t, server, manager.email);
  await go(page, 'Accounts');
  await page.getByRole('link', { name: 'New account' }).click();
  await page.getByLabel('Business name').fill('Bakery');
  await page.getByLabel('Email address').fill(shop(0).email);
  await press(page, 'Create the account');
  assert.equal(await page.getByLabel('Email address').getAttribute('aria-invalid'), 'true');
  await page.getByLabel('Email address').fill('bakery@example.com');
  await page.getByLabel('Password').fill('short');
  await press(page, 'Create the account');
  assert.equal(await page.getByLabel('Password').getAttribute('aria-invalid'), 'true');
  await page.getByLabel('Password').fill('bread and butter and jam');
  await page.getByLabel('Prices of its own').check();
  await press(page, 'Create the account');
  await said(page, 'Bakery is created.');
  const { data: [bakery] } = await manager.client.managedAccounts.list({ filter: { email: { eq: 'bakery@example.com' } } });
  assert.equal(bakery.organization_name, 'Bakery');
  assert.equal(bakery.managed_account_allow_custom_pricing, true);
  const created = await noted(server, bakery, 'managed_account.created');
  assert.equal(created.change_made_by, 'account_manager');
  assert.equal(created.user_id, manager.id);
  await page.getByLabel('Prices of its own').uncheck();
  await press(page, 'Save');
  await said(page, 'The account follows your prices.');

  // Who shows the credentials is in the log.
  const { data: full } = await manager.client.managedAccounts.retrieve(bakery.id);
  const secrets = [full.api_key, full.api_token];
  for (const secret of secrets) assert.ok(!(await page.content()).includes(secret));
  assert.ok(!(await audit(server, bakery)).some(({ change_type }) => change_type === 'managed_account.credentials_viewed'));
  await press(page, 'Show the credentials');
  for (const secret of secrets) await page.getByText(secret, { exact: true }).waitFor();
  const viewed = await noted(server, bakery, 'managed_account.credentials_viewed');
  assert.equal(viewed.user_id, manager.id);
  for (const secret of secrets) assert.ok(!JSON.stringify(viewed).includes(secret));
  await follow(page, () => page.getByRole('link', { name: 'Hide them' }).click());
  for (const secret of secrets) assert.ok(!(await page.content()).includes(secret));

  // Disabled with a reason, its calls with it; enabled again with its connections.
  await operator(server, 'POST', `/accounts/${bakery.id}/connections`, { name: 'Shop floor', kind: 'credentials', usernames: ['bakery'] });
  await operator(server, 'PATCH', `/accounts/${bakery.id}`, { balance: '10.00' });
  await manager.client.managedAccounts.updateGlobalChannelLimit(bakery.id, { channel_limit: 5 });
  assert.equal((await ring(bakery.id, 'bakery-1')).decision, 'allow');
  assert.equal((await ring(bakery.id, 'bakery-2')).decision, 'allow');
  await page.reload();
  await section(page, 'Channels').getByText('2', { exact: true }).first().waitFor();
  await section(page, 'Disable').getByLabel('Why').fill('Sold bad bread');
  await page.getByLabel('End the calls that run, too (2 channels now)').check();
  await press(page, 'Disable the account');
  await said(page, 'Bakery is disabled');
  await page.getByText(/^It cannot use services: .*manager.*\.$/).waitFor();
  await row(page, 'Shop floor').getByText('off').waitFor();
  const disabled = await noted(server, bakery, 'managed_account.disabled');
  assert.equal(noteOf(disabled, 'reason').to, 'Sold bad bread');
  await noted(server, bakery, 'calls.terminate');
  assert.equal((await ring(bakery.id, 'bakery-3')).decision, 'deny');
  await section(page, 'Enable').getByLabel('Why').fill('Bakes well now');
  await page.getByLabel('Switch its connections on again').check();
  await press(page, 'Enable the account');
  await said(page, 'Bakery is enabled.');
  await row(page, 'Shop floor').getByText('on', { exact: true }).waitFor();
  assert.equal(noteOf(await noted(server, bakery, 'managed_account.enabled'), 'reason').to, 'Bakes well now');

  // A cancelled account is shown, and cannot be changed.
  await operator(server, 'POST', `/accounts/${bakery.id}/actions/cancel`);
  await page.reload();
  await section(page, 'Cancelled').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Save' }).isDisabled(), true);
  assert.equal((await page.goto('/portal/accounts/00000000-0000-4000-8000-000000000000')).status(), 404);
  await heading(page, 'Not Found');
});

test('channels are handed out in place, and no more than there are', async (t) => {
  const mine = await newManager(server, { pool: 100 });
  const [one, two] = [await newAccount(server, mine, { name: 'One' }), await newAccount(server, mine, { name: 'Two' })];
  const page = await enter(t, server, mine.email);
  await go(page, 'Channels');
  const give = async (account, limit) => {
    const line = row(page, account.email);
    await line.getByLabel(`Channel limit of ${account.email}`).fill(String(limit));
    await press(page, 'Set', line);
  };
  await give(one, 60);
  await said(page, 'The channel limit is 60.');
  await give(two, 41);
  const field = page.getByLabel(`Channel limit of ${two.email}`);
  assert.equal(await field.inputValue(), '41', 'what was entered stays');
  assert.equal(await field.getAttribute('aria-invalid'), 'true');
  await row(page, two.email).getByRole('alert').waitFor();
  assert.equal(await row(page, one.email).getByRole('alert').count(), 0);
  assert.equal(await page.getByLabel(`Channel limit of ${one.email}`).inputValue(), '60');
  assert.ok(!(await audit(server, two)).some(({ change_type }) => change_type === 'managed_account.channel_limit_updated'));
  await give(two, 40);
  await said(page, 'The channel limit is 40.');
  assert.equal(noteOf(await noted(server, two, 'managed_account.channel_limit_updated'), 'channel_limit').to, 40);
  await operator(server, 'PATCH', `/accounts/${one.id}`, { balance: '10.00' });
  for (let i = 0; i < 3; i++) await ring(one.id, `one-${i}`);
  await page.reload();
  const picture = page.getByRole('img', { name: /^The pool/ });
  assert.equal(await picture.getAttribute('aria-label'), 'The pool: One: 60, in use 3; Two: 40, in use 0');
  assert.deepEqual(await picture.locator('g > rect:first-of-type').evaluateAll((all) => all.map((bar) => Number(bar.getAttribute('width')))), [600, 400]);
  await give(two, 0);
  await said(page, 'The channel limit is 0.');
  assert.equal(await picture.getAttribute('aria-label'), 'The pool: One: 60, in use 3; Free: 40');
  const shares = page.getByRole('region', { name: 'Channels by account' });
  assert.deepEqual((await shares.getByRole('link').allInnerTexts()), ['One', 'Two'], 'the largest first');
});

test('many are disabled at once, after a look', async (t) => {
  const mine = await newManager(server);
  const accounts = [];
  for (let i = 0; i < 6; i++) accounts.push(await newAccount(server, mine, { name: `Branch ${i}`, email: `branch-${i}@example.com`, password: undefined }));
  const statuses = async () => Promise.all(accounts.map(async ({ id }) => (await mine.client.managedAccounts.retrieve(id)).data.status));
  const page = await enter(t, server, mine.email);
  const figure = async (name) => page.locator('dl > div').filter({ hasText: name }).getByRole('definition').innerText();

  // Those that are ticked.
  await go(page, 'Accounts');
  for (const i of [0, 1]) await page.getByLabel(`Choose branch-${i}@example.com`).check();
  await press(page, 'Disable those chosen…');
  await page.getByText('Nothing is done yet').waitFor();
  assert.equal(await figure('Will be disabled'), '2');
  assert.deepEqual(await statuses(), Array(6).fill('enabled'));
  await page.getByLabel('Why').fill('Branches closed');
  await press(page, 'Disable 2 accounts');
  await heading(page, '2 accounts disabled');
  assert.deepEqual(await statuses(), ['disabled', 'disabled', ...Array(4).fill('enabled')]);
  assert.equal(noteOf(await noted(server, accounts[1], 'managed_account.disabled'), 'reason').to, 'Branches closed');

  // Those of a list from elsewhere, some of which are not the manager's.
  await page.getByRole('link', { name: 'All accounts' }).click();
  await page.getByRole('link', { name: 'Disable several' }).click();
  const list = page.getByLabel('Ids or email addresses');
  await list.fill(`branch-0@example.com\nbranch-2@example.com, ${accounts[3].id}; branch-3@example.com\nnobody@example.com ${shop(5).id}\nshop-006@example.com\n`);
  await press(page, 'Preview');
  assert.equal(await figure('Will be disabled'), '2');
  assert.equal(await figure('Disabled already'), '1');
  assert.equal(await figure('Not found'), '3');
  await page.getByText(`nobody@example.com, ${shop(5).id}, shop-006@example.com`).waitFor();
  await press(page, 'Disable 2 accounts');
  await heading(page, '2 accounts disabled');
  assert.deepEqual(await statuses(), [...Array(4).fill('disabled'), 'enabled', 'enabled']);
  assert.equal((await manager.client.managedAccounts.retrieve(shop(5).id)).data.status, 'enabled');

  // All that match, and nothing at all.
  await go(page, 'Accounts');
  await follow(page, () => page.getByLabel('Status').selectOption('enabled'));
  await press(page, 'Disable all that match…');
  assert.equal(await figure('Will be disabled'), '2');
  await follow(page, () => page.getByRole('link', { name: 'Cancel' }).click());
  assert.deepEqual((await statuses()).slice(4), ['enabled', 'enabled']);
  await page.getByRole('searchbox', { name: 'Search' }).fill('branch-5');
  await press(page, 'Search');
  await press(page, 'Disable all that match…');
  await press(page, 'Disable 1 account');
  await heading(page, '1 account disabled');
  assert.deepEqual((await statuses()).slice(4), ['enabled', 'disabled']);
  await go(page, 'Accounts');
  await press(page, 'Disable those chosen…');
  await page.getByText('Name an account, by its id or its email address.').waitFor();
});

test('the list is a file that a spreadsheet takes for text', async (t) => {
  const mine = await newManager(server);
  const names = ['=HYPERLINK("http://evil.example","x")', 'Comma, "quote" & co', '+1 900', '-2+3', '@SUM(A1)', 'Zoë 🐈', 'plain'];
  for (const name of names) await mine.client.managedAccounts.create({ business_name: name });
  await operator(server, 'PATCH', `/accounts/${(await mine.client.managedAccounts.list()).data[0].id}`, { balance: '-3.50' });
  const page = await enter(t, server, mine.email);
  await go(page, 'Accounts');
  const fetchFile = async () => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export CSV' }).click()]);
    assert.equal(download.suggestedFilename(), 'accounts.csv');
    return parseCSV(await readFile(await download.path(), 'utf8'));
  };
  const [header, ...rows] = await fetchFile();
  assert.deepEqual(header, ['id', 'email', 'organization_name', 'status', 'created_at', 'updated_at', 'balance', 'credit_limit', 'currency', 'rollup_billing', 'channel_limit']);
  const last = rows.pop();
  assert.deepEqual(last, [''], 'the last line ends');
  assert.deepEqual(rows.map((cells) => cells[2]).sort(), names.map((name) => (/^[=+\-@]/.test(name) ? `'${name}` : name)).sort());
  for (const cells of rows) {
    assert.equal(cells.length, header.length);
    const { data } = await mine.client.managedAccounts.retrieve(cells[0]);
    assert.deepEqual([cells[1], cells[3], cells[6], cells[8]], [data.email, data.status, data.balance.balance, data.balance.currency]);
  }
  assert.ok(rows.some((cells) => cells[6] === '-3.50'));
  await page.getByRole('searchbox', { name: 'Search' }).fill('zoë');
  await press(page, 'Search');
  const [, only] = await fetchFile();
  assert.equal(only[2], 'Zoë 🐈');
});
