// Signing in and out with a password, and what helps who has lost it.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { open, startDev, until } from './support.mjs';
import { audit, enter, follow, go, heading, menu, newAccount, newManager, newOrganization, newUser, noted, noteOf, password, press, row, said, signIn, thrownOut } from './flow.mjs';

const server = await startDev({ after });
const organization = await newOrganization(server);
const wrong = 'Email address or password is wrong.';
const many = 'Too many tries. Wait a little.';
const another = 'another long password';

test('a wrong password, the right one, and the page that was asked for', async (t) => {
  const page = await open(t, { baseURL: server.url });
  await page.goto('/portal/audit?event=api_key.created');
  await heading(page, 'Sign in');
  assert.equal(await page.getByRole('alert').count(), 0);
  await signIn(page, organization.email, 'a wrong password');
  await page.getByText(wrong).waitFor();
  assert.equal(await page.getByLabel('Email address').inputValue(), organization.email);
  assert.equal(await page.getByLabel('Password', { exact: true }).inputValue(), '');
  await signIn(page, `nobody-${organization.email}`, password);
  await page.getByText(wrong).waitFor(); // the same, whether anybody has the address
  await signIn(page, organization.email.toUpperCase());
  await heading(page, 'Audit log');
  assert.equal(page.url(), `${server.url}/portal/audit?event=api_key.created`);
  assert.equal((await noted(server, organization, 'organization_user.signed_in')).user_id, organization.id);
  assert.deepEqual(await menu(page), [
    'Overview', 'Connections', 'Users', 'Groups', 'Invitations', 'Single sign-on', 'Audit log', 'API keys', 'Sessions', 'Profile',
  ]);

  // Cookies are out of the reach of scripts and of other hosts.
  for (const cookie of await page.context().cookies()) {
    assert.ok(cookie.name.startsWith('__Host-') && cookie.httpOnly && cookie.secure && cookie.sameSite === 'Lax' && cookie.path === '/', JSON.stringify(cookie));
  }
  await press(page, 'Sign out');
  await said(page, 'You are signed out.');
  await page.goBack();
  await heading(page, 'Sign in');
  for (const next of ['https://example.com/', '//example.com/portal/', '/portal/../v2/balance', '/\\example.com/portal/', 'javascript:alert(1)', '/operator/v1/accounts']) {
    await page.goto(`/portal/sign-in?next=${encodeURIComponent(next)}`);
    assert.equal(await page.locator('input[name=next]').inputValue(), '/portal/', next);
  }
  await signIn(page, organization.email);
  await heading(page, organization.name);
  assert.equal(page.url(), `${server.url}/portal/`);
});

test('signing out everywhere ends what is open in another browser', async (t) => {
  const user = await newUser(server, organization);
  const phone = { userAgent: 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1' };
  const [page, other, third] = await Promise.all([enter(t, server, user.email), enter(t, server, user.email, password, phone), enter(t, server, user.email)]);
  await go(page, 'Sessions');
  await row(page, 'Safari on iPhone').waitFor();
  assert.equal(await page.getByRole('row').filter({ hasText: 'this one' }).count(), 1);
  assert.match(await row(page, 'this one').innerText(), /Chrome on Linux.*127\.0\.0\.1/s);
  await press(page, /^End the session on Safari on iPhone/);
  await said(page, 'That session has ended.');
  assert.equal(await row(page, 'Safari on iPhone').count(), 0);
  await noted(server, organization, 'organization_user.session_ended');
  await go(other, 'Profile');
  await thrownOut(other, 'The session was ended. Sign in again.');
  await go(third, 'Profile');
  await heading(third, 'Profile');

  await press(page, 'Sign out everywhere');
  await said(page, 'You are signed out everywhere.');
  await go(third, 'API keys');
  await thrownOut(third, 'The session was ended. Sign in again.');
  await noted(server, organization, 'organization_user.signed_out_everywhere');
  await signIn(third, user.email);
  await heading(third, 'API keys');
});

test('five failures lock, whoever it was; a new password by mail opens', async (t) => {
  const user = await newUser(server, organization);
  const page = await open(t, { baseURL: server.url });
  for (let i = 0; i < 4; i++) {
    await signIn(page, user.email, `wrong password ${i}`);
    await page.getByText(wrong).waitFor();
  }
  await signIn(page, user.email, 'wrong password 4');
  await page.getByText(many).or(page.getByText(wrong)).waitFor();
  await signIn(page, user.email);
  await page.getByText(many).waitFor();
  const locked = await noted(server, organization, 'organization_user.locked');
  assert.equal(locked.resource_id, user.id);
  const stranger = 'nobody-at-all@example.com';
  for (let i = 0; i < 5; i++) await signIn(page, stranger, `wrong password ${i}`);
  await signIn(page, stranger, 'wrong password');
  await page.getByText(many).waitFor();
  await signIn(page, organization.email); // others are not locked
  await heading(page, organization.name);
  await press(page, 'Sign out');

  await page.getByRole('link', { name: 'Forgot your password?' }).click();
  await page.getByLabel('Email address').fill(user.email);
  await press(page, 'Send the link');
  await heading(page, 'Look into your mail');
  await page.getByRole('link', { name: 'Back to sign in' }).click();
  await page.getByRole('link', { name: 'Mails of this stand-in' }).click();
  const letter = page.getByRole('article').filter({ hasText: `To ${user.email}` }).filter({ hasText: 'reset-password' });
  await heading(page, 'Mails');
  await until('letter', async () => {
    if (await letter.count()) return true;
    await page.reload();
    return false;
  });
  await letter.first().getByRole('link').first().click();
  await heading(page, 'Set a new password');
  const link = page.url();
  await page.getByText(user.email).waitFor();
  await page.getByLabel('New password').fill(another);
  await page.getByLabel('The same again').fill('something else');
  await press(page, 'Set the password');
  await page.getByText('The two passwords differ.').waitFor();
  await page.getByLabel('New password').fill(another);
  await page.getByLabel('The same again').fill(another);
  await press(page, 'Set the password');
  await said(page, 'Your new password is set. Sign in with it.');
  await signIn(page, user.email);
  await page.getByText(wrong).waitFor();
  await signIn(page, user.email, another);
  await heading(page, organization.name);
  await noted(server, organization, 'organization_user.password_reset');
  const again = await page.goto(link);
  assert.equal(again.status(), 410);
  await heading(page, 'This link is over');
  await page.goto('/portal/mails');
  await page.getByRole('article').filter({ hasText: `To ${user.email}` }).filter({ hasText: 'Your password was changed' }).waitFor();

  // Nobody is told whether an address is known.
  await page.goto('/portal/forgot-password');
  await page.getByLabel('Email address').fill(stranger);
  await press(page, 'Send the link');
  await heading(page, 'Look into your mail');
});

test('another password ends the other sessions', async (t) => {
  const user = await newUser(server, organization);
  const [page, other] = await Promise.all([enter(t, server, user.email), enter(t, server, user.email)]);
  await go(page, 'Profile');
  const change = async (old, word, repeated = word) => {
    await page.getByLabel('Old password').fill(old);
    await page.getByLabel('New password').fill(word);
    await page.getByLabel('The same again').fill(repeated);
    await press(page, 'Change the password');
  };
  await change('a wrong password', another);
  await page.getByText('The old password is wrong.').waitFor();
  await change(password, another, password);
  await page.getByText('The two passwords differ.').waitFor();
  await change(password, 'short');
  await page.getByText(/at least/).waitFor();
  await go(other, 'Sessions');
  await heading(other, 'Sessions');
  await change(password, another);
  await said(page, 'Your password is changed. Your other sessions have ended.');
  await go(other, 'Profile');
  await thrownOut(other, 'The password was changed. Sign in again.');
  await go(page, 'Sessions');
  assert.equal(await page.getByRole('button', { name: /^End the session/ }).count(), 1);
  await signIn(other, user.email);
  await other.getByText(wrong).waitFor();
  await signIn(other, user.email, another);
  await heading(other, 'Profile');
  await noted(server, organization, 'organization_user.password_changed');
  const entries = JSON.stringify(await audit(server, organization));
  assert.ok(!entries.includes(another) && !entries.includes('argon2'));
});

test('a manager needs no scripts', async (t) => {
  const manager = await newManager(server, { pool: 40 });
  const old = await newAccount(server, manager, { name: 'Old Customer' });
  const page = await enter(t, server, manager.email, password, { javaScriptEnabled: false });
  await page.getByRole('link', { name: 'New account' }).click();
  await page.getByLabel('Business name').fill('New Customer');
  await page.getByLabel('Email address').fill('not an address');
  await page.locator('form.form').evaluate((form) => (form.noValidate = true)); // as a browser that checks nothing
  await press(page, 'Create the account');
  assert.equal(await page.getByLabel('Business name').inputValue(), 'New Customer');
  assert.equal(await page.getByLabel('Email address').getAttribute('aria-invalid'), 'true');
  await page.getByLabel('Email address').fill('new-customer@example.com');
  await press(page, 'Create the account');
  await said(page, 'New Customer is created.');
  await page.getByLabel('Channel limit').fill('25');
  await press(page, 'Set');
  await said(page, 'The channel limit is 25.');
  await page.getByLabel('Channel limit').fill('41');
  await press(page, 'Set');
  assert.equal(await page.getByLabel('Channel limit').getAttribute('aria-invalid'), 'true');
  assert.equal(await page.getByLabel('Channel limit').inputValue(), '41');
  await page.getByLabel('Why').last().fill('Never paid');
  await press(page, 'Disable the account');
  await said(page, 'New Customer is disabled');
  await go(page, 'Accounts');
  await page.getByLabel('Status').selectOption('disabled');
  await press(page, 'Search');
  await row(page, 'New Customer').waitFor();
  assert.equal(await row(page, 'Old Customer').count(), 0);
  await page.getByLabel('Status').selectOption('');
  await page.getByRole('searchbox', { name: 'Search' }).fill('old cust');
  await press(page, 'Search');
  await page.getByLabel(`Choose ${old.email}`).check();
  await press(page, 'Disable those chosen…');
  await page.getByText('Nothing is done yet').waitFor();
  await press(page, 'Disable 1 account');
  await heading(page, '1 account disabled');
  await page.getByRole('link', { name: 'Disabled accounts' }).click();
  await page.getByRole('link', { name: 'new-customer@example.com' }).click();
  await page.getByLabel('Why').last().fill('Paid at last');
  await press(page, 'Enable the account');
  await said(page, 'New Customer is enabled.');
  await follow(page, () => go(page, 'Audit log'));
  await page.getByLabel('Event').selectOption('manager.approved');
  await press(page, 'Filter');
  await page.getByRole('row').filter({ hasText: 'manager: approved' }).filter({ hasText: 'operator' }).waitFor();
  assert.equal(await page.getByRole('row').count(), 2);
  const { data } = await manager.client.managedAccounts.list({ filter: { email: { eq: 'new-customer@example.com' } } });
  assert.equal(data.length, 1);
  assert.equal(noteOf(await noted(server, data[0], 'managed_account.enabled'), 'reason').to, 'Paid at last');
  await press(page, 'Sign out');
  await said(page, 'You are signed out.');
});
