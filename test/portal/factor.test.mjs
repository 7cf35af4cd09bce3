// The second factor: an authenticator's codes, and what helps who has lost it.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { open, startDev } from './support.mjs';
import { audit, authenticator, enter, enterOperator, go, heading, newOrganization, newUser, noted, password, press, said, signIn, thrownOut } from './flow.mjs';

const server = await startDev({ after });
const organization = await newOrganization(server);

const wrong = 'The code is wrong, or was used before.';
const secretOf = (page) => page.getByText(/^[A-Z2-7]{4}( [A-Z2-7]{4})+$/).innerText();

/** enrol sets a second factor up: its codes, and the recovery codes. */
async function enrol(page) {
  await go(page, 'Profile');
  await page.getByRole('button', { name: 'Set it up' }).click();
  const next = authenticator(await secretOf(page));
  await page.getByLabel('Code that it shows now').fill(next());
  await page.getByRole('button', { name: 'Switch it on' }).click();
  await said(page, 'It is on.');
  const recovery = (await page.getByRole('status').innerText()).match(/\b[a-z2-7]{4}(-[a-z2-7]{4}){3}\b/g);
  assert.equal(new Set(recovery).size, 10);
  return { next, recovery };
}

/** enterCode fills in the page that comes after the password. */
async function enterCode(page, code) {
  await heading(page, 'Second factor');
  await page.getByLabel('Code', { exact: true }).fill(code);
  await press(page, 'Go on');
}

test('it is set up, asked for, and switched off', async (t) => {
  const user = await newUser(server, organization);
  const page = await enter(t, server, user.email);
  await page.getByText('A password alone signs you in.').waitFor();
  await go(page, 'Profile');
  await page.getByRole('button', { name: 'Set it up' }).click();
  const first = await secretOf(page);
  await page.getByRole('img', { name: 'QR code of the second factor' }).waitFor();
  await page.getByRole('link', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Set it up' }).click();
  const secret = await secretOf(page);
  assert.notEqual(secret, first);

  // A slip of the fingers does not make another secret.
  const { next, old } = { next: authenticator(secret), old: await page.context().cookies() };
  const code = page.getByLabel('Code that it shows now');
  await code.fill(authenticator(first)());
  await page.getByRole('button', { name: 'Switch it on' }).click();
  await page.getByText('The code is wrong. Is the clock of your device right?').waitFor();
  assert.equal(await secretOf(page), secret);
  const confirmed = next();
  await code.fill(confirmed);
  await page.getByRole('button', { name: 'Switch it on' }).click();
  await said(page, 'It is on.');
  const recovery = (await page.getByRole('status').innerText()).match(/\b[a-z2-7]{4}(-[a-z2-7]{4}){3}\b/g);
  assert.equal(recovery.length, 10);
  await noted(server, organization, 'organization_user.second_factor_on');
  assert.ok(!JSON.stringify(await audit(server, organization)).includes(secret.replaceAll(' ', '')));

  // The session goes on under another token.
  await go(page, 'Profile');
  await page.getByText('10 recovery codes are left.').waitFor();
  const stolen = await open(t, { baseURL: server.url, storageState: { cookies: old, origins: [] } });
  await stolen.goto('/portal/profile');
  await thrownOut(stolen, 'The session was ended. Sign in again.');

  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.goto('/portal/keys');
  await signIn(page, user.email);
  await enterCode(page, '123');
  await page.getByText(wrong).waitFor();
  await enterCode(page, confirmed); // each is good once
  await page.getByText(wrong).waitFor();
  // The password alone lets nobody in.
  const half = await open(t, { baseURL: server.url, storageState: await page.context().storageState() });
  await half.goto('/portal/profile');
  await heading(half, 'Sign in');
  await enterCode(page, next());
  await heading(page, 'API keys'); // where the way led

  // A recovery code, once, however it is typed.
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, user.email);
  await enterCode(page, recovery[3].toUpperCase().replaceAll('-', ' '));
  await page.getByText('Your second factor is on.').waitFor();
  await noted(server, organization, 'organization_user.recovery_code_used');
  await go(page, 'Profile');
  await page.getByText('9 recovery codes are left.').waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, user.email);
  await enterCode(page, recovery[3]);
  await page.getByText(wrong).waitFor();

  // Whoever cannot find a code begins again; the other code waits until then.
  await press(page, 'Begin again');
  await heading(page, 'Sign in');
  await page.goto('/portal/sign-in/code');
  await heading(page, 'Sign in');
  await signIn(page, user.email);
  await enterCode(page, recovery[0]);
  await page.getByText('Your second factor is on.').waitFor();

  // The API wants one, too.
  const session = (body) => fetch(`${server.url}/portal/session`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ email: user.email, password, ...body }),
  });
  assert.equal((await session({})).status, 401);
  assert.equal((await session({ code: recovery[1] })).status, 200);

  await go(page, 'Profile');
  await page.getByText('7 recovery codes are left.').waitFor();
  await page.getByLabel('Code, or a recovery code').fill(recovery[0]);
  await page.getByRole('button', { name: 'Switch it off' }).click();
  await page.getByText(wrong).waitFor();
  await page.getByLabel('Code, or a recovery code').fill(recovery[2]);
  await page.getByRole('button', { name: 'Switch it off' }).click();
  await said(page, 'Your second factor is off.');
  await noted(server, organization, 'organization_user.second_factor_off');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, user.email);
  await heading(page, organization.name);
  assert.equal((await session({})).status, 200);
});

test('who has lost it asks the owner, and the owner the operator', async (t) => {
  const user = await newUser(server, organization);
  const [page, owner, operator] = await Promise.all([
    enter(t, server, user.email), enter(t, server, organization.email), enterOperator(t, server),
  ]);
  await enrol(page);
  await enrol(owner);
  await go(owner, 'Users');
  await owner.getByRole('link', { name: organization.email }).click();
  await heading(owner, organization.email, {});
  assert.equal(await owner.getByRole('button', { name: 'Switch a lost second factor off' }).count(), 0, 'the own one needs a code');
  await go(owner, 'Users');
  await owner.getByRole('link', { name: user.email }).click();
  await owner.getByRole('button', { name: 'Switch a lost second factor off' }).click();
  await said(owner, 'The second factor is off: the password alone signs the user in.');
  const reset = await noted(server, organization, 'organization_user.second_factor_reset');
  assert.equal(reset.resource_id, user.id);
  assert.equal(reset.user_id, organization.id);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, user.email);
  await heading(page, organization.name);

  await owner.getByRole('button', { name: 'Sign out' }).click();
  await signIn(owner, organization.email);
  await heading(owner, 'Second factor');
  await operator.goto(`/portal/operator/accounts/${organization.id}/users`);
  await operator.getByRole('button', { name: `Second factor off for ${organization.email}` }).click();
  await said(operator, "The user's second factor is off.");
  await owner.getByRole('button', { name: 'Begin again' }).click();
  await signIn(owner, organization.email);
  await heading(owner, organization.name);
  assert.equal((await noted(server, organization, 'organization_user.second_factor_reset')).change_made_by, 'telnyx');
});

test('wrong codes lock like wrong passwords', async (t) => {
  const user = await newUser(server, organization);
  const page = await enter(t, server, user.email);
  const { next } = await enrol(page);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, user.email);
  for (let i = 0; i < 5; i++) {
    await enterCode(page, `00000${i}`);
    await page.getByText(i < 4 ? wrong : /Too many tries|wrong/).waitFor();
  }
  await enterCode(page, next());
  await page.getByText('Too many tries. Wait a little.').waitFor();
  assert.equal((await noted(server, organization, 'organization_user.locked')).resource_id, user.id);
});
