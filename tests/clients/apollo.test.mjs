import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { ApolloClient, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';

const VIEWER = gql`query Viewer { viewer { user { id name } } }`;
const CREATE = gql`
  mutation Create($input: CreateChannelInput!) {
    createChannel(input: $input) { channel { id name } errors { code message field } }
  }
`;

function clientFor(token, options = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  return new ApolloClient({
    cache: new InMemoryCache(),
    link: new HttpLink({ uri: process.env.PARLEY_URL, headers, ...options }),
  });
}

async function codesOf(request) {
  const error = await request.then(() => assert.fail('it was answered'), error => error);
  assert.ok(CombinedGraphQLErrors.is(error), String(error));
  return error.errors.map(each => each.extensions.code);
}

for (const useGETForQueries of [false, true]) {
  test(`a query is answered (by GET: ${useGETForQueries})`, async () => {
    const { data } = await clientFor(process.env.PARLEY_TOKEN, { useGETForQueries }).query({ query: VIEWER });
    assert.equal(data.viewer.user.__typename, 'User');
    assert.equal(data.viewer.user.name, 'urql');
  });
}

test('a mutation is answered, and its errors are data', async () => {
  const client = clientFor(process.env.PARLEY_TOKEN);
  const made = await client.mutate({ mutation: CREATE, variables: { input: { name: 'made-by-apollo' } } });
  assert.equal(made.data.createChannel.channel.name, 'made-by-apollo');
  const refused = await client.mutate({ mutation: CREATE, variables: { input: { name: '' } } });
  assert.equal(refused.data.createChannel.errors[0].code, 'INVALID_INPUT');
});

for (const [name, token, code] of [
  ['no token', undefined, 'UNAUTHENTICATED'],
  ['an expired token', process.env.PARLEY_EXPIRED_TOKEN, 'TOKEN_EXPIRED'],
]) {
  test(`the code of ${name} can be read`, async () => {
    assert.deepEqual(await codesOf(clientFor(token).query({ query: VIEWER })), [code]);
  });
}

test('the codes of an invalid document and of invalid variables can be read', async () => {
  const client = clientFor(process.env.PARLEY_TOKEN);
  assert.deepEqual(await codesOf(client.query({ query: gql`{ nonsense }` })), ['VALIDATION_FAILED']);
  assert.deepEqual(await codesOf(client.mutate({ mutation: CREATE, variables: { input: {} } })), ['BAD_REQUEST']);
});

for (const useGETForHashedQueries of [false, true]) {
  test(`persisted queries turn into full ones (by GET: ${useGETForHashedQueries})`, async () => {
    const sent = [];
    const http = new HttpLink({
      uri: process.env.PARLEY_URL,
      headers: { authorization: `Bearer ${process.env.PARLEY_TOKEN}` },
      fetch: (url, options) => {
        sent.push(String(url) + (options.body ?? ''));
        return fetch(url, options);
      },
    });
    const sha256 = text => createHash('sha256').update(text).digest('hex');
    const persisted = new PersistedQueryLink({ sha256, useGETForHashedQueries });
    const client = new ApolloClient({ cache: new InMemoryCache(), link: persisted.concat(http) });
    for (const count of [2, 3]) {
      const { data } = await client.query({ query: VIEWER, fetchPolicy: 'network-only' });
      assert.equal(data.viewer.user.name, 'urql');
      assert.equal(sent.length, count); // refused once, and never tried again
    }
    assert.deepEqual(sent.map(each => each.includes('persistedQuery')), [true, false, false]);
  });
}
