// The operator's pages.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { open, operator, startDev, until } from './support.mjs';
import { enter, enterOperator, follow, go, heading, menu, newAccount, newManager, newOrganization, newUser, noted, noteOf, password, press, row, said, signIn, thrownOut, warned } from './flow.mjs';

const server = await startDev({ after });
const region = (page, name) => page.getByRole('region', { name, exact: true });
const section = (page, name) => page.getByRole('main').locator('section').filter({ has: page.getByRole('heading', { name, exact: true }) });
const figure = (page, name) => page.locator('dl > div').filter({ hasText: name }).getByRole('definition').innerText();

test('the operator signs in with the token', async (t) => {
  const page = await open(t, { baseURL: server.url });
  await page.goto('/portal/sign-in');
  await page.getByRole('link', { name: 'Operator' }).click();
  server.allow(/refused as the operator/);
  await page.getByLabel('Operator token').fill('a wrong token');
  await press(page, 'Sign in');
  await page.getByText("That is not the operator's token.").waitFor();
  await page.goto('/portal/operator/accounts?q=reseller');
  await heading(page, 'Operator');
  await page.getByLabel('Operator token').fill(server.operator_token);
  await press(page, 'Sign in');
  await heading(page, 'Accounts');
  assert.equal(page.url(), `${server.url}/portal/operator/accounts?q=reseller`);
  await row(page, 'Example Reseller').waitFor();
  assert.deepEqual(await menu(page), ['Overview', 'Accounts']);

  // The operator is no account's user, and an account's user is no operator.
  await page.goto('/portal/accounts');
  await heading(page, 'Sign in');
  await signIn(page, server.manager_email);
  await heading(page, 'Accounts');
  await page.goto('/portal/operator');
  await heading(page, 'What needs attention'); // both at once, in one browser
  await press(page, 'Sign out');
  await heading(page, 'Operator');
  await page.goto('/portal/operator');
  await heading(page, 'Operator');
  await page.goto('/portal/accounts');
  await heading(page, 'Accounts');

  const [one, two] = await Promise.all([enterOperator(t, server), enterOperator(t, server)]);
  await press(one, 'End all operator sessions');
  await said(one, 'All sessions of the operator have ended.');
  await go(two, 'Accounts');
  await heading(two, 'Operator');
  await warned(two, 'The session was ended. Sign in again.');
});

test('the front page shows what needs attention', async (t) => {
  const page = await enterOperator(t, server);
  await said(page, 'Nothing is wrong just now.');
  const scarce = await newManager(server, { name: 'Scarce Ltd', pool: 20 });
  const customer = await newAccount(server, scarce);
  await scarce.client.managedAccounts.updateGlobalChannelLimit(customer.id, { channel_limit: 19 });
  const poor = await newOrganization(server, { name: 'Poor Ltd', balance: '0.00' });
  await operator(server, 'PATCH', `/accounts/${poor.id}`, { balance: '-7.25' });
  const bad = await newOrganization(server, { name: 'Bad Ltd' });
  await operator(server, 'POST', `/accounts/${bad.id}/actions/block`);
  const stranger = await open(t, { baseURL: server.url });
  for (let i = 0; i < 5; i++) await signIn(stranger, 'stranger@example.com', 'wrong password');
  await go(page, 'Overview');
  assert.equal(await page.getByText('Nothing is wrong').count(), 0);
  assert.match(await row(region(page, 'Pools nearly handed out'), 'Scarce Ltd').innerText(), /19\s+20/);
  assert.match(await row(region(page, 'Overdrawn accounts'), 'Poor Ltd').innerText(), /−7\.25/);
  await row(region(page, 'Blocked accounts'), 'Bad Ltd').waitFor();
  await row(region(page, 'Root accounts that are no managers'), poor.email).waitFor();
  assert.deepEqual(await Promise.all(['Pools nearly', 'Overdrawn', 'Blocked', 'Locked out'].map((name) => figure(page, name))), ['1', '1', '1', '1']);
  await region(page, 'Overdrawn accounts').getByRole('link', { name: 'Poor Ltd' }).click();
  await heading(page, 'Poor Ltd', {});
});

test('an account is made, becomes a manager, gets credit, is blocked and cancelled', async (t) => {
  const page = await enterOperator(t, server);
  await go(page, 'Accounts');
  await page.getByRole('link', { name: 'New account' }).click();
  await page.getByLabel('Business name').fill('Newcomer');
  await page.getByLabel('Email address of the owner').fill('manager@example.com');
  await page.getByLabel('Password').fill('short');
  await press(page, 'Create the account');
  assert.equal(await page.getByRole('textbox').and(page.locator('[aria-invalid=true]')).count(), 1);
  await page.getByLabel('Email address of the owner').fill('boss@newcomer.example');
  await page.getByLabel('Password').fill(password);
  await press(page, 'Create the account');
  await said(page, 'Newcomer is created.');
  const { data: [newcomer] } = await (await fetch(`${server.operator_url}/accounts?filter[email][eq]=boss@newcomer.example`, { headers: { authorization: `Bearer ${server.operator_token}` } })).json();
  assert.equal((await noted(server, newcomer, 'account.created')).change_made_by, 'telnyx');
  const owner = await enter(t, server, 'boss@newcomer.example');
  assert.ok(!(await menu(owner)).includes('Accounts'));

  // A manager, with a pool.
  await page.getByLabel('Channel pool').evaluate((input) => (input.type = 'text'));
  await page.getByLabel('Channel pool').fill('lots');
  await press(page, 'Approve as manager');
  await page.getByText('Must be a whole number.').waitFor();
  await page.getByLabel('Channel pool').fill('2500');
  await press(page, 'Approve as manager');
  await said(page, /an approved manager with a pool of 2.500 channels/);
  await go(owner, 'API keys');
  assert.ok((await menu(owner)).includes('Accounts'));
  await follow(page, () => page.getByRole('link', { name: 'Its accounts' }).click());
  await heading(page, 'Accounts of Newcomer');
  await page.getByText('No account matches.').waitFor();
  await follow(page, () => page.getByRole('link', { name: 'The manager' }).click());

  // Balance and credit.
  const balance = section(page, 'Balance');
  await balance.getByLabel('Balance').fill('12.345');
  await press(page, 'Set', balance);
  assert.equal(await balance.getByLabel('Balance').getAttribute('aria-invalid'), 'true');
  await balance.getByLabel('Balance').fill('12.30');
  await balance.getByLabel('Credit limit').fill('-1');
  await press(page, 'Set', balance);
  assert.equal(await balance.getByLabel('Credit limit').getAttribute('aria-invalid'), 'true');
  await balance.getByLabel('Credit limit').fill('100');
  await press(page, 'Set', balance);
  await said(page, 'Balance and credit limit are set.');
  await balance.getByText('112.30 USD are available.').waitFor();
  await go(owner, 'Overview');
  assert.equal(await figure(owner, 'Credit limit'), '100.00 USD');

  // Blocked: its people are out, until it is blocked no longer.
  await press(page, 'Block the account');
  await said(page, 'The account is blocked, and all that it manages.');
  await page.getByText(/^It cannot use services: .*operator.*\.$/).waitFor();
  await go(owner, 'Accounts');
  await thrownOut(owner, 'The account is blocked. Contact the operator.');
  await press(page, 'Unblock the account');
  await said(page, 'The account is blocked no longer.');
  await signIn(owner, 'boss@newcomer.example');
  await heading(owner, 'Accounts');
  await press(page, 'Take the approval back');
  await said(page, 'The account may not manage others any more.');
  await go(owner, 'Accounts');
  await heading(owner, 'Forbidden');

  // The log of all that.
  await follow(page, () => page.getByRole('link', { name: 'Audit log' }).click());
  await heading(page, 'Audit log of Newcomer');
  for (const [event, by] of Object.entries({ 'account: created': 'operator', 'manager: approved': 'operator', 'account: blocked': 'operator', 'organization user: signed in': 'account owner' })) {
    await row(page, event).filter({ hasText: by }).first().waitFor();
  }
  await page.getByLabel('Event').selectOption({ label: 'account: credit updated' });
  await until('entry alone', async () => (await page.getByRole('row').count()) === 2);
  await page.getByRole('textbox', { name: 'From (UTC)' }).fill('2020-01-01');
  await page.getByRole('textbox', { name: 'To (UTC)' }).fill('2020-01-02');
  await press(page, 'Filter');
  await page.getByText('Nothing matches, or nothing has happened yet.').waitFor();
  await follow(page, () => page.getByRole('link', { name: 'The account' }).click());

  // Cancelled only by who types the address.
  const cancel = section(page, 'Cancel');
  await cancel.getByLabel('Type its email address').fill('boss@newcomer');
  await press(page, 'Cancel the account');
  await page.getByText("Type the account's email address to cancel it.").waitFor();
  assert.equal((await operator(server, 'GET', `/accounts/${newcomer.id}`)).status, 'enabled');
  await cancel.getByLabel('Type its email address').fill('boss@newcomer.example');
  await press(page, 'Cancel the account');
  await said(page, 'The account is cancelled.');
  assert.equal((await operator(server, 'GET', `/accounts/${newcomer.id}`)).status, 'cancelled');
  assert.equal(await page.getByRole('button', { name: /Block|Cancel|Approve|Set/ }).count(), 0);
  await follow(owner, () => owner.getByRole('link', { name: 'To the overview' }).click());
  await heading(owner, 'Sign in');
  assert.equal(noteOf(await noted(server, newcomer, 'account.cancelled'), 'cancelled').to, true);
});

test('users of any account are found', async (t) => {
  const organization = await newOrganization(server);
  const [one, two] = [await newUser(server, organization), await newUser(server, organization)];
  const page = await enterOperator(t, server);
  await page.goto(`/portal/operator/accounts?q=${organization.id}`);
  await heading(page, organization.name, {});
  await follow(page, () => page.getByRole('link', { name: 'Users' }).click());
  await heading(page, `Users of ${organization.name}`);
  await press(page, `Block ${one.email}`);
  await said(page, 'The user is blocked.');
  await follow(page, () => page.getByLabel('Status').selectOption('blocked'));
  await row(page, one.email).waitFor();
  assert.equal(await row(page, two.email).count(), 0);
  assert.equal((await noted(server, organization, 'organization_user.blocked')).resource_id, one.id);
  assert.equal((await page.goto('/portal/operator/accounts/00000000-0000-4000-8000-000000000000/users')).status(), 404);
});
