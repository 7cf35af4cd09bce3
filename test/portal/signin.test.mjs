// How people come in: by a password, by a mail, by a sign-in server.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { axe, linkIn, nextMail, open, operator, pictured, signIn, signInAtDex, startDev, startDex, startMail, startServe } from './support.mjs';

describe('signing in', () => {
  for (const [look, settings] of Object.entries(pictured)) {
    test(`by a password, ${look}`, async (t) => {
      const server = await startDev(t);
      const page = await open(t, { baseURL: server.url, ...settings });
      await page.goto('/portal/sign-in');
      await axe(page);
      await page.getByLabel('Email address').fill('manager@example.com');
      await page.getByLabel('Password').fill('wrong');
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByText('Email address or password is wrong').waitFor();
      await axe(page);
      await signIn(page, 'manager@example.com');
      await axe(page);
    });
  }

  for (const how of ['kept', 'sent']) {
    test(`with a new password, by a mail that is ${how}`, async (t) => {
      const mail = how === 'sent' && (await startMail(t));
      const server = mail ? await startServe(t, { mail }) : await startDev(t);
      await operator(server, 'POST', '/accounts', { business_name: 'Åse & Søn', email: 'ann@example.com' });
      const page = await open(t, { baseURL: server.url });
      await page.goto('/portal/forgot-password');
      await page.getByLabel('Email address').fill('ann@example.com');
      await page.getByRole('button', { name: 'Send the link' }).click();
      await page.getByText('a link is on its way').waitFor();
      await page.goto(linkIn(mail ? await mail.next('ann@example.com') : await nextMail(server, 'ann@example.com')));
      await axe(page);
      await page.getByLabel('New password').fill('a long one of her own');
      await page.getByLabel('The same again').fill('a long one of her own');
      await page.getByRole('button', { name: 'Set the password' }).click();
      await page.getByRole('status').waitFor();
      await signIn(page, 'ann@example.com', 'a long one of her own');
    });
  }

  test('at a sign-in server', async (t) => {
    const server = await startDev(t);
    const user = { id: 'user-1', email: 'user@example.com', username: 'User', password: 'a password at dex' };
    const owner = await open(t, { baseURL: server.url });
    await signIn(owner, 'owner@example.com');
    await owner.goto('/portal/single-sign-on');
    const redirectURI = `${server.url}/portal/sso/callback`;
    assert.ok((await owner.locator('main').innerText()).includes(redirectURI));
    const { issuer, client_id, client_secret } = await startDex(t, { redirectURI, users: [user] });
    await owner.getByLabel('Issuer').fill(issuer);
    await owner.getByLabel('Client id').fill(client_id);
    await owner.getByLabel('Client secret').fill(client_secret);
    await owner.getByLabel('Email domains').fill('example.com');
    await owner.getByRole('button', { name: 'Save' }).click();
    await owner.getByText('Single sign-on is set').waitFor();
    await axe(owner);

    const page = await open(t, { baseURL: server.url });
    await page.goto('/portal/sso/start/00000000-0000-7000-8000-000000000002');
    await signInAtDex(page, user);
    await page.waitForURL('/portal/');
    assert.match(await page.locator('.who').innerText(), /user@example\.com/);
  });
});
