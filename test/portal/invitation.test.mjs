// Invitations, by mail through a server of mails that others wrote.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { axe, linkIn, open, signInAtDex, startDex, startMail, startServe } from './support.mjs';
import { enter, go, heading, menu, newGroup, newOrganization, newUser, noted, noteOf, press, row, said, signIn, warned } from './flow.mjs';

const mail = await startMail({ after });
const server = await startServe({ after }, { mail, flags: ['--sso-allow', '127.0.0.0/8'] });
const organization = await newOrganization(server, { name: 'Åse & Sons', email: 'boss@sons.example' });
const subject = 'You are invited to Tenantry';
const over = 'This invitation was answered or taken back, or its time is over.';
const chosen = 'a password that I chose';

/** invite fills in the form, and returns the link of the mail. */
async function invite(page, email, ...groups) {
  await go(page, 'Invitations');
  await page.getByLabel('Email address').fill(email);
  for (const name of groups) await page.getByLabel(name, { exact: true }).check();
  await press(page, 'Send the invitation');
  await said(page, `An invitation goes to ${email}.`);
  return linkIn(await mail.next(email, subject));
}

/** dead asserts that a link is good for nothing. */
async function dead(page, link) {
  const answer = await page.goto(link);
  assert.equal(answer.status(), 410);
  await heading(page, 'This link is over');
  await page.getByText(over).waitFor();
}

/** accept follows a link and chooses a password. */
async function accept(page, link, word = chosen, repeated = word) {
  await page.goto(link);
  await heading(page, 'You are invited');
  await page.getByLabel('Choose a password').fill(word);
  await page.getByLabel('The same again').fill(repeated);
  await press(page, 'Accept the invitation');
}

test('somebody is invited, accepts, and sees what the groups grant', async (t) => {
  const sales = await newGroup(server, organization, 'Sales', 'reporting');
  await newGroup(server, organization, 'Technicians', 'connections');
  await newGroup(server, organization, 'Heads', 'organization', 'account');
  const [owner, page] = await Promise.all([enter(t, server, organization.email), open(t)]);
  const email = 'ann@sons.example';
  const link = await invite(owner, email, 'Technicians', 'Heads');
  assert.ok(link.startsWith(`${server.url}/portal/invitation?token=`));
  assert.match(await row(owner, email).innerText(), /Heads, Technicians|Technicians, Heads/);
  const [letter] = mail.mails;
  assert.match(letter.text, /Åse & Sons/);
  const created = await noted(server, organization, 'invitation.created');
  assert.equal(created.user_id, organization.id);
  assert.equal(noteOf(created, 'invitation.email').to, email);
  assert.ok(!JSON.stringify(created).includes(new URL(link).searchParams.get('token')));

  await page.goto(link);
  await page.getByText('Join Åse & Sons as ann@sons.example.').waitFor();
  await axe(page);
  await accept(page, link, chosen, 'another password, by a slip');
  await page.getByText('The two passwords differ.').waitFor();
  await accept(page, link, 'short');
  await page.getByText(/at least/).waitFor();
  await accept(page, link, 'ann@sons.example');
  assert.equal(await page.getByLabel('Choose a password').getAttribute('aria-invalid'), 'true');
  await accept(page, link);
  await heading(page, 'Åse & Sons');
  await said(page, 'Welcome to Åse & Sons.');
  assert.deepEqual(await menu(page), ['Overview', 'Connections', 'Users', 'Groups', 'Invitations', 'Audit log', 'API keys', 'Sessions', 'Profile']);
  const users = (await organization.client.organizations.users.list({ include_groups: true })).data;
  const ann = users.find((user) => user.email === email);
  assert.deepEqual(ann.groups.map(({ name }) => name).sort(), ['Heads', 'Technicians']);
  assert.ok(ann.last_sign_in_at);
  assert.equal((await noted(server, organization, 'organization_user.created')).resource_id, ann.id);

  // The link is used up; the password signs in; what no group grants is refused by address.
  await dead(await open(t), link);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, email, chosen);
  await heading(page, 'Åse & Sons');
  for (const path of ['/portal/accounts', '/portal/single-sign-on', '/portal/channels']) {
    assert.equal((await page.goto(server.url + path)).status(), 403);
    await heading(page, 'Forbidden');
    await page.getByText('You are not authorized to access the requested resource.').waitFor();
  }

  // Whom Ann invites gets no more than Ann has.
  await page.getByRole('link', { name: 'To the overview' }).click();
  await go(page, 'Invitations');
  await page.getByLabel('Email address').fill('bob@sons.example');
  assert.equal(await page.getByLabel('Sales', { exact: true }).count(), 0, 'it is not offered');
  const technicians = page.getByLabel('Technicians', { exact: true });
  await technicians.check();
  await technicians.evaluate((box, id) => (box.value = id), sales.id); // and refused all the same
  await press(page, 'Send the invitation');
  await page.getByRole('alert').waitFor();
  assert.equal(await page.getByLabel('Email address').inputValue(), 'bob@sons.example');
  await technicians.check();
  await press(page, 'Send the invitation');
  await said(page, 'An invitation goes to bob@sons.example.');
  await page.getByLabel('Email address').fill('BOB@sons.example');
  await press(page, 'Send the invitation');
  assert.equal(await page.getByRole('row').filter({ hasText: /bob@sons/i }).count(), 1);
  await page.getByLabel('Email address').fill(organization.email);
  await press(page, 'Send the invitation');
  await page.getByText('Another user of the organization has this email address.').waitFor();

  const bob = await open(t);
  await accept(bob, linkIn(await mail.next('bob@sons.example')));
  await heading(bob, 'Åse & Sons');
  assert.deepEqual(await menu(bob), ['Overview', 'Connections', 'API keys', 'Sessions', 'Profile']);
});

test('an invitation that is taken back is dead, and so is a link that another one replaced', async (t) => {
  const [owner, page] = await Promise.all([enter(t, server, organization.email), open(t)]);
  const link = await invite(owner, 'cid@sons.example');
  await page.goto(link);
  await heading(page, 'You are invited');
  await owner.getByRole('button', { name: 'Take back the invitation of cid@sons.example' }).click();
  await said(owner, 'The invitation is taken back.');
  assert.equal(await row(owner, 'cid@sons.example').count(), 0);
  await page.getByLabel('Choose a password').fill(chosen);
  await page.getByLabel('The same again').fill(chosen);
  await press(page, 'Accept the invitation');
  await heading(page, 'This link is over');
  await dead(page, link);
  await noted(server, organization, 'invitation.revoked');
  await dead(page, `${server.url}/portal/invitation?token=nonsense`);
  await dead(page, `${server.url}/portal/invitation`);

  // Not twice in five minutes; but anew after it was taken back.
  const first = await invite(owner, 'cid@sons.example');
  assert.notEqual(first, link);
  await dead(page, link);
  assert.equal(await owner.getByRole('button', { name: 'Send again the invitation of cid@sons.example' }).isDisabled(), true);
  await owner.locator('button:disabled').evaluateAll((all) => all.forEach((button) => (button.disabled = false)));
  await press(owner, 'Send again the invitation of cid@sons.example');
  await warned(owner, /minutes/);
  await accept(page, first);
  await heading(page, organization.name);
});

test('where single sign-on is required, no password is asked for', async (t) => {
  const dana = { id: 'dana-1', email: 'dana@corp.example', username: 'Dana', password: 'the password of Dana at dex' };
  const { issuer, client_id, client_secret } = await startDex(t, { redirectURI: `${server.url}/portal/sso/callback`, users: [dana] });
  const corp = await newOrganization(server, { name: 'Corp' });
  const group = await newGroup(server, corp, 'Staff', 'account');
  const [owner, page] = await Promise.all([enter(t, server, corp.email), open(t)]);
  await go(owner, 'Single sign-on');
  for (const [label, value] of Object.entries({ Issuer: issuer, 'Client id': client_id, 'Client secret': client_secret, 'Email domains': 'corp.example' })) {
    await owner.getByLabel(label).fill(value);
  }
  await owner.getByLabel('Passwords are for the owner').check();
  await owner.getByRole('button', { name: 'Save' }).click();
  await said(owner, 'Single sign-on is set.');
  const link = await invite(owner, dana.email, group.name);
  await page.goto(link);
  await page.getByText('no password is needed').waitFor();
  assert.equal(await page.getByLabel('Choose a password').count(), 0);
  await page.getByRole('button', { name: 'Accept the invitation' }).click();
  await signInAtDex(page, dana);
  await heading(page, 'Corp');
  assert.deepEqual(await menu(page), ['Overview', 'Audit log', 'API keys', 'Sessions', 'Profile']);
  assert.equal((await noted(server, corp, 'organization_user.linked')).change_made_by, 'organization_member');
  await dead(page, link);
});

test('the mail of somebody else is not for who is signed in', async (t) => {
  const user = await newUser(server, organization);
  const [owner, page] = await Promise.all([enter(t, server, organization.email), enter(t, server, user.email)]);
  const link = await invite(owner, 'eve@sons.example');
  await accept(page, link); // the same browser: who accepts goes on as the invited one
  await heading(page, organization.name);
  await page.getByText('eve@sons.example').first().waitFor();
  await page.goto(`${server.url}/portal/sessions`);
  await heading(page, 'Sessions');
  assert.equal(await page.getByRole('button', { name: /^End the session/ }).count(), 1);
});
