// Single sign-on with dex, an OpenID provider that others wrote.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { freePort, open, signInAtDex, startDev, startDex } from './support.mjs';
import { audit, enter, go, heading, newGroup, newOrganization, newUser, noted, noteOf, said, signIn, thrownOut, warned } from './flow.mjs';

const server = await startDev({ after });
const redirectURI = `${server.url}/portal/sso/callback`;
const somebody = (name, domain = 'corp.example') => ({ id: `${name}-1`, email: `${name}@${domain}`, username: name, password: `the password of ${name} at dex` });
const people = Object.fromEntries(['ann', 'bob', 'cid', 'eve'].map((name) => [name, somebody(name)]));
const outsider = somebody('mallory', 'elsewhere.example');
let stopDex;
const { issuer, client_id, client_secret } = await startDex({ after: (stop) => after(stopDex = stop) }, { redirectURI, users: [...Object.values(people), outsider] });
const organization = await newOrganization(server, { name: 'Corp', email: 'boss@corp.example' });
const group = await newGroup(server, organization, 'Staff', 'account');
const ann = await newUser(server, organization, { email: people.ann.email, groups: [group] });
const bob = await newUser(server, organization, { email: people.bob.email });
await newUser(server, organization, { email: people.cid.email });
await newUser(server, organization, { email: outsider.email });
const link = `/portal/sso/start/${organization.id}`;
const lastSignIn = async ({ id }) => (await organization.client.organizations.users.retrieve(id)).data.last_sign_in_at;
const nobody = 'Nobody of this organization is known by that. Ask for an invitation.';

/** fill enters what the owner is asked for. */
async function fill(page, values) {
  for (const [label, value] of Object.entries({ Issuer: issuer, 'Client id': client_id, 'Client secret': client_secret, 'Email domains': 'corp.example', ...values })) {
    await page.getByLabel(label).fill(value);
  }
  await page.getByRole('button', { name: 'Save' }).click();
}

test('the owner sets single sign-on up', async (t) => {
  const page = await enter(t, server, organization.email);
  await go(page, 'Single sign-on');
  server.allow(/a sign-in server cannot be used/);
  await fill(page, { Issuer: `http://127.0.0.1:${await freePort()}` });
  await page.getByText('No sign-in server answered there.').waitFor();
  assert.equal(await page.getByLabel('Client id').inputValue(), client_id, 'what was entered is kept');
  assert.equal(await page.getByLabel('Client secret').inputValue(), '');
  await fill(page, { 'Email domains': 'corp.example, @corp' });
  await page.getByText('A domain looks like example.com.').waitFor();
  await fill(page);
  await said(page, 'Single sign-on is set.');
  assert.equal(await page.getByText(redirectURI, { exact: true }).count(), 1);
  assert.equal(await page.getByText(server.url + link, { exact: true }).count(), 1);
  assert.ok(!(await page.content()).includes(client_secret));
  assert.ok(!JSON.stringify(await audit(server, organization)).includes(client_secret));
  assert.equal(noteOf(await noted(server, organization, 'single_sign_on.updated'), 'single_sign_on.issuer').to, issuer);
});

test('a sub-user signs in there', async (t) => {
  assert.equal(await lastSignIn(ann), null);
  const page = await open(t, { baseURL: server.url });
  await page.goto(link);
  await signInAtDex(page, { ...people.ann, password: 'wrong' });
  await page.locator('#login-error').waitFor();
  await signInAtDex(page, people.ann);
  await heading(page, 'Corp');
  assert.equal(page.url(), `${server.url}/portal/`);
  await page.getByText(ann.email).first().waitFor();
  await page.getByRole('heading', { name: 'Balance' }).waitFor(); // by the permission of the group
  const at = await lastSignIn(ann);
  assert.ok(Math.abs(Date.parse(at) - Date.now()) < 600_000, at);
  assert.equal((await noted(server, organization, 'organization_user.linked')).resource_id, ann.id);
  assert.equal((await noted(server, organization, 'organization_user.signed_in')).user_id, ann.id);

  // The browser knows the organization now, and the page that was asked for is kept.
  await page.getByRole('button', { name: 'Sign out' }).click();
  await said(page, 'You are signed out.');
  await page.goto('/portal/keys?x=1');
  await page.getByRole('link', { name: 'Single sign-on of your organization' }).click();
  await signInAtDex(page, people.ann);
  await heading(page, 'API keys');
  assert.equal(page.url(), `${server.url}/portal/keys?x=1`);
});

test('who has no link enters the organization id', async (t) => {
  const page = await open(t, { baseURL: server.url });
  await page.goto('/portal/sign-in');
  await page.getByRole('link', { name: 'Single sign-on', exact: true }).click();
  await page.getByLabel('Organization id').fill('Corp');
  await page.getByRole('button', { name: 'Go on' }).click();
  await page.getByText('An organization id looks like').waitFor();
  await page.getByLabel('Organization id').fill(organization.id);
  await page.getByRole('button', { name: 'Go on' }).click();
  await signInAtDex(page, people.cid);
  await heading(page, 'Corp');

  // Nobody is told whether there is an organization with that id.
  for (const id of [server.manager_id, '00000000-0000-4000-8000-000000000000']) {
    await page.goto(`/portal/sso?organization=${id}`);
    await warned(page, 'No single sign-on is set up for this organization. Ask its owner.');
  }
});

test('whom the organization does not know is refused', async (t) => {
  const page = await open(t, { baseURL: server.url });
  for (const person of [people.eve, outsider]) { // the outsider is a user, but of a domain that dex is not trusted with
    await page.goto(link);
    await signInAtDex(page, person);
    await thrownOut(page, nobody);
    await page.goto('/portal/');
    await heading(page, 'Sign in');
  }
});

test('a sign-in that was begun in another browser is refused', async (t) => {
  const [page, other] = await Promise.all([open(t, { baseURL: server.url }), open(t, { baseURL: server.url })]);
  await page.goto(link);
  await page.locator('#login').waitFor();
  await other.goto(page.url());
  await signInAtDex(other, people.ann);
  await thrownOut(other, 'This sign-in was not begun in this browser, or took too long. Try again.');

  // Neither is the answer good for the one who began another.
  await other.goto(link);
  await other.locator('#login').waitFor();
  const another = other.url();
  await page.goto(link);
  await page.locator('#login').waitFor();
  await page.goto(another);
  await signInAtDex(page, people.ann);
  await heading(page, 'Sign in');
  await page.getByRole('alert').waitFor();
  await page.goto('/portal/');
  await heading(page, 'Sign in');

  // Who goes away from dex's page can begin again, or use a password.
  await page.goto(`${redirectURI}?error=access_denied&state=x`);
  await heading(page, 'Sign in');
  await page.getByRole('alert').waitFor();
});

test('where it is required, passwords are for the owner and those who bypass it', async (t) => {
  const [page, other] = await Promise.all([enter(t, server, organization.email), open(t, { baseURL: server.url })]);
  await signIn(other, ann.email);
  await heading(other, 'Corp');
  await go(page, 'Single sign-on');
  await page.getByLabel('Passwords are for the owner').check();
  await page.getByRole('button', { name: 'Save' }).click(); // the secret stays as it is
  await said(page, 'Single sign-on is set.');
  await go(other, 'Profile');
  await heading(other, 'Profile'); // sessions go on
  await other.getByRole('button', { name: 'Sign out' }).click();
  for (const { email } of [ann, bob]) {
    await signIn(other, email);
    await other.getByText('Your organization wants you to use single sign-on.').waitFor();
  }
  await signIn(other, bob.email, 'a wrong password');
  await other.getByText('Email address or password is wrong.').waitFor();

  await go(page, 'Users');
  await page.getByRole('link', { name: bob.email }).click();
  await page.getByLabel('May use a password where single sign-on is required').check();
  await page.getByRole('main').locator('section').filter({ has: page.getByRole('heading', { name: 'Sign-in' }) }).getByRole('button', { name: 'Save' }).click();
  await said(page, 'The user may use a password although single sign-on is required.');
  assert.equal((await organization.client.organizations.users.retrieve(bob.id)).data.organization_user_bypasses_sso, true);
  await signIn(other, bob.email);
  await heading(other, 'Corp');
  await signIn(other, organization.email);
  await heading(other, 'Corp');
  await other.getByText(organization.email).first().waitFor();

  await go(page, 'Single sign-on');
  await page.getByLabel('Passwords are for the owner').uncheck();
  await page.getByRole('button', { name: 'Save' }).click();
  await said(page, 'Single sign-on is set.');
});

test('while the provider is down, people are told so and passwords work', async (t) => {
  const page = await open(t, { baseURL: server.url });
  await page.goto(link);
  await page.locator('#login').waitFor();
  // The provider lets ann in and is gone before the browser is back.
  const body = new URLSearchParams({ login: people.ann.email, password: people.ann.password });
  let to = page.url();
  for (let method = 'POST'; !to.startsWith(redirectURI); method = 'GET') {
    const answer = await fetch(to, { method, redirect: 'manual', body: method === 'POST' ? body : undefined });
    to = new URL(answer.headers.get('location'), to).href;
  }
  await stopDex();
  const down = 'The sign-in server of your organization did not answer. Try again in a moment.';
  await page.goto(to);
  await thrownOut(page, down);
  await page.goto(link);
  await thrownOut(page, down);
  await signIn(page, ann.email);
  await heading(page, 'Corp');

  // Its owner can switch it off.
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, organization.email);
  await go(page, 'Single sign-on');
  await page.getByRole('button', { name: 'Switch single sign-on off' }).click();
  await said(page, 'Single sign-on is off');
  await page.goto(link);
  await warned(page, 'No single sign-on is set up for this organization.');
  await noted(server, organization, 'single_sign_on.removed');
});
