// Writes the pictures of docs/portal.md: make screenshots.
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { atEnd, open, picture, pictured, startDev, until } from './support.mjs';

const here = new URL('.', import.meta.url).pathname;
const folder = join(here, '../../docs/portal');
const password = 'a-password-for-pictures';
const manager = 'mara@quillmoor.example', subUser = 'bram@quillmoor.example', managed = 'switchboard@copperwick.example';
/** shown are addresses in pictures, instead of those that servers have this time. */
const shown = new Map();

/** id is one of screenshots.yaml. */
const id = (n) => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
const account = (n) => `/portal/accounts/${id(n)}`;

/** tallest are pictures at most, by look; longer pages end there. */
const tallest = { light: 720, dark: 720, narrow: 960 };

/** shoot writes what the page shows now in each look, of a long page more than usual if it is worth it. */
async function shoot(page, name, more = 1) {
  await page.evaluate((shown) => {
    document.activeElement?.blur();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) for (const [real, instead] of shown) texts.currentNode.data = texts.currentNode.data.replaceAll(real, instead);
  }, [...shown]);
  for (const [look, { colorScheme, viewport }] of Object.entries(pictured)) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.setViewportSize({ ...viewport, height: 600 });
    const height = await page.evaluate(() => {
      scrollTo(0, 0);
      return Math.ceil(document.querySelector('main').getBoundingClientRect().bottom);
    });
    await page.setViewportSize({ ...viewport, height: Math.max(600, Math.min(height, Math.round(tallest[look] * more))) });
    await page.evaluate(() => document.fonts.ready.then(() => undefined));
    await picture(page, join(folder, `${name}-${look}.webp`), 58);
  }
  await page.setViewportSize(pictured.light.viewport);
}

/** press sends a form and waits for the page that it leads to. */
const press = (page, name, within = page.locator('main')) =>
  Promise.all([page.waitForEvent('load'), within.getByRole('button', { name, exact: true }).click()]);

async function signIn(page, email) {
  await page.goto('/portal/sign-in');
  await page.getByLabel('Email address').fill(email);
  await page.getByLabel('Password').fill(password);
  await press(page, 'Sign in');
}

/** code is what an authenticator shows now, or a number of steps of 30 seconds later. */
function code(secret, later = 0) {
  const bits = [...secret.replace(/[\s=]/g, '')].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + later));
  const digest = createHmac('sha1', Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)))).update(counter).digest();
  return String((digest.readUInt32BE(digest.at(-1) & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

/** post asks the server something beside its pages, and wants it done unless it is to fail. */
async function post(url, body, headers = {}, wanted = true) {
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) });
  assert.equal(response.ok, wanted, `${url}: ${response.status} ${await response.text()}`);
}

/** calls run: name of the switch, number of the account, how many, with how many channels each. */
const calls = [
  ['east', 101, 37, 2], ['east', 104, 19, 1], ['east', 106, 23, 2], ['west', 108, 11, 1], ['west', 110, 30, 3], ['east', 114, 58, 3],
  ['west', 117, 9, 1], ['west', 119, 22, 1], ['east', 102, 4, 1], ['west', 134, 5, 2], ['west', 140, 13, 1], ['east', 141, 2, 1], ['east', 303, 21, 2],
];

async function callAll(server) {
  const authorization = `Bearer ${server.operator_token}`;
  const asked = calls.flatMap(([name, number, many, units]) => Array.from({ length: many }, (_, i) => ({
    kind: 'call', account_id: id(number), call_id: `${name}-${number}-${i}`, acquire: true, units, switch: name, strict: true,
  })));
  await Promise.all(asked.map((one) => post(`${server.url}/admission/v1/check`, one, { authorization })));
}

/** issuer answers as an OpenID provider, as far as the settings ask for one. */
async function issuer(t) {
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });
  const server = createServer((request, response) => {
    const at = `http://127.0.0.1:${server.address().port}`;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(request.url === '/keys' ? { keys: [{ ...key, kid: 'one', alg: 'RS256', use: 'sig' }] } : {
      issuer: at, authorization_endpoint: `${at}/authorize`, token_endpoint: `${at}/token`, jwks_uri: `${at}/keys`,
      response_types_supported: ['code'], subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['RS256'],
    }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

test('pictures', async (t) => {
  const server = await startDev(t, { seed: readFileSync(join(here, 'screenshots.yaml'), 'utf8') });
  shown.set(server.url, 'https://portal.example.com');
  const visitor = (options) => open(t, { baseURL: server.url, ...options });
  const see = async (page, name, path, more) => {
    await page.goto(path, { waitUntil: 'networkidle' });
    assert.equal(new URL(page.url()).pathname, path.split('?')[0], name);
    await shoot(page, name, more);
  };
  await callAll(server);

  // Who has signed in elsewhere, and who should not try any more.
  for (const email of ['ada@quillmoor.example', 'cleo@quillmoor.example', manager]) await post(`${server.url}/portal/session`, { email, password });
  for (let i = 0; i < 5; i++) {
    await post(`${server.url}/portal/session`, { email: 'owner@farrowgate.example', password: `guess ${i}` }, {}, false);
  }
  for (const userAgent of [
    'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1',
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0',
  ]) await signIn(await visitor({ userAgent }), manager);

  const out = await visitor();
  await see(out, 'sign-in', '/portal/sign-in');
  await see(out, 'single-sign-on-ask', '/portal/sso');
  await see(out, 'forgot-password', '/portal/forgot-password');
  await see(out, 'dead-link', '/portal/reset-password?token=over');
  await see(out, 'not-found', '/portal/nowhere');
  await out.goto('/portal/forgot-password');
  await out.getByLabel('Email address').fill(subUser);
  await press(out, 'Send the link');
  await shoot(out, 'forgot-password-sent');

  const page = await visitor();
  await signIn(page, manager);

  // What happens on a morning.
  const act = async (number, button, fill = {}) => {
    await page.goto(account(number));
    const form = page.locator('form', { has: page.getByRole('button', { name: button, exact: true }) });
    for (const [label, value] of Object.entries(fill)) await form.getByLabel(label, { exact: true }).fill(value);
    await press(page, button, form);
    await page.locator('.notice[role]').waitFor();
  };
  await act(132, 'Set', { 'Channel limit': '16' });
  await act(112, 'Disable the account', { Why: 'Shop has closed' });
  await act(133, 'Enable the account', { Why: 'Bill of March is paid' });
  await act(131, 'Disable the account', { Why: 'Unpaid since January' });
  for (const [email, groups] of [['gita@quillmoor.example', ['Support']], ['hauke@quillmoor.example', ['Account managers', 'Finance']], ['iris@quillmoor.example', []]]) {
    await page.goto('/portal/invitations');
    await page.getByLabel('Email address').fill(email);
    for (const group of groups) await page.getByLabel(group).check();
    await press(page, 'Send the invitation');
  }
  await page.goto('/portal/keys');
  await page.getByLabel('Name').fill('billing job');
  await page.getByLabel('Expires').selectOption('90 days');
  await press(page, 'Make the key');

  await see(page, 'overview', '/portal/');
  await see(page, 'accounts', '/portal/accounts');
  await see(page, 'account-new', '/portal/accounts/new');
  await see(page, 'account', account(106), 1.5);
  await press(page, 'Show the credentials');
  await shoot(page, 'credentials');
  await see(page, 'account-disabled', account(122), 1.2);
  await see(page, 'channels', '/portal/channels');
  await see(page, 'connections', '/portal/connections');
  await see(page, 'users', '/portal/users');
  await see(page, 'user', `/portal/users/${id(24)}`);
  await see(page, 'groups', '/portal/groups');
  await see(page, 'group', `/portal/groups/${id(201)}`);
  await see(page, 'invitations', '/portal/invitations');
  await see(page, 'audit-log', '/portal/audit');
  await see(page, 'sessions', '/portal/sessions');

  await page.goto('/portal/keys');
  await page.getByLabel('Name').fill('provisioning');
  await press(page, 'Make the key');
  await shoot(page, 'api-keys');

  const sub = await visitor();
  await signIn(sub, subUser);
  await see(sub, 'overview-sub-user', '/portal/');
  await see(sub, 'forbidden', '/portal/accounts');

  // Mails are sent beside the requests.
  await until('mails', async () => {
    await out.goto('/portal/mails');
    return (await out.locator('article').count()) === 4;
  });
  await see(out, 'mails', '/portal/mails');
  const link = (text) => out.locator('article', { hasText: text }).first().locator('a').first().getAttribute('href');
  const invitation = new URL(await link('hauke@quillmoor.example')), reset = new URL(await link(subUser));
  await see(out, 'invitation', invitation.pathname + invitation.search);
  await see(out, 'reset-password', reset.pathname + reset.search);

  // From here on, most people here sign in elsewhere.
  await page.goto('/portal/single-sign-on');
  const signInServer = await issuer(t);
  shown.set(signInServer, 'https://login.quillmoor.example');
  await page.getByLabel('Issuer').fill(signInServer);
  await page.getByLabel('Client id').fill('tenantry');
  await page.getByLabel('Client secret').fill('a secret for pictures');
  await page.getByLabel('Email domains').fill('quillmoor.example');
  await page.getByLabel('Passwords are for the owner').check();
  await press(page, 'Save');
  await page.locator('.notice[role]').waitFor();
  await page.goto('/portal/single-sign-on');
  await page.getByLabel('Issuer').fill(shown.get(signInServer));
  await shoot(page, 'single-sign-on');
  await see(page, 'single-sign-on-first', `/portal/sso/start/${id(1)}`);

  await page.goto('/portal/accounts/disable');
  await page.getByLabel('Ids or email addresses').fill(['reception@pellow.example', 'control@foxlantern.example', 'taps@cinderfold.example', 'office@tallowgate.example', 'workshop@umberlow.example', 'depot@marrowby.example', 'nobody@example.com'].join('\n'));
  await shoot(page, 'bulk');
  await press(page, 'Preview');
  await page.getByLabel('Why').fill('Overdue since January');
  await shoot(page, 'bulk-preview');
  await press(page, /^Disable/);
  await shoot(page, 'bulk-done');

  await see(page, 'profile', '/portal/profile');
  await press(page, 'Set it up');
  await shoot(page, 'profile-code', 1.1);
  const secret = await page.locator('.secret').innerText();
  await page.getByLabel('Code that it shows now').fill(code(secret));
  await press(page, 'Switch it on');
  await shoot(page, 'recovery-codes');

  await page.goto(account(106));
  const form = page.locator('form', { has: page.getByRole('button', { name: `Sign in as ${managed}` }) });
  await form.getByLabel('Why').fill('Sets up their new front desk');
  await press(page, `Sign in as ${managed}`, form);
  await shoot(page, 'acting');

  const second = await visitor();
  await signIn(second, manager);
  await shoot(second, 'second-factor');

  const op = await visitor();
  await see(op, 'operator-sign-in', '/portal/operator/sign-in');
  await op.getByLabel('Operator token').fill(server.operator_token);
  await press(op, 'Sign in');
  await see(op, 'operator', '/portal/operator');
  await see(op, 'operator-accounts', '/portal/operator/accounts');
  await see(op, 'operator-account-new', '/portal/operator/accounts/new');
  await see(op, 'operator-account', `/portal/operator/accounts/${id(1)}`, 1.3);
  await see(op, 'operator-users', `/portal/operator/accounts/${id(1)}/users`);
  await see(op, 'operator-audit-log', `/portal/operator/accounts/${id(1)}/audit`);
});
