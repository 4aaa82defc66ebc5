// What GraphiQL, code generators and schema registries send first.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildClientSchema, getIntrospectionQuery, parse, validate } from 'graphql';

const everything = {
  descriptions: true,
  specifiedByUrl: true,
  directiveIsRepeatable: true,
  schemaDescription: true,
  inputValueDeprecation: true,
  oneOf: true,
};

for (const [name, options] of Object.entries({ default: {}, everything })) {
  test(`the introspection query (${name}) gives a usable schema`, async () => {
    const response = await fetch(process.env.PARLEY_URL, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ operationName: 'IntrospectionQuery', query: getIntrospectionQuery(options) }),
    });
    const { data, errors } = await response.json();
    assert.equal(errors, undefined);
    const schema = buildClientSchema(data);
    assert.deepEqual(validate(schema, parse('{ viewer { user { id name } } }')), []);
  });
}
