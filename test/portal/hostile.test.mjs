// Names that want to be more than names, and other sites that want to act for somebody.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { allow, atEnd, open, operator, startDev, until } from './support.mjs';
import { audit, enter, enterOperator, heading, newAccount, newManager, newOrganization, newUser, noted, press, said } from './flow.mjs';

const server = await startDev({ after });

const payloads = [
  '<script>alert(1)</script>', '</script><script>alert(1)</script>', '"><script>alert(1)</script>', "'><img src=x onerror=alert(1)>",
  '<img src=x onerror="alert(1)">', '<svg onload=alert(1)>', '<svg><script>alert(1)</script></svg>', '<body onload=alert(1)>',
  '<iframe srcdoc="<script>alert(1)</script>">', '<details open ontoggle=alert(1)>', '" autofocus onfocus="alert(1)', "' onmouseover='alert(1)",
  '" style="position:fixed;inset:0', '<style>*{display:none}</style>', '</title><script>alert(1)</script>', '</textarea><script>alert(1)</script>',
  '</option></select><script>alert(1)</script>', '<a href="javascript:alert(1)">x</a>', 'javascript:alert(1)', '{{.Secret}} ${alert(1)} {{7*7}} <%= 7 %>',
  'مرحبا (<i>x</i>) 1, 2', 'שלום <b>bold</b>', '&lt;script&gt; &amp; &#60;b&#62;', '<!-- <base href=//evil.example> -->', '<meta http-equiv=refresh content="0;url=//evil.example">',
  '\\"\'`;alert(1)//', '<form action=//evil.example><button>x</button></form>', 'Zoë 🐈 ﷽ Z̸̢a̴l̵g̷o̶',
];

const manager = await newManager(server, { name: payloads[0] });
const accounts = [];
for (let i = 0; i < payloads.length; i += 7) {
  accounts.push(...await Promise.all(payloads.slice(i, i + 7).map(async (name) => (await manager.client.managedAccounts.create({ business_name: name })).data)));
}
const organization = await newOrganization(server, { name: payloads[4] });
for (const name of payloads) {
  await operator(server, 'POST', `/accounts/${organization.id}/groups`, { name, permissions: ['account'] });
  await operator(server, 'POST', `/accounts/${accounts[5].id}/connections`, { name, kind: 'credentials', usernames: [`u${Math.random()}`.replace('.', '')], hold: name });
}
const user = await newUser(server, organization, { email: "o'neil+{{7*7}}${x}&b@example.com" });

/** texts is what is written on a page, with what stands in its fields, titles and labels. */
const texts = (page) => page.evaluate(() => [
  document.title, document.body.textContent, ...[...document.querySelectorAll('body *')].flatMap((e) => [e.value ?? '', e.getAttribute('aria-label') ?? '', e.getAttribute('title') ?? '']),
].join('\n'));

/** harmless visits a page, and asserts that no name on it was more than a name. */
async function harmless(page, path, ...names) {
  if (path) await page.goto(path);
  const found = await page.evaluate(() => ({
    scripts: [...document.scripts].map(({ src, textContent }) => src + textContent), frames: frames.length, images: document.images.length,
    handlers: [...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames().filter((name) => /^on|^style$/.test(name)).map((name) => `${e.tagName} ${name}`)),
    odd: document.querySelectorAll('base, iframe, object, embed, meta[http-equiv], body style, body link, b, details, form form, svg script').length,
    links: [...document.querySelectorAll('[href], [action], [formaction]')].map((e) => e.getAttribute('href') ?? e.getAttribute('action')).filter((to) => !/^(\/portal\/|\?|#)/.test(to) && !to.startsWith(location.origin)),
  }));
  const { scripts, ...others } = found;
  assert.equal(scripts.length, 1, path);
  assert.match(scripts[0], /^http.*\/portal\/assets\/[0-9a-f]+\/portal\.js$/);
  assert.deepEqual(others, { frames: 0, images: 0, handlers: [], odd: 0, links: [] }, path);
  const text = await texts(page);
  for (const name of names) assert.ok(text.includes(name), `${name} is not to be read on ${page.url()}`);
}

/** watch fails the test when a page opens a dialog. */
function watch(page) {
  page.on('dialog', (dialog) => {
    dialog.dismiss();
    page.evaluate(() => console.error('a dialog was opened'));
  });
  return page;
}

test('names of accounts are text, for the manager', async (t) => {
  const page = watch(await enter(t, server, manager.email));
  await harmless(page, '/portal/', payloads[0]);
  await harmless(page, '/portal/accounts', ...payloads);
  await harmless(page, '/portal/channels');
  let text = await texts(page);
  await page.getByRole('link', { name: 'Next →' }).click();
  await page.getByRole('link', { name: '← First page' }).waitFor();
  await harmless(page);
  text += await texts(page);
  assert.deepEqual(payloads.filter((name) => !text.includes(name)), []);
  await harmless(page, '/portal/channels?from=nonsense"><script>alert(1)</script>');
  for (const { id, organization_name } of accounts) await harmless(page, `/portal/accounts/${id}`, organization_name);
  await harmless(page, `/portal/accounts/${accounts[5].id}`, ...payloads);
  for (const name of payloads.slice(0, 12)) {
    await harmless(page, `/portal/accounts?q=${encodeURIComponent(name)}&status=${encodeURIComponent(name)}&sort=${encodeURIComponent(name)}`, name);
  }
  await page.goto('/portal/accounts');
  for (const box of await page.getByRole('checkbox').all()) await box.check();
  await press(page, 'Disable those chosen…');
  await harmless(page, '', ...payloads);
  await page.goto('/portal/accounts/disable');
  await page.getByLabel('Ids or email addresses').fill(payloads.join('\n'));
  await press(page, 'Preview');
  await harmless(page, '', '<script>alert(1)</script>');

  // Reasons, in the banner of who acts for an account and in the log there.
  await page.goto(`/portal/accounts/${accounts[1].id}`);
  await page.getByLabel('Why').first().fill(payloads[2]);
  await press(page, `Sign in as ${accounts[1].email}`);
  await harmless(page, '', payloads[1], payloads[2]);
  await harmless(page, '/portal/audit', payloads[2]);
  await press(page, 'Leave the account');
  await harmless(page, '', payloads[1]);
  await page.goto(`/portal/accounts/${accounts[2].id}`);
  await page.locator('form').filter({ has: page.getByRole('button', { name: 'Disable the account' }) }).getByLabel('Why').fill(payloads[3]);
  await press(page, 'Disable the account');
  await harmless(page, '', payloads[2]); // in the line at the top
});

test('names of groups, users and keys are text, for the owner', async (t) => {
  const page = watch(await enter(t, server, organization.email));
  await harmless(page, '/portal/', payloads[4]);
  await harmless(page, '/portal/groups', ...payloads);
  await harmless(page, '/portal/invitations', ...payloads);
  await harmless(page, `/portal/users/${user.id}`, user.email, ...payloads);
  for (const name of [payloads[2], payloads[10], payloads[19]]) {
    await page.goto('/portal/groups');
    await page.getByRole('link', { name, exact: true }).click();
    await page.getByRole('heading', { level: 1 }).waitFor();
    await harmless(page, '', name);
    await page.getByLabel('Email address of a user').fill(user.email);
    await press(page, 'Add');
    await said(page, 'is in the group');
  }
  await harmless(page, '/portal/users', user.email, payloads[2], payloads[10], payloads[19]);
  await harmless(page, `/portal/users/${user.id}`, payloads[2]);
  await page.goto('/portal/keys');
  for (const name of payloads.slice(0, 12)) {
    await page.getByLabel('Name', { exact: true }).fill(name);
    await press(page, 'Make the key');
    await harmless(page, '', name);
  }
  await harmless(page, '/portal/keys', ...payloads.slice(0, 12));
  await harmless(page, '/portal/audit', ...payloads.slice(0, 12));
  for (const name of payloads.slice(0, 8)) {
    const sent = encodeURIComponent(name);
    await harmless(page, `/portal/audit?event=${sent}&user=${sent}&resource=${sent}&after=${sent}`, name);
  }
  // What was wrong comes back as it was entered.
  await page.goto('/portal/single-sign-on');
  for (const label of ['Issuer', 'Client id', 'Email domains']) await page.getByLabel(label).fill(payloads[2]);
  await page.getByLabel('Client secret').fill('x');
  await page.locator('form').evaluateAll((all) => all.forEach((form) => (form.noValidate = true)));
  await press(page, 'Save');
  await harmless(page, '', payloads[2]);

  // Nobody has to have signed in for a link that wants to say something.
  await press(page, 'Sign out');
  for (const name of payloads.slice(0, 20)) {
    const sent = encodeURIComponent(name);
    for (const path of [`sign-in?next=${sent}&organization=${sent}`, `sso?organization=${sent}`, `invitation?token=${sent}`]) {
      await harmless(page, `/portal/${path}`);
    }
  }
  await harmless(page, `/portal/${encodeURIComponent(payloads[0])}`);
  const cookies = [{ Text: payloads[2], Bad: true }, { Text: '' }, 'nonsense'].map((value) => Buffer.from(JSON.stringify(value)).toString('base64url'));
  for (const value of [...cookies, '%3Cscript%3E', '%00']) {
    await page.context().addCookies([{ name: '__Host-tenantry-notice', value, url: server.url.replace('http:', 'https:'), secure: true }]);
    await harmless(page, '/portal/sign-in');
  }
});

test('names are text, for the operator', async (t) => {
  const page = watch(await enterOperator(t, server));
  for (const { id } of accounts.slice(0, 2)) await operator(server, 'POST', `/accounts/${id}/actions/block`);
  for (const { id } of accounts.slice(6, 9)) await operator(server, 'PATCH', `/accounts/${id}`, { balance: '-1.00' });
  await harmless(page, '/portal/operator', payloads[0], payloads[1], payloads[6], payloads[8]);
  await harmless(page, '/portal/operator/accounts', payloads[0], payloads[4]);
  await harmless(page, `/portal/operator/accounts/${manager.id}/accounts`, ...payloads);
  await harmless(page, `/portal/operator/accounts/${accounts[5].id}`, ...payloads);
  await harmless(page, `/portal/operator/accounts/${organization.id}/users`, payloads[4], user.email);
  await harmless(page, `/portal/operator/accounts/${organization.id}/audit`, payloads[4], payloads[7]);
  await harmless(page, `/portal/operator/accounts?q=${encodeURIComponent(payloads[2])}`, payloads[2]);
});

test('another site changes nothing', async (t) => {
  const mine = await newManager(server);
  const victim = await newAccount(server, mine);
  const page = await enter(t, server, mine.email);
  const paths = [
    `accounts/${victim.id}/disable`, `accounts/${victim.id}/credentials`, `accounts/${victim.id}/sign-in-as`, 'accounts/new', 'accounts/disable/confirm', 'keys', 'sessions/end-all',
    'profile/password', 'single-sign-on', 'groups', 'sign-out',
  ];
  const fields = { business_name: 'Planted', ids: victim.id, reason: 'x', minutes: '15', name: 'planted', email: 'planted@example.com', password: 'planted password', repeated: 'planted password' };
  const asked = [];
  const site = createServer((request, response) => {
    asked.push(request.url);
    const { searchParams, pathname } = new URL(request.url, 'http://x');
    const target = `${server.url}/portal/${searchParams.get('to')}`;
    const inputs = Object.entries(fields).map(([name, value]) => `<input name="${name}" value="${value}">`).join('');
    const pages = {
      '/form': `<form method="post" action="${target}">${inputs}</form><script>document.forms[0].submit()</script>`,
      '/plain': `<form method="post" enctype="text/plain" action="${target}">${inputs}</form><script>document.forms[0].submit()</script>`,
      '/frame': `<iframe src="${server.url}/portal/"></iframe>`,
      '/idle': `<h1>A friendly page</h1><img src="${server.url}/portal/accounts/${victim.id}/disable" alt="">`,
    };
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(`<!doctype html><title>x</title><link rel="icon" href="data:,">${pages[pathname] ?? ''}`);
  });
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
  atEnd(t, () => {
    site.closeAllConnections();
    site.close();
  });
  allow(page, /status of 4\d\d/, /CORS|Cross-Origin|cross-origin/i, /frame/i, /ERR_/, /Failed to load resource/);
  const before = await Promise.all([audit(server, mine), audit(server, victim)]);
  // Cookies know no port; localhost is another site than 127.0.0.1 altogether.
  for (const host of ['127.0.0.1', 'localhost']) {
    const evil = `http://${host}:${site.address().port}`;
    const other = await page.context().newPage();
    for (const to of host === 'localhost' ? paths.slice(0, 3) : paths) {
      for (const kind of to === 'keys' ? ['form', 'plain'] : ['form']) {
        await other.goto(`${evil}/${kind}?to=${encodeURIComponent(to)}`, { waitUntil: 'commit' });
        await heading(other, /./, {});
        assert.match(await other.locator('body').innerText(), /came from another site, and nothing was done|must be application/, `${host} ${kind} ${to}`);
      }
    }
    await other.goto(`${evil}/idle`);
    const answers = await other.evaluate(async ([base, paths]) => {
      const all = [];
      for (const path of paths) {
        for (const mode of ['no-cors', 'cors']) {
          const options = { method: 'POST', mode, credentials: 'include', body: new URLSearchParams({ business_name: 'Planted', name: 'planted', reason: 'x' }) };
          all.push(await fetch(`${base}/portal/${path}`, options).then(({ type }) => type, () => 'failed'));
        }
        navigator.sendBeacon(`${base}/portal/${path}`, new URLSearchParams({ name: 'planted' }));
      }
      all.push(await fetch(`${base}/portal/accounts`, { credentials: 'include' }).then(() => 'read', () => 'failed'));
      return all;
    }, [server.url, paths]);
    assert.deepEqual([...new Set(answers)].filter((type) => !['failed', 'opaque'].includes(type)), [], 'nothing of the portal can be read');
    await other.goto(`${evil}/frame`);
    await until('frame', () => other.frames().length === 2);
    assert.doesNotMatch(await other.frames()[1].evaluate(() => document.body?.innerText ?? '').catch(() => ''), /Overview/);
    await other.close();
  }
  assert.ok(asked.length > paths.length);
  assert.deepEqual(await Promise.all([audit(server, mine), audit(server, victim)]), before);
  assert.equal((await mine.client.managedAccounts.list()).data.length, 1);
  await page.goto('/portal/profile');
  await heading(page, 'Profile'); // and the person is still signed in

  // The portal's own form does.
  await page.goto('/portal/keys');
  await page.getByLabel('Name', { exact: true }).fill('mine');
  await press(page, 'Make the key');
  await noted(server, mine, 'api_key.created');
  // A link from elsewhere finds who is signed in.
  const from = await page.context().newPage();
  await from.goto(`http://127.0.0.1:${site.address().port}/idle`);
  await from.evaluate((to) => (location.href = to), `${server.url}/portal/accounts`);
  await heading(from, 'Accounts');
});
