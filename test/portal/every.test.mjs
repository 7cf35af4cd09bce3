// Every page that there is, as everybody who may see it: in light, in dark and narrow,
// for everybody who reads it, and small.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { axe, open, operator, startDev, startDex } from './support.mjs';
import { authenticator, enter, enterOperator, newAccount, newGroup, newManager, newOrganization, newUser, press, said, signIn } from './flow.mjs';

const server = await startDev({ after });

// A page may be as large as this, with all that it loads.
const most = 100 * 1024;

const manager = await newManager(server, { name: 'Wholesale', pool: 1000, balance: '12.00' });
const long = 'Verylongnamewithoutaspace'.repeat(8);
const account = await newAccount(server, manager, { name: 'Corner Shop' });
const disabled = await newAccount(server, manager, { name: long, email: `${'long'.repeat(15)}@${'longlabel.'.repeat(12)}example` });
const blocked = await newAccount(server, manager, { name: 'Blocked & sons' });
const cancelled = await newAccount(server, manager, { name: 'Cancelled' });
for (let i = 0; i < 60; i += 10) {
  await Promise.all(Array.from({ length: 10 }, (_, j) => manager.client.managedAccounts.create({ business_name: `A branch ${i + j}`, rollup_billing: j === 3 })));
}
await manager.client.managedAccounts.updateGlobalChannelLimit(account.id, { channel_limit: 60 });
await manager.client.managedAccounts.updateGlobalChannelLimit(disabled.id, { channel_limit: 35 });
await operator(server, 'PATCH', `/accounts/${account.id}`, { balance: '10.00' });
await operator(server, 'PATCH', `/accounts/${blocked.id}`, { balance: '-10.00' });
await operator(server, 'POST', `/accounts/${account.id}/connections`, { name: 'Reception', kind: 'credentials', usernames: ['reception'], numbers: ['+12025550199'] });
await operator(server, 'POST', `/accounts/${account.id}/connections`, { name: long.slice(0, 100), kind: 'address', addresses: ['192.0.2.99'], hold: 'Not verified' });
for (let i = 0; i < 4; i++) await operator(server, 'POST', '/admission/check', { kind: 'call', account_id: account.id, call_id: `call-${i}`, acquire: true });
await manager.client.managedAccounts.actions.disable(disabled.id);
await operator(server, 'POST', `/accounts/${blocked.id}/actions/block`);
await operator(server, 'POST', `/accounts/${cancelled.id}/actions/cancel`);
const organization = await newOrganization(server, { name: 'Organization' });
const staff = await newGroup(server, organization, 'Staff', 'account', 'connections', 'organization', 'reporting');
const named = await newGroup(server, organization, long, 'wireless');
const user = await newUser(server, organization, { groups: [staff, named], email: `${'longish'.repeat(8)}@example.com` });
const nobody = await newUser(server, organization);

/** figures are what was measured of each page. */
const figures = [];
const wrong = [];

/** paint is when there is something to see of a page, in milliseconds after it was asked for. */
const paint = (page) => page.evaluate(() => new Promise((resolve) => new PerformanceObserver((list) => {
  for (const { name, startTime } of list.getEntries()) if (name === 'first-contentful-paint') resolve(startTime);
}).observe({ type: 'paint', buffered: true })));

/** look is at a page in all its looks. */
async function look(page, name) {
  const size = await page.evaluate(() => {
    const [{ transferSize: document }] = performance.getEntriesByType('navigation');
    const icon = window.document.querySelector('link[rel=icon]').href; // which comes when it likes
    const others = performance.getEntriesByType('resource').filter(({ name }) => name !== icon);
    return { icon, document, bytes: others.reduce((sum, { transferSize, encodedBodySize }) => sum + Math.max(transferSize, encodedBodySize), document) };
  });
  figures.push({ name, paint: await paint(page), ...size });
  const say = (error) => wrong.push(`${name}: ${error.message ?? error}`);
  const title = await page.title();
  if (!/^\S.* · Tenantry$/.test(title)) say(`the title is ${title}`);
  const heads = await page.getByRole('heading', { level: 1 }).allInnerTexts();
  if (heads.length !== 1 || !heads[0].trim()) say(`its headings are ${JSON.stringify(heads)}`);
  await axe(page).catch(say);
  await page.emulateMedia({ colorScheme: 'dark' });
  await axe(page, { runOnly: ['color-contrast', 'link-in-text-block'] }).catch((error) => say(`in dark ${error.message}`));
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 390, height: 844 });
  await axe(page, { runOnly: ['color-contrast', 'target-size', 'scrollable-region-focusable'] }).catch((error) => say(`narrow ${error.message}`));
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  if (wide > room) say(`it is ${wide} px wide where there are ${room}`);
  await page.setViewportSize({ width: 1280, height: 800 });
}

/** shape is a path without what is particular to one thing. */
function shape(link) {
  const { pathname, searchParams } = new URL(link, server.url);
  const names = [...new Set(searchParams.keys())].sort();
  return pathname.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, ':id') + (names.length ? `?${names}` : '');
}

/** crawl follows the links of pages, one of each shape. */
async function crawl(page, role, ...from) {
  const seen = new Set(), queue = from;
  while (queue.length) {
    const path = queue.shift();
    if (seen.has(shape(path))) continue;
    seen.add(shape(path));
    const answer = await page.goto(path);
    if (!answer.ok()) wrong.push(`${role}: ${path} is answered with ${answer.status()}`);
    await look(page, `${role} ${shape(path)}`);
    for (const href of await page.locator('a[href]:not([download])').evaluateAll((all) => all.map(({ href }) => href))) {
      const { origin, pathname } = new URL(href);
      if (origin === server.url && pathname.startsWith('/portal/') && !/\/sso\/start\//.test(pathname)) queue.push(href);
    }
  }
  return [...seen].sort();
}

/** submit sends a form of a page without what the browser would check, and looks at the answer. */
async function submit(page, path, button, values = {}, name = `${path} ${button}`) {
  await page.goto(path);
  await page.locator('form').evaluateAll((all) => all.forEach((form) => (form.noValidate = true)));
  for (const [label, value] of Object.entries(values)) await page.getByLabel(label, { exact: true }).first().fill(value);
  await press(page, button);
  await look(page, shape(name).replaceAll('%20', ' '));
}

/** cold is the page with nothing kept from one load to the next. */
async function cold(page) {
  await page.emulateMedia({ reducedMotion: 'reduce' });
  const session = await page.context().newCDPSession(page);
  await session.send('Network.setCacheDisabled', { cacheDisabled: true });
  return page;
}

const good = () => assert.deepEqual(wrong.splice(0), []);

test('for who has not signed in', async (t) => {
  const page = await cold(await open(t, { baseURL: server.url }));
  await submit(page, '/portal/sign-in', 'Sign in');
  await submit(page, '/portal/sign-in', 'Sign in', { 'Email address': 'x@example.com', Password: 'wrong' }, '/portal/sign-in wrong');
  await submit(page, '/portal/forgot-password', 'Send the link', { 'Email address': 'x' }, '/portal/forgot-password wrong');
  await submit(page, '/portal/forgot-password', 'Send the link', { 'Email address': nobody.email });
  server.allow(/refused as the operator/);
  await submit(page, '/portal/operator/sign-in', 'Sign in', { 'Operator token': 'wrong' });
  const owner = await enter(t, server, organization.email);
  await owner.goto('/portal/invitations');
  await owner.getByLabel('Email address').fill('new@example.com');
  await press(owner, 'Send the invitation');
  const seen = await crawl(page, 'out', '/portal/sign-in', '/portal/mails');
  assert.deepEqual(seen, [
    '/portal/forgot-password', '/portal/invitation?token', '/portal/mails', '/portal/operator/sign-in', '/portal/reset-password?token',
    '/portal/sign-in', '/portal/sso',
  ]);
  await page.goto('/portal/mails');
  const links = await page.getByRole('article').getByRole('link').evaluateAll((all) => all.map(({ href }) => href));
  await submit(page, links.find((link) => link.includes('/invitation')), 'Accept the invitation', { 'Choose a password': 'x', 'The same again': 'y' });
  await submit(page, links.find((link) => link.includes('/reset')), 'Set the password', { 'New password': 'x', 'The same again': 'x' });
  for (const [path, status] of Object.entries({ '/portal/invitation?token=x': 410, '/portal/nothing': 404, '/portal/sso?organization=x': 422 })) {
    assert.equal((await page.goto(path)).status(), status);
    await look(page, path);
  }
  good();
});

test('for a manager', async (t) => {
  const page = await cold(await enter(t, server, manager.email));
  const seen = await crawl(page, 'manager', '/portal/');
  for (const path of ['/portal/accounts', '/portal/accounts?page', '/portal/accounts?sort', '/portal/accounts/:id', '/portal/accounts/new', '/portal/accounts/disable', '/portal/channels', '/portal/channels?from', '/portal/audit', '/portal/users/:id']) {
    assert.ok(seen.includes(path), `${path} is not among ${seen}`);
  }
  for (const [name, { id }] of Object.entries({ account, disabled, blocked, cancelled })) {
    await page.goto(`/portal/accounts/${id}`);
    await look(page, `an account that is ${name}`);
  }
  await submit(page, `/portal/accounts/${account.id}`, 'Show the credentials');
  await submit(page, `/portal/accounts/${account.id}`, 'Set', { 'Channel limit': '100000' });
  await submit(page, '/portal/accounts/new', 'Create the account', { 'Email address': 'x', Password: 'x' });
  await page.goto('/portal/channels');
  await page.getByLabel(`Channel limit of ${account.email}`).fill('100000');
  await press(page, 'Set', page.getByRole('row').filter({ hasText: account.email }));
  await look(page, '/portal/channels over the pool');
  await submit(page, '/portal/accounts/disable', 'Preview');
  await submit(page, '/portal/accounts?q=branch', 'Disable all that match…');
  await submit(page, '/portal/accounts/disable', 'Preview', { 'Ids or email addresses': `${disabled.id}\n${account.id}\nnobody@example.com` }, '/portal/accounts/disable some');
  await page.goto('/portal/accounts?q=branch%205');
  await press(page, 'Disable all that match…');
  await press(page, /^Disable \d+ account/);
  await look(page, '/portal/accounts/disable/confirm');
  await page.goto('/portal/accounts?q=nothing-like-that');
  await look(page, 'no account matches');
  await page.goto('/portal/audit?after=yesterday');
  await look(page, '/portal/audit?after wrong');
  assert.equal((await page.goto('/portal/accounts/00000000-0000-4000-8000-000000000000')).status(), 404);
  await look(page, 'not found');

  // As the owner of an account.
  await page.goto(`/portal/accounts/${account.id}`);
  const form = page.locator('form').filter({ has: page.getByRole('button', { name: `Sign in as ${account.email}` }) });
  await form.getByLabel('Why').fill('x'.repeat(300));
  await press(page, `Sign in as ${account.email}`);
  await look(page, '/portal/accounts/:id/sign-in-as');
  await form.getByLabel('Why').fill('Somebody asked for help');
  await press(page, `Sign in as ${account.email}`);
  const acting = await crawl(page, 'acting', '/portal/');
  assert.ok(acting.includes('/portal/connections') && acting.includes('/portal/keys'), String(acting));
  assert.equal((await page.goto('/portal/profile')).status(), 403);
  await look(page, 'acting forbidden');
  good();
});

test('for an owner and a sub-user', async (t) => {
  const page = await cold(await enter(t, server, organization.email));
  const seen = await crawl(page, 'owner', '/portal/');
  for (const path of ['/portal/users', '/portal/users/:id', '/portal/groups', '/portal/groups/:id', '/portal/invitations', '/portal/single-sign-on', '/portal/keys', '/portal/sessions', '/portal/profile', '/portal/connections']) {
    assert.ok(seen.includes(path), `${path} is not among ${seen}`);
  }
  await page.goto(`/portal/users/${user.id}`);
  await look(page, 'a sub-user');
  await page.goto(`/portal/groups/${named.id}`);
  await look(page, 'a group with a long name');
  await submit(page, `/portal/groups/${staff.id}`, 'Save', { Name: long });
  await submit(page, `/portal/groups/${staff.id}`, 'Add', { 'Email address of a user': 'nobody@example.com' });
  await submit(page, '/portal/groups', 'Make the group', { Name: 'Staff' });
  await submit(page, '/portal/invitations', 'Send the invitation', { 'Email address': user.email });
  await submit(page, '/portal/keys', 'Make the key');
  await submit(page, '/portal/keys', 'Make the key', { Name: 'billing job' }, '/portal/keys made');
  await submit(page, '/portal/single-sign-on', 'Save', { Issuer: 'nonsense', 'Client id': 'x', 'Client secret': 'x', 'Email domains': '@' });
  const { issuer, client_id, client_secret } = await startDex(t, { redirectURI: `${server.url}/portal/sso/callback`, users: [] });
  await submit(page, '/portal/single-sign-on', 'Save', { Issuer: issuer, 'Client id': client_id, 'Client secret': client_secret, 'Email domains': 'example.com' }, '/portal/single-sign-on set');
  await said(page, 'Single sign-on is set.');
  await submit(page, '/portal/profile', 'Change the password', { 'Old password': 'wrong', 'New password': 'x', 'The same again': 'x' });
  await submit(page, '/portal/profile', 'Set it up');
  await page.getByLabel('Code that it shows now').fill('000000');
  const next = authenticator(await page.getByText(/^[A-Z2-7]{4}( [A-Z2-7]{4})+$/).innerText());
  await press(page, 'Switch it on');
  await look(page, 'a wrong code');
  await page.getByLabel('Code that it shows now').fill(next());
  await press(page, 'Switch it on');
  await look(page, 'recovery codes');
  await page.goto('/portal/profile');
  await look(page, 'a second factor');
  await press(page, 'Sign out');
  await page.goto('/portal/sign-in');
  await look(page, 'where single sign-on was last');
  await signIn(page, organization.email);
  await look(page, '/portal/sign-in/code');
  await page.getByLabel('Code', { exact: true }).fill('000000');
  await press(page, 'Go on');
  await look(page, '/portal/sign-in/code wrong');
  await press(page, 'Begin again');

  await signIn(page, user.email);
  await crawl(page, 'sub-user', '/portal/');
  await press(page, 'Sign out');
  await signIn(page, nobody.email);
  await crawl(page, 'user without a group', '/portal/');
  assert.equal((await page.goto('/portal/accounts')).status(), 403);
  await look(page, 'forbidden');
  good();
});

test('for the operator', async (t) => {
  const page = await cold(await enterOperator(t, server));
  const seen = await crawl(page, 'operator', '/portal/operator', `/portal/operator/accounts/${manager.id}`);
  for (const path of ['accounts', 'accounts/new', 'accounts/:id', 'accounts/:id/accounts', 'accounts/:id/users', 'accounts/:id/audit']) {
    assert.ok(seen.includes(`/portal/operator/${path}`), `${path} is not among ${seen}`);
  }
  for (const [name, { id }] of Object.entries({ account, disabled, blocked, cancelled, organization })) {
    await page.goto(`/portal/operator/accounts/${id}`);
    await look(page, `operator ${name}`);
  }
  const at = `/portal/operator/accounts/${organization.id}`;
  await page.goto(`${at}/users`);
  await look(page, 'operator users');
  await submit(page, '/portal/operator/accounts/new', 'Create the account', { 'Email address of the owner': 'x', Password: 'x' });
  await submit(page, at, 'Set', { Balance: 'x' });
  await submit(page, at, 'Cancel the account', { 'Type its email address': 'x' });
  await submit(page, at, 'Approve as manager', { 'Channel pool': '' });
  await page.goto(`${at}/audit?after=yesterday`);
  await look(page, 'operator audit wrong');
  assert.equal((await page.goto('/portal/operator/accounts/00000000-0000-4000-8000-000000000000')).status(), 404);
  await look(page, 'operator not found');
  good();
});

test('figures', async (t) => {
  const icon = (await (await fetch(figures[0].icon)).arrayBuffer()).byteLength;
  const large = figures.map((page) => ({ ...page, bytes: page.bytes + icon })).sort((a, b) => b.bytes - a.bytes);
  t.diagnostic(`${figures.length} pages were looked at`);
  for (const { name, bytes, document } of large.slice(0, 3)) t.diagnostic(`large: ${(bytes / 1024).toFixed(1)} KB, ${(document / 1024).toFixed(1)} KB of it the page itself: ${name}`);
  assert.deepEqual(large.filter(({ bytes }) => bytes > most).map(({ name, bytes }) => `${name}: ${bytes}`), []);
  const slow = [...figures].sort((a, b) => b.paint - a.paint);
  t.diagnostic(`first contentful paint with nothing kept: ${slow[0].paint.toFixed(0)} ms at most (${slow[0].name}), ${slow[slow.length >> 1].paint.toFixed(0)} ms in the middle`);

  // What was loaded before is kept: a style, a script and an icon for all pages.
  const page = await enter(t, server, manager.email);
  const warm = [];
  for (const name of ['', 'accounts', 'channels', 'users', 'audit', `accounts/${account.id}`]) {
    await page.goto(`/portal/${name}`);
    warm.push({ name, paint: await paint(page) });
    const loaded = await page.evaluate(() => performance.getEntriesByType('resource').filter(({ transferSize }) => transferSize > 0).map(({ name }) => name));
    assert.deepEqual(loaded, [], 'what is kept is loaded again');
  }
  warm.sort((a, b) => b.paint - a.paint);
  t.diagnostic(`with all of it kept: ${warm[0].paint.toFixed(0)} ms at most (/portal/${warm[0].name}), ${warm[warm.length >> 1].paint.toFixed(0)} ms in the middle`);
});
