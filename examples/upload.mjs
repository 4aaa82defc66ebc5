// Files to a channel, and a message that carries them, by Apollo Client and apollo-upload-client. However connections
// end: no file and no message comes twice. Prints where to read the files for the next five minutes.
// npm install @apollo/client apollo-upload-client graphql rxjs; PARLEY_TOKEN=$(parley token alice) node upload.mjs CHANNEL FILE...
import { randomUUID } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { basename } from 'node:path';
import { ApolloClient, CombinedGraphQLErrors, InMemoryCache, gql } from '@apollo/client';
import UploadHttpLink from 'apollo-upload-client/UploadHttpLink.mjs';

const [channelId, ...paths] = process.argv.slice(2);
const uri = process.env.PARLEY_URL ?? 'http://127.0.0.1:8000/graphql';
const headers = { authorization: `Bearer ${process.env.PARLEY_TOKEN}`, 'GraphQL-Preflight': '1' };
const client = new ApolloClient({ cache: new InMemoryCache(), link: new UploadHttpLink({ uri, headers }) });
const TRIES = 5;
const PASSING = ['UNAVAILABLE', 'RATE_LIMITED', 'STORAGE_UNAVAILABLE'];

const UPLOAD = gql`mutation Upload($input: UploadFileInput!) { uploadFile(input: $input) {
  file { id name contentType size width height } errors { code message }
} }`;
const SEND = gql`mutation Send($input: SendMessageInput!) { sendMessage(input: $input) {
  message { id files { id name } } errors { code message }
} }`;
const DOWNLOAD = gql`mutation Download($fileId: ID!) { createDownloadUrl(fileId: $fileId) {
  download { url expiresAt } errors { code message }
} }`;

const pause = milliseconds => new Promise(resolve => { setTimeout(resolve, milliseconds); });

// What may pass is tried again: the client key makes one file, or message, of all tries.
async function mutate(mutation, variables, tries = 1) {
  let problem;
  try {
    const { data } = await client.mutate({ mutation, variables });
    const [payload] = Object.values(data);
    if (!payload.errors.length) return payload;
    [problem] = payload.errors;
  } catch (error) {
    const [first] = CombinedGraphQLErrors.is(error) ? error.errors : [error];
    problem = { code: first.extensions?.code ?? 'UNAVAILABLE', message: first.message }; // without a code: no answer
  }
  if (!PASSING.includes(problem.code) || tries === TRIES) throw new Error(`${problem.code}: ${problem.message}`);
  await pause(500 * 2 ** tries);
  return mutate(mutation, variables, tries + 1);
}

async function upload(path) {
  const content = await openAsBlob(path); // it is read while it is sent; browsers have a File already
  const file = new File([content], basename(path));
  const { file: uploaded } = await mutate(UPLOAD, { input: { channelId, file, clientKey: randomUUID() } });
  return uploaded;
}

try {
  const fileIds = [];
  for (const path of paths) fileIds.push((await upload(path)).id);
  const input = { channelId, content: 'Look at this!', fileIds, clientKey: randomUUID() };
  for (const { id, name } of (await mutate(SEND, { input })).message.files) {
    console.log(name, (await mutate(DOWNLOAD, { fileId: id })).download.url);
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
