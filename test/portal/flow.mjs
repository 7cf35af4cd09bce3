// What the flows share: organizations of a test's own, and what a person does first.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import Telnyx from 'telnyx';
import { open, operator } from './support.mjs';

/** password is that of everybody in the seed of "tenantry dev". */
export const password = 'tenantry-dev-password';

let last = 0;
/** unique is a text that no other call returns. */
export const unique = (word) => `${word}-${++last}`;

/** connect is the vendor's SDK, unmodified, for a server of ours. */
export const connect = (server, apiKey) => new Telnyx({ apiKey, baseURL: server.base_url, maxRetries: 0 });

/** follow does what leads to another page, or to this one anew, and waits for that. */
export async function follow(page, act) {
  await Promise.all([page.waitForEvent('domcontentloaded'), act()]);
}

/** press is a click on a button that sends a form. */
export const press = (page, name, within = page) => follow(page, () => within.getByRole('button', { name, exact: true }).click());

/** signIn fills in the form; what comes next is the test's to wait for. */
export async function signIn(page, email, word = password) {
  if (!new URL(page.url(), 'http://nowhere').pathname.endsWith('/portal/sign-in')) await page.goto('/portal/sign-in');
  await page.getByLabel('Email address').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(word);
  await press(page, 'Sign in');
}

/** enter is a page of a browser in which somebody has signed in. */
export async function enter(t, server, email, word = password, options = {}) {
  const page = await open(t, { baseURL: server.url, ...options });
  await signIn(page, email, word);
  await page.getByRole('button', { name: 'Sign out' }).waitFor();
  return page;
}

/** enterOperator is the same for the operator. */
export async function enterOperator(t, server, options = {}) {
  const page = await open(t, { baseURL: server.url, ...options });
  await page.goto('/portal/operator/sign-in');
  await page.getByLabel('Operator token').fill(server.operator_token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'What needs attention' }).waitFor();
  return page;
}

/** go is a click in the menu. */
export async function go(page, name) {
  await follow(page, () => page.getByRole('navigation', { name: 'Pages', exact: true }).getByRole('link', { name, exact: true }).click());
}

/** menu is what the menu offers. */
export const menu = (page) => page.getByRole('navigation', { name: 'Pages', exact: true }).getByRole('link').allInnerTexts();

/** heading waits for the page with that title. */
export const heading = (page, name, options = { exact: true }) => page.getByRole('heading', { name, level: 1, ...options }).waitFor();

/** said waits for the line at the top of a page that says what was done, or that something is wrong. */
export const said = (page, text) => page.getByRole('status').filter({ hasText: text }).first().waitFor();
export const warned = (page, text) => page.getByRole('alert').filter({ hasText: text }).first().waitFor();

/** thrownOut asserts that the page is where one signs in, and says why. */
export async function thrownOut(page, why) {
  await heading(page, 'Sign in');
  await warned(page, why);
  assert.equal(await page.getByRole('button', { name: 'Sign out' }).count(), 0);
}

/** row is the line of a table that has a text in it. */
export const row = (page, text) => page.getByRole('row').filter({ hasText: text });

/** newOrganization is a root account of the test's own. Its password is the usual one. */
export async function newOrganization(server, { name = unique('Organization'), email = `${unique('root')}@example.com`, ...more } = {}) {
  const account = await operator(server, 'POST', '/accounts', { business_name: name, email, password, ...more });
  return { id: account.id, name, email, key: account.api_key, client: connect(server, account.api_key) };
}

/** newManager is one that may manage accounts. */
export async function newManager(server, { pool = 1000, ...more } = {}) {
  const organization = await newOrganization(server, more);
  await operator(server, 'POST', `/accounts/${organization.id}/actions/approve_manager`, { channel_pool: pool });
  return organization;
}

/** newAccount is one that a manager made with the SDK. */
export async function newAccount(server, manager, { name = unique('Account'), email = `${unique('account')}@example.com`, ...more } = {}) {
  const { data } = await manager.client.managedAccounts.create({ business_name: name, email, password, ...more });
  return { id: data.id, name, email, key: data.api_key, client: connect(server, data.api_key) };
}

/** newGroup is a group of an organization. */
export const newGroup = (server, organization, name, ...permissions) =>
  operator(server, 'POST', `/accounts/${organization.id}/groups`, { name, permissions });

/** newUser is a sub-user of an organization, in groups. */
export async function newUser(server, organization, { email = `${unique('user')}@example.com`, groups = [], ...more } = {}) {
  const user = await operator(server, 'POST', `/accounts/${organization.id}/users`, { email, password, group_ids: groups.map(({ id }) => id), ...more });
  return { id: user.id, email, key: user.api_key, client: connect(server, user.api_key) };
}

/** audit is the newest of an organization's audit log, as the operator is told it. */
export const audit = (server, { id }, size = 100) => operator(server, 'GET', `/audit_events?account_id=${id}&page[size]=${size}`);

/** noted is the newest entry of a kind in the audit log. */
export async function noted(server, organization, event) {
  const entries = await audit(server, organization);
  return entries.find(({ change_type }) => change_type === event) ?? assert.fail(`${event} is not among ${entries.map(({ change_type }) => change_type)}`);
}

/** noteOf is what an entry says of a field. */
export const noteOf = (entry, field) => (entry.changes ?? []).find((change) => change.field === field);

/** parseCSV reads RFC 4180, so that no test trusts the quoting of its own side. */
export function parseCSV(text) {
  const rows = [[]];
  let cell = '', quoted = false;
  const end = () => {
    rows.at(-1).push(cell);
    cell = '';
  };
  for (let i = 0; i < text.length; i++) {
    if (quoted) {
      if (text[i] !== '"') cell += text[i];
      else if (text[i + 1] === '"') cell += text[i++];
      else quoted = false;
    } else if (text[i] === '"') {
      assert.equal(cell, '', 'a quote inside a bare cell');
      quoted = true;
    } else if (text[i] === ',') end();
    else if (text[i] === '\n') {
      end();
      rows.push([]);
    } else cell += text[i];
  }
  assert.equal(quoted, false, 'an open quote');
  end();
  return rows;
}

/**
 * authenticator shows the codes of a secret, each once. The server takes those of the
 * step of 30 seconds before and after, so two are good without waiting.
 */
export function authenticator(secret) {
  let bits = '', last = 0;
  for (const letter of secret.replaceAll(' ', '')) bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  return () => {
    last = Math.max(last + 1, Math.floor(Date.now() / 30_000));
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64BE(BigInt(last));
    const digest = createHmac('sha1', key).update(counter).digest();
    return String((digest.readUInt32BE(digest[19] & 15) & 0x7fffffff) % 1e6).padStart(6, '0');
  };
}
