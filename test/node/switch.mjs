// What a manager does with the SDK while calls run: node switch.mjs disable ID.
import Telnyx from 'telnyx';

const [action, id] = process.argv.slice(2);
const { actions } = new Telnyx({ maxRetries: 0 }).managedAccounts;
const { data } = action === 'disable' ? await actions.disable(id) : await actions.enable(id, { reenable_all_connections: true });
console.log(data.status);
