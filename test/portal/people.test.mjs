// Groups, users, keys and sessions of an organization.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, test } from 'node:test';
import Telnyx from 'telnyx';
import { allow, startDev } from './support.mjs';
import { audit, connect, enter, follow, go, heading, menu, newGroup, newManager, newOrganization, newUser, noted, noteOf, parseCSV, press, row, said, thrownOut, warned } from './flow.mjs';

const server = await startDev({ after });

const section = (page, name) => page.getByRole('main').locator('section').filter({ has: page.getByRole('heading', { name, exact: true }) });

test('groups are made, changed and removed, and count at the next click', async (t) => {
  const organization = await newOrganization(server);
  const user = await newUser(server, organization);
  const [owner, page] = await Promise.all([enter(t, server, organization.email), enter(t, server, user.email)]);
  assert.deepEqual(await menu(page), ['Overview', 'API keys', 'Sessions', 'Profile']);

  await go(owner, 'Groups');
  await owner.getByText('No group yet.').waitFor();
  const form = owner.locator('form').filter({ has: owner.getByRole('heading', { name: 'New group' }) });
  await form.getByLabel('Name', { exact: true }).fill('Technicians');
  await form.getByLabel('connections', { exact: true }).check();
  await press(owner, 'Make the group');
  await said(owner, 'The group Technicians is made.');
  await owner.getByLabel('Email address of a user').fill('nobody@example.com');
  await press(owner, 'Add', section(owner, 'Add a member'));
  await owner.getByText('No user of the organization has this address.').waitFor();
  await owner.getByLabel('Email address of a user').fill(user.email.toUpperCase());
  await press(owner, 'Add', section(owner, 'Add a member'));
  await said(owner, `${user.email} is in the group.`);
  assert.equal((await noted(server, organization, 'organization_user.group_joined')).resource_id, user.id);

  // The page that was open offers no more than before; the next one does.
  await go(page, 'Profile');
  await heading(page, 'Profile');
  assert.deepEqual(await menu(page), ['Overview', 'Connections', 'API keys', 'Sessions', 'Profile']);
  await go(page, 'Connections');
  await heading(page, 'Connections');

  await owner.getByLabel('connections', { exact: true }).uncheck();
  await owner.getByLabel('organization', { exact: true }).check();
  await owner.getByLabel('account', { exact: true }).check();
  await owner.getByLabel('Name', { exact: true }).fill('Heads');
  await press(owner, 'Save');
  await said(owner, 'The group is changed, and what its members may do with it.');
  await heading(owner, 'Heads');
  assert.equal(noteOf(await noted(server, organization, 'group.updated'), 'name').to, 'Heads');
  await go(page, 'Connections');
  await heading(page, 'Forbidden');
  await follow(page, () => page.getByRole('link', { name: 'To the overview' }).click());
  assert.deepEqual(await menu(page), ['Overview', 'Users', 'Groups', 'Invitations', 'Audit log', 'API keys', 'Sessions', 'Profile']);

  // The same name twice is refused.
  await newGroup(server, organization, 'Others');
  await owner.getByLabel('Name', { exact: true }).fill('Others');
  await press(owner, 'Save');
  assert.equal(await owner.getByLabel('Name', { exact: true }).getAttribute('aria-invalid'), 'true');
  assert.equal(await owner.getByLabel('Name', { exact: true }).inputValue(), 'Others');

  await go(page, 'Users');
  await heading(page, 'Users');
  await press(owner, `Take out ${user.email}`);
  await said(owner, 'The user is in the group no more.');
  await follow(page, () => page.getByRole('link', { name: organization.email }).click());
  await heading(page, 'Forbidden');

  await press(owner, 'Remove Heads');
  await said(owner, 'The group is removed, and nobody is in it any more.');
  assert.equal(await row(owner, 'Heads').count(), 0);
  await noted(server, organization, 'group.removed');
});

test('nobody hands on what they may not do', async (t) => {
  const organization = await newManager(server);
  const mighty = await newGroup(server, organization, 'Mighty', 'managed_accounts', 'organization');
  const admins = await newGroup(server, organization, 'Admins', 'organization', 'reporting');
  const admin = await newUser(server, organization, { groups: [admins] });
  const page = await enter(t, server, admin.email);
  const { groups } = (await organization.client.organizations.users.retrieve(admin.id, { include_groups: true })).data;
  assert.deepEqual(groups.map(({ name }) => name), ['Admins']);

  // What is not offered is refused, too, when it is sent all the same.
  await go(page, 'Groups');
  const form = page.locator('form').filter({ has: page.getByRole('heading', { name: 'New group' }) });
  assert.deepEqual(await form.getByRole('checkbox').evaluateAll((all) => all.map(({ value }) => value)), ['organization', 'reporting']);
  await form.getByLabel('Name', { exact: true }).fill('Mine');
  await form.getByLabel('reporting', { exact: true }).check();
  await form.getByLabel('reporting', { exact: true }).evaluate((box) => (box.value = 'managed_accounts'));
  await press(page, 'Make the group');
  await warned(page, /not|may/);
  await follow(page, () => page.getByRole('link', { name: 'Mighty' }).click());
  await page.getByText('It grants what you may not do yourself, so you cannot change it.').waitFor();
  assert.equal(await page.getByRole('button', { name: /Add|Save|Remove/ }).count(), 0);
  await go(page, 'Users');
  await page.getByRole('link', { name: admin.email }).click();
  const offered = await section(page, 'Groups').locator('option').allInnerTexts();
  assert.ok(!offered.includes('Mighty'), `offered: ${offered}`);
  assert.equal(await page.getByRole('button', { name: /^Remove/ }).count(), 0, 'nobody removes oneself');
  await go(page, 'Users');
  await page.getByRole('link', { name: organization.email }).click();
  await page.getByText('Owner: may do everything').waitFor();
  for (const name of [/^Remove/, /second factor/, /bypass/]) assert.equal(await page.getByRole('button', { name }).count(), 0);
  allow(page, /status of 4\d\d/);
  const send = (path, body = {}) => page.evaluate(async ([path, body]) => (await fetch(path, { method: 'POST', body: new URLSearchParams(body) })).status, [path, body]);
  assert.ok(await send(`/portal/users/${organization.id}/remove`) >= 400);
  assert.equal(await send(`/portal/users/${admin.id}/join`, { group_id: mighty.id }), 403);
  assert.equal(await send(`/portal/groups/${mighty.id}`, { name: 'Weak' }), 403);
  assert.equal(await send(`/portal/groups/${mighty.id}/remove`), 403);
  assert.equal(await send(`/portal/users/${organization.id}/reset-second-factor`), 403);
  assert.equal(await send(`/portal/users/${admin.id}/bypass`, { bypasses: '1' }), 403);
  assert.equal(await send('/portal/single-sign-on', { issuer: 'https://example.com' }), 403);
  const after = (await organization.client.organizations.users.retrieve(admin.id, { include_groups: true })).data;
  assert.deepEqual(after.groups, groups);
  assert.equal(after.organization_user_bypasses_sso, false);
  const events = new Set((await audit(server, organization)).map(({ change_type, user_id }) => user_id === admin.id && change_type));
  assert.deepEqual([...events].filter(Boolean), ['organization_user.signed_in']);
});

test('users are looked for, reported and removed', async (t) => {
  const organization = await newOrganization(server);
  const group = await newGroup(server, organization, '=cmd|calc, "x"', 'account');
  const plain = await newGroup(server, organization, 'Plain');
  const users = [];
  for (const name of ['Ann', 'bob', 'cid']) users.push(await newUser(server, organization, { email: `${name}@people.example`, groups: name === 'Ann' ? [group, plain] : [] }));
  const [ann, bob] = users;
  const [owner, page] = await Promise.all([enter(t, server, organization.email), enter(t, server, bob.email)]);
  await go(owner, 'Users');
  await owner.getByText('1–4 of 4').waitFor();
  assert.match(await row(owner, ann.email).innerText(), /=cmd\|calc, "x"/);
  assert.match(await row(owner, ann.email).innerText(), /never/);
  assert.doesNotMatch(await row(owner, bob.email).innerText(), /never/);
  await owner.getByRole('searchbox', { name: 'Search' }).fill('ANN@');
  await press(owner, 'Search');
  await owner.getByText('1–1 of 1').waitFor();
  await follow(owner, () => owner.getByLabel('Status').selectOption('blocked'));
  await owner.getByText('No user matches.').waitFor();

  const [download] = await Promise.all([owner.waitForEvent('download'), owner.getByRole('link', { name: 'Groups report (CSV)' }).click()]);
  assert.equal(download.suggestedFilename(), 'users_groups_report.csv');
  const text = await readFile(await download.path(), 'utf8');
  assert.equal(text, await organization.client.organizations.users.getGroupsReport({ Accept: 'text/csv' }));
  const [header, ...rows] = parseCSV(text);
  assert.deepEqual(header, ['id', 'email', 'user_status', 'created_at', 'last_sign_in_at', 'groups']);
  assert.deepEqual(rows.map((cells) => cells[0]), [organization.id, ...users.map(({ id }) => id)]);
  assert.ok(["'=cmd|calc, \"x\", Plain", 'Plain, =cmd|calc, "x"'].includes(rows[1][5]), rows[1][5]);

  // Whoever is removed is out at the next click, and the key with the user.
  await bob.client.organizations.users.list().catch((error) => assert.ok(error instanceof Telnyx.PermissionDeniedError));
  await go(owner, 'Users');
  await follow(owner, () => owner.getByRole('link', { name: bob.email }).click());
  await press(owner, `Remove ${bob.email}`);
  await said(owner, `${bob.email} is removed: keys and sessions have ended.`);
  assert.equal(await row(owner, bob.email).count(), 0);
  await go(page, 'API keys');
  await thrownOut(page, /\w/);
  await assert.rejects(bob.client.organizations.users.list(), Telnyx.AuthenticationError);
  assert.equal((await noted(server, organization, 'organization_user.removed')).resource_id, bob.id);
  assert.equal((await owner.goto(`/portal/users/${bob.id}`)).status(), 404);
});

test('keys are made, rotated and revoked', async (t) => {
  const organization = await newOrganization(server);
  const page = await enter(t, server, organization.email);
  const works = (key) => connect(server, key).organizations.users.list().then(() => true, (error) => {
    assert.ok(error instanceof Telnyx.AuthenticationError, error);
    return false;
  });
  const made = () => page.getByText(/^KEY[0-9A-F]{32}_\S+$/).innerText();
  await go(page, 'API keys');
  await page.getByLabel('Name', { exact: true }).fill('billing job');
  await page.getByLabel('Expires').selectOption({ label: '30 days' });
  await press(page, 'Make the key');
  await said(page, 'Your new key: billing job');
  const first = await made();
  assert.equal(await works(first), true);
  const created = await noted(server, organization, 'api_key.created');
  assert.ok(!JSON.stringify(created).includes(first));
  await go(page, 'API keys');
  assert.equal(await page.getByText(first).count(), 0, 'nobody can show it again');
  await page.getByLabel('Name', { exact: true }).evaluate((input) => input.removeAttribute('required'));
  await press(page, 'Make the key');
  assert.equal(await page.getByLabel('Name', { exact: true }).getAttribute('aria-invalid'), 'true');

  // Rotated with an overlap, both work; without, the old one is dead at once.
  await page.getByLabel('When billing job ends').selectOption({ label: 'Old one ends: In 1 hour' });
  await press(page, 'Rotate billing job');
  const second = await made();
  assert.deepEqual([await works(first), await works(second)], [true, true]);
  await noted(server, organization, 'api_key.rotated');
  await page.getByLabel('Name', { exact: true }).fill('cron job');
  await press(page, 'Make the key');
  const third = await made();
  await page.getByLabel('When cron job ends').selectOption({ label: 'Old one ends: At once' });
  await press(page, 'Rotate cron job');
  const fourth = await made();
  assert.equal(new Set([first, second, third, fourth]).size, 4);
  assert.deepEqual([await works(third), await works(fourth)], [false, true]);
  await go(page, 'API keys');
  for (;;) {
    const revoke = page.getByRole('button', { name: /^Revoke/ });
    if (!(await revoke.count())) break;
    await follow(page, () => revoke.first().click());
    await said(page, 'The key is good no more.');
  }
  assert.deepEqual([await works(first), await works(second), await works(fourth)], [false, false, false]);
  assert.equal(await works(organization.key), true);
  await page.getByText("The account's key").waitFor();
  await noted(server, organization, 'api_key.revoked');

  // Of a sub-user, the owner can revoke them.
  const group = await newGroup(server, organization, 'Staff', 'organization');
  const user = await newUser(server, organization, { groups: [group] });
  const sub = await enter(t, server, user.email);
  await go(sub, 'API keys');
  await sub.getByLabel('Name', { exact: true }).fill('laptop');
  await press(sub, 'Make the key');
  const theirs = await sub.getByText(/^KEY[0-9A-F]{32}_\S+$/).innerText();
  assert.equal(await works(theirs), true);
  await page.goto(`/portal/users/${user.id}`);
  await press(page, 'Revoke laptop');
  await said(page, 'The key is good no more.');
  assert.equal(await works(theirs), false);
  await go(sub, 'API keys');
  assert.equal(await row(sub, 'laptop').count(), 0);
});
