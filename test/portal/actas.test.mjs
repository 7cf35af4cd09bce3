// A manager signs in as the owner of an account, and stays the one who did it.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { allow, operator, startDev } from './support.mjs';
import { audit, enter, go, heading, menu, newAccount, newGroup, newManager, newUser, noted, noteOf, password, press, row, said, signIn, warned } from './flow.mjs';

const server = await startDev({ after });
const manager = await newManager(server, { name: 'Wholesale' });

/** actAs signs in as the owner, from the account's page. */
async function actAs(page, account, reason = 'Help with keys', time = '1 hour') {
  await page.goto(`/portal/accounts/${account.id}`);
  const part = page.getByRole('main').locator('section').filter({ has: page.getByRole('heading', { name: 'Sign in as the owner' }) });
  await part.getByLabel('Why').fill(reason);
  await part.getByLabel('For').selectOption({ label: time });
  await press(page, `Sign in as ${account.email}`);
}

const banner = (page, account) => page.getByRole('status').filter({ hasText: `You act as ${account.name}.` });

test('a manager acts for an account, and leaves it', async (t) => {
  const account = await newAccount(server, manager, { name: 'Corner Shop' });
  const helper = await newUser(server, manager, { groups: [await newGroup(server, manager, 'Support', 'managed_accounts')] });
  const page = await enter(t, server, helper.email);
  await page.goto(`/portal/accounts/${account.id}`);
  const part = page.getByRole('main').locator('section').filter({ has: page.getByRole('heading', { name: 'Sign in as the owner' }) });
  await part.getByLabel('Why').evaluate((input) => input.removeAttribute('required'));
  await press(page, `Sign in as ${account.email}`);
  assert.equal(await part.getByLabel('Why').getAttribute('aria-invalid'), 'true', 'a reason is needed');
  await actAs(page, account, 'Help with <b>keys</b>', '15 minutes');
  await heading(page, account.name);
  const text = await banner(page, account).innerText();
  assert.ok(text.includes(`Signed in as ${account.email} by ${helper.email}, because: Help with <b>keys</b>. Until `), text);
  const until = Date.parse(await banner(page, account).getByRole('time').getAttribute('datetime'));
  assert.ok(Math.abs(until - Date.now() - 15 * 60_000) < 120_000, new Date(until));
  const begun = await noted(server, account, 'managed_account.signed_in_as');
  assert.equal(begun.user_id, helper.id);
  assert.equal(begun.change_made_by, 'account_manager');
  assert.equal(noteOf(begun, 'reason').to, 'Help with <b>keys</b>');
  await noted(server, manager, 'managed_account.signed_in_as');

  allow(page, /status of 403/); // of the changes that are tried below

  // What is the person's own is out of reach; what is the account's is not.
  assert.deepEqual(await menu(page), ['Overview', 'Connections', 'Users', 'Groups', 'Invitations', 'Audit log', 'API keys']);
  assert.equal(await page.getByText('second factor').count(), 0);
  for (const path of ['profile', 'sessions', 'single-sign-on', 'accounts', 'channels']) {
    assert.equal((await page.goto(`/portal/${path}`)).status(), 403, path);
    await heading(page, 'Forbidden');
    await banner(page, account).waitFor();
  }
  for (const path of ['profile/password', 'profile/second-factor', 'sessions/end-all']) {
    const status = await page.evaluate(async (path) => (await fetch(path, { method: 'POST', body: new URLSearchParams({ old_password: 'x', password: 'y', repeated: 'y' }) })).status, `/portal/${path}`)
      .catch((error) => error.message);
    assert.equal(status, 403, path);
  }
  await page.goto('/portal/');
  await go(page, 'Groups');
  await page.getByLabel('Name', { exact: true }).fill('Made by the manager');
  await page.getByLabel('reporting', { exact: true }).check();
  await press(page, 'Make the group');
  await said(page, 'The group Made by the manager is made.');
  const made = await noted(server, account, 'group.created');
  assert.equal(made.change_made_by, 'account_manager');
  assert.equal(made.user_id, helper.id);
  await go(page, 'Audit log');
  assert.match(await row(page, 'group: created').innerText(), /account manager/);

  // Leaving leads back to where the manager was, and the session there is over.
  const cookies = await page.context().cookies();
  await press(page, 'Leave the account');
  await said(page, 'You act for Corner Shop no longer.');
  await heading(page, 'Corner Shop', {});
  assert.equal(page.url(), `${server.url}/portal/accounts/${account.id}`);
  assert.equal(await banner(page, account).count(), 0);
  await go(page, 'Profile');
  await page.getByText(helper.email).first().waitFor();
  await page.context().addCookies(cookies);
  await page.goto('/portal/');
  await warned(page, 'You act for the other account no longer. The session was ended.');
  await heading(page, 'Wholesale');
});

test('signing out while acting ends both', async (t) => {
  const account = await newAccount(server, manager);
  const page = await enter(t, server, manager.email);
  await actAs(page, account);
  await heading(page, account.name);
  await press(page, 'Sign out');
  await said(page, 'You are signed out.');
  await page.goto('/portal/');
  await heading(page, 'Sign in');
});

test('it is over when the account is disabled, the manager goes on', async (t) => {
  const account = await newAccount(server, manager);
  const page = await enter(t, server, manager.email);
  await actAs(page, account);
  await banner(page, account).waitFor();
  await go(page, 'API keys');
  await heading(page, 'API keys');
  await manager.client.managedAccounts.actions.disable(account.id);
  await go(page, 'Users');
  await warned(page, 'You act for the other account no longer. The account is inactive: it was disabled by its manager.');
  await heading(page, 'Wholesale');
  assert.ok((await menu(page)).includes('Accounts'));
  await page.goto(`/portal/accounts/${account.id}`);
  assert.equal(await page.getByRole('button', { name: `Sign in as ${account.email}` }).count(), 0);
});

test('it is over when the person may not manage accounts any more', async (t) => {
  const account = await newAccount(server, manager);
  const group = await newGroup(server, manager, 'Helpers', 'managed_accounts');
  const helper = await newUser(server, manager, { groups: [group] });
  const page = await enter(t, server, helper.email);
  await actAs(page, account);
  await banner(page, account).waitFor();
  await operator(server, 'DELETE', `/accounts/${manager.id}/groups/${group.id}/users/${helper.id}`);
  await go(page, 'Users');
  await warned(page, 'You act for the other account no longer. You may not act for this account any more.');
  await heading(page, 'Wholesale');
  assert.ok(!(await menu(page)).includes('Accounts'));
  assert.equal((await page.goto(`/portal/accounts/${account.id}`)).status(), 403);
});

test('the account sees who was there; its people are not disturbed', async (t) => {
  const account = await newAccount(server, manager);
  const [page, owner] = await Promise.all([enter(t, server, manager.email), enter(t, server, account.email)]);
  await actAs(page, account, 'Looking for a bug');
  await banner(page, account).waitFor();
  await go(owner, 'Sessions');
  const line = row(owner, 'your manager: Looking for a bug');
  await line.waitFor();
  await go(owner, 'Audit log');
  await row(owner, 'managed account: signed in as').getByText('Looking for a bug').waitFor();
  await go(owner, 'Sessions');
  await press(owner, /^End the session/, line);
  await said(owner, 'That session has ended.');
  await go(page, 'Users');
  await warned(page, 'You act for the other account no longer.');
  await press(page, 'Sign out');
  await signIn(page, account.email, password);
  await heading(page, account.name);
  assert.ok((await audit(server, account)).length > 2);
});
