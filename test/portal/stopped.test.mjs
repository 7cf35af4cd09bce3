// Whoever may not use services any more is out at the next click, and is told why.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { operator, startDev } from './support.mjs';
import { audit, enter, enterOperator, go, heading, menu, newAccount, newGroup, newManager, newUser, noted, noteOf, row, said, signIn, thrownOut, warned } from './flow.mjs';

const server = await startDev({ after });
const manager = await newManager(server);

/** peopled is a managed account with an owner and a sub-user who sees more than nothing. */
async function peopled() {
  const account = await newAccount(server, manager);
  const group = await newGroup(server, account, 'Everything', 'account', 'connections', 'organization');
  return { account, user: await newUser(server, account, { groups: [group] }) };
}

const disabled = 'The account is inactive: it was disabled by its manager.';
const blocked = 'The account is blocked. Contact the operator.';

test('a manager disables an account with the SDK while its people are at work', async (t) => {
  const { account, user } = await peopled();
  const [owner, sub, at, other] = await Promise.all([
    enter(t, server, account.email), enter(t, server, user.email), enter(t, server, user.email), enter(t, server, manager.email),
  ]);
  await go(sub, 'Users');
  await heading(sub, 'Users');
  await go(at, 'Groups');
  await heading(at, 'Groups');
  await at.getByLabel('Name', { exact: true }).fill('Made too late');

  const { data } = await manager.client.managedAccounts.actions.disable(account.id);
  assert.equal(data.id, account.id);

  await go(owner, 'API keys');
  await thrownOut(owner, disabled);
  assert.equal(new URL(owner.url()).searchParams.get('next'), '/portal/keys');
  await sub.getByRole('link', { name: account.email }).click();
  await thrownOut(sub, disabled);
  await at.getByRole('button', { name: 'Make the group' }).click();
  await thrownOut(at, disabled);
  assert.equal((await audit(server, account)).some(({ change_type, changes }) => change_type === 'group.created' && JSON.stringify(changes).includes('Made too late')), false);

  // The reason is told once, and no longer where the session is gone for good.
  await sub.goto('/portal/');
  await heading(sub, 'Sign in');
  assert.equal(await sub.getByRole('alert').count(), 0);

  // Nobody of it can sign in, and who knows the password is told why; the manager goes on.
  await signIn(sub, user.email);
  await warned(sub, disabled);
  await signIn(owner, account.email);
  await warned(owner, disabled);
  await go(other, 'Accounts');
  await heading(other, 'Accounts');
  assert.match(await row(other, account.email).innerText(), /disabled/);

  await manager.client.managedAccounts.actions.enable(account.id);
  await signIn(owner, account.email);
  await heading(owner, 'API keys'); // where the owner was going
  await signIn(sub, user.email);
  await heading(sub, account.name);
  assert.ok((await menu(sub)).includes('Users'));
  const entry = await noted(server, account, 'organization_user.signed_in');
  assert.equal(entry.user_id, user.id);
});

test('a session that was open before does not come back when the account is enabled', async (t) => {
  const { account, user } = await peopled();
  const page = await enter(t, server, user.email);
  await manager.client.managedAccounts.actions.disable(account.id);
  await manager.client.managedAccounts.actions.enable(account.id);
  await go(page, 'API keys');
  await thrownOut(page, 'The session was ended. Sign in again.');
  await signIn(page, user.email);
  await heading(page, 'API keys');
});

test('a manager disables an account in the portal with a reason', async (t) => {
  const { account, user } = await peopled();
  const [sub, page] = await Promise.all([enter(t, server, user.email), enter(t, server, manager.email)]);
  await go(page, 'Accounts');
  await page.getByRole('link', { name: account.email }).click();
  const form = page.getByRole('main').locator('section').filter({ has: page.getByRole('heading', { name: 'Disable' }) });
  await form.getByLabel('Why').fill('Unpaid since May');
  await form.getByRole('button', { name: 'Disable the account' }).click();
  await said(page, `${account.name} is disabled`);
  await go(sub, 'Connections');
  await thrownOut(sub, disabled);
  const entry = await noted(server, account, 'managed_account.disabled');
  assert.equal(entry.change_made_by, 'account_manager');
  assert.deepEqual(noteOf(entry, 'reason')?.to, 'Unpaid since May');
});

test('the operator blocks a manager by the API: all its people are out, and those of its accounts', async (t) => {
  const mine = await newManager(server);
  const account = await newAccount(server, mine);
  const group = await newGroup(server, mine, 'Managers', 'managed_accounts');
  const user = await newUser(server, mine, { groups: [group] });
  const [owner, sub, below] = await Promise.all([enter(t, server, mine.email), enter(t, server, user.email), enter(t, server, account.email)]);
  await go(sub, 'Channels');
  await heading(sub, 'Channels');
  await operator(server, 'POST', `/accounts/${mine.id}/actions/block`);
  await go(owner, 'Accounts');
  await thrownOut(owner, blocked);
  await go(sub, 'Accounts');
  await thrownOut(sub, blocked);
  await go(below, 'Profile');
  await thrownOut(below, blocked);
  await signIn(below, account.email);
  await warned(below, blocked);
  await operator(server, 'POST', `/accounts/${mine.id}/actions/unblock`);
  for (const [page, email] of [[owner, mine.email], [sub, user.email], [below, account.email]]) {
    await signIn(page, email);
    await page.getByRole('button', { name: 'Sign out' }).waitFor();
  }
});

test('the operator blocks one user in the portal: the others go on', async (t) => {
  const { account, user } = await peopled();
  const [owner, sub, page] = await Promise.all([enter(t, server, account.email), enter(t, server, user.email), enterOperator(t, server)]);
  await page.goto(`/portal/operator/accounts/${account.id}`);
  await page.getByRole('link', { name: 'Users' }).click();
  await page.getByRole('button', { name: `Block ${user.email}` }).click();
  await said(page, 'The user is blocked.');
  await go(sub, 'Profile');
  await thrownOut(sub, 'The user is blocked. Contact the operator.');
  await signIn(sub, user.email);
  await warned(sub, 'The user is blocked. Contact the operator.');
  await go(owner, 'Users');
  assert.match(await row(owner, user.email).innerText(), /blocked/);
  await page.getByRole('button', { name: `Unblock ${user.email}` }).click();
  await said(page, 'The user is blocked no longer.');
  await signIn(sub, user.email);
  await sub.getByRole('button', { name: 'Sign out' }).waitFor();
});

test('a cancelled account is gone, for whoever was in it', async (t) => {
  const { account, user } = await peopled();
  const sub = await enter(t, server, user.email);
  await operator(server, 'POST', `/accounts/${account.id}/actions/cancel`);
  await go(sub, 'Users');
  await thrownOut(sub, 'Your session is over. Sign in again.');
  await signIn(sub, user.email);
  await sub.getByText('Email address or password is wrong.').waitFor();
});
