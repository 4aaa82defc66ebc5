import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient, fetchExchange, gql } from '@urql/core';

const VIEWER = gql`query Viewer { viewer { user { id name } } }`;
const CREATE = gql`
  mutation Create($input: CreateChannelInput!) {
    createChannel(input: $input) { channel { id name } errors { code message field } }
  }
`;

// A client with the default options; `sent` collects the method of each request.
function clientFor(token) {
  const sent = [];
  const client = createClient({
    url: process.env.PARLEY_URL,
    exchanges: [fetchExchange],
    fetchOptions: () => ({ headers: token ? { authorization: `Bearer ${token}` } : {} }),
    fetch: (url, options) => {
      sent.push(options.method);
      return fetch(url, options);
    },
  });
  return { client, sent };
}

test('a query goes by GET and is answered as JSON', async () => {
  const { client, sent } = clientFor(process.env.PARLEY_TOKEN);
  const result = await client.query(VIEWER, {}).toPromise();
  assert.equal(result.error, undefined);
  assert.equal(result.data.viewer.user.name, 'urql');
  assert.deepEqual(sent, ['GET']);
});

test('a mutation goes by POST, and its errors are data', async () => {
  const { client, sent } = clientFor(process.env.PARLEY_TOKEN);
  const made = await client.mutation(CREATE, { input: { name: 'made-by-urql' } }).toPromise();
  assert.equal(made.error, undefined);
  assert.deepEqual(made.data.createChannel.errors, []);
  assert.equal(made.data.createChannel.channel.name, 'made-by-urql');
  const refused = await client.mutation(CREATE, { input: { name: '' } }).toPromise();
  assert.equal(refused.error, undefined);
  assert.equal(refused.data.createChannel.channel, null);
  assert.equal(refused.data.createChannel.errors[0].code, 'INVALID_INPUT');
  assert.deepEqual(sent, ['POST', 'POST']);
});

for (const [name, token, code] of [
  ['no token', undefined, 'UNAUTHENTICATED'],
  ['an expired token', process.env.PARLEY_EXPIRED_TOKEN, 'TOKEN_EXPIRED'],
  ['a broken token', 'nonsense', 'UNAUTHENTICATED'],
]) {
  test(`${name} is a GraphQL error with a code, not a network error`, async () => {
    const { client } = clientFor(token);
    const { error } = await client.query(VIEWER, {}).toPromise();
    assert.equal(error.networkError, undefined);
    assert.deepEqual(error.graphQLErrors.map(each => each.extensions.code), [code]);
    assert.equal(error.response.status, 401);
  });
}

test('an invalid document is a GraphQL error with a code', async () => {
  const { client } = clientFor(process.env.PARLEY_TOKEN);
  const { error } = await client.query(gql`{ nonsense }`, {}).toPromise();
  assert.equal(error.networkError, undefined);
  assert.deepEqual(error.graphQLErrors.map(each => each.extensions.code), ['VALIDATION_FAILED']);
});
